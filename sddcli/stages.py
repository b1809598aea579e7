"""Stages: a dense start or a pruned one, then training. Tensors -> Tensors, for runs that train side by side."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sddcli.core import engine, masks, models, seeds
from sddcli.core.criteria import CRITERIA
from sddcli.core.evaluate import CHUNK, evaluate
from sddcli.core.models import MODELS, Model
from sddcli.core.noise import NOISES, Classes
from sddcli.core.retraining import origin, rewind_steps
from sddcli.core.schedules import piecewise
from sddcli.core.types import Data, Net, State, Tensors, Trained
from sddcli.core.words import pick
from sddcli.spec import Run


class Training(NamedTuple):
    """After an epoch: its number, the metrics of each run where it was evaluated, and the state: see Epoch."""

    epoch: int
    metrics: list[dict[str, float]] | None
    state: State


def model_of(run: Run, data: Data) -> Model:
    """The architecture of `run` for the shape of its data."""
    return pick("model", run.model, MODELS)(tuple(data.train.x.shape[1:]), data.classes)


def check(run: Run, data: Data) -> None:
    """Raises ValueError where a word of `run` is in no table, or what it asks for leaves nothing to train."""
    pick("noise_kind", run.noise_kind, NOISES)
    model = model_of(run, data)
    noisy_labels(run, data)
    if run.level:
        pick("criterion", run.criterion, CRITERIA)
        schedule(run, len(data.train.y))
        if not all(counts(run, model).values()):
            last = next(k for k in range(run.level) if not all(counts(replace(run, level=k + 1), model).values()))
            whose = "a layer" if run.scope == "layer" else f"{model.size} weights"
            raise ValueError(f"level {run.level} leaves none of {whose}; the last possible is {last}")


def noisy_labels(run: Run, data: Data) -> Tensor:
    """(N,) the labels that `run` is trained on; the wrong ones are where they differ from the true."""
    if not run.noise:
        return data.train.y
    noise = pick("noise_kind", run.noise_kind, NOISES)
    classes = Classes(data.classes, data.similar)
    labels = noise(data.train.y.cpu().numpy(), run.noise, classes, seeds.stream(run.seed_of("noise"), "noise"))
    return torch.from_numpy(labels).to(data.train.y.device)


def fresh(run: Run, model: Model) -> Tensors:
    """New weights, (*shape): a dense run's initialization, or another one for each level."""
    return models.fresh(model, run.seed_of("init"), *(("level", run.level) if run.level else ()))


def full_masks(model: Model, weights: Tensors) -> Tensors:
    """Masks that keep all prunable weights, (*shape)."""
    return masks.full({name: weights[name] for name in model.prunable})


def counts(run: Run, model: Model) -> dict[str, int]:
    """How many weights `run` keeps in each group that is ranked together: in all, "", or layer by layer."""
    if run.scope == "layer":
        sizes = {name: prod(model.shapes[name]) for name in model.prunable}
        return {name: masks.kept(size, run.rate, run.level) for name, size in sizes.items()}
    return {"": masks.kept(model.size, run.rate, run.level, model.spared if run.count == "all" else 0)}


def prune(run: Run, model: Model, parent: Trained, data: Data) -> Tensors:
    """The masks of `run`, (*shape), pruned from those of its trained parent."""
    draw = partial(seeds.stream, run.seed, "criterion", run.level)
    net = Net(
        initial={name: parent.initial[name] for name in model.prunable},
        final={name: parent.final[name] for name in model.prunable},
        masks={name: parent.masks[name] for name in model.prunable},
        stream=draw,
        gradients=lambda batches: _gradients(run, model, parent.final, data, batches, draw),
    )
    scores = pick("criterion", run.criterion, CRITERIA)(net)
    groups = counts(run, model)
    if run.scope == "global":
        return masks.keep(scores, net.masks, groups[""])
    return {name: masks.keep({name: scores[name]}, net.masks, count)[name] for name, count in groups.items()}


def _gradients(
    run: Run,
    model: Model,
    weights: Tensors,
    data: Data,
    batches: int | None,
    draw: Callable[..., np.random.Generator],
) -> Tensors:
    """The gradient of the mean training loss, (*shape), on random batches or, for None, on all examples."""
    labels = noisy_labels(run, data)
    chosen = torch.arange(len(labels))
    if batches is not None:
        chosen = torch.from_numpy(draw("batches").permutation(len(labels))[: batches * run.batch_size])
    leaves = {name: weights[name].unsqueeze(0).requires_grad_() for name in model.shapes}
    total = {name: torch.zeros_like(weights[name]) for name in model.prunable}
    for part in chosen.to(labels.device).split(CHUNK):
        logits = model.forward(leaves, data.train.x[part].unsqueeze(0))
        loss = F.cross_entropy(logits.squeeze(0), labels[part], reduction="sum") / len(chosen)
        slopes = torch.autograd.grad(loss, [leaves[name] for name in model.prunable])
        for name, slope in zip(model.prunable, slopes, strict=True):
            total[name] += slope.squeeze(0)
    return total


def schedule(run: Run, n: int) -> tuple[list[float], int]:
    """The learning rate of each step on n examples, and the step that training starts at.

    Raises ValueError where the run would be rewound to its end or beyond.
    """
    steps = -(-n // run.batch_size)
    rates = piecewise(run.lr, run.milestones, run.gamma, run.epochs, steps)
    if run.level == 0:
        return rates, 0
    kind = origin(run).schedule
    if kind == "last":
        return [origin(run).lr or rates[-1]] * len(rates), 0
    first = rewind_steps(run.rewind, steps)
    if first >= len(rates):
        raise ValueError(f"rewind {run.rewind} is not before the end of training, step {len(rates)}")
    return rates, first if kind == "rewound" else 0


def train(
    runs: Sequence[Run], model: Model, data: Data, starts: Sequence[Tensors], kept: Sequence[Tensors]
) -> Iterator[Training]:
    """Trains M runs side by side from their start weights under their masks, each (*shape), to the end.

    The runs agree in `Run.batch`. Evaluates after each `eval_every` epochs and after the last one.
    """
    run = runs[0]
    noisy = torch.stack([noisy_labels(each, data) for each in runs])
    rates, first = schedule(run, noisy.shape[1])
    state = State(stacked(starts, tuple(model.shapes)), stacked(kept, model.prunable), velocity={}, step=first)
    for epoch, now in engine.train(state, data.train.x, noisy, _plan(runs, model, data, rates)):
        due = epoch % run.eval_every == 0 or epoch == run.epochs
        yield Training(epoch, metrics(model, now.parameters, data, noisy) if due else None, now)


def replay(run: Run, step: int, model: Model, data: Data, start: Tensors) -> Tensors:
    """The weights, (*shape), of a dense run at one step of its training, trained there again."""
    rates, _ = schedule(run, len(data.train.y))
    state = State(
        stacked([start], tuple(model.shapes)), stacked([full_masks(model, start)], model.prunable), velocity={}
    )
    labels = noisy_labels(run, data).unsqueeze(0)
    for now in engine.train(state, data.train.x, labels, _plan([run], model, data, rates[:step])):
        state = now.state
    return single(state.parameters, 0)


def _plan(runs: Sequence[Run], model: Model, data: Data, rates: Sequence[float]) -> engine.Plan:
    n, device = len(data.train.y), data.train.y.device

    def order(epoch: int) -> Tensor:
        streams = [seeds.stream(run.seed_of("order"), "order", epoch) for run in runs]
        return torch.stack([torch.from_numpy(stream.permutation(n)) for stream in streams]).to(device)

    run = runs[0]
    return engine.Plan(model.forward, order, run.batch_size, rates, run.momentum, run.weight_decay)


def metrics(model: Model, parameters: Tensors, data: Data, noisy: Tensor) -> list[dict[str, float]]:
    """The accuracies and losses of M models, one dictionary each; noisy: (M, N) their training labels."""
    found = evaluate(model.forward, parameters, data.train, noisy, data.test)
    columns = {name: values.tolist() for name, values in found.items()}
    return [{name: column[m] for name, column in columns.items()} for m in range(len(noisy))]


def stacked(tensors: Sequence[Tensors], names: Sequence[str]) -> Tensors:
    """M single models (*shape) as (M, *shape), in the order of `names`."""
    return {name: torch.stack([each[name] for each in tensors]) for name in names}


def single(tensors: Tensors, m: int) -> Tensors:
    """Model m of (M, *shape) tensors, as (*shape) copies."""
    return {name: tensor[m].detach().clone() for name, tensor in tensors.items()}
