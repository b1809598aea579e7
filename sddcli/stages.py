"""Stages: a dense start or a pruned one, then training. Tensors -> Tensors, for runs that train side by side."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from sddcli.core import engine, masks, models, seeds
from sddcli.core.criteria import CRITERIA
from sddcli.core.evaluate import evaluate
from sddcli.core.models import MODELS, Model
from sddcli.core.noise import NOISES
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
    """Raises ValueError where a word of `run` is in no table, or where its level would leave no weight."""
    pick("noise_kind", run.noise_kind, NOISES)
    model = model_of(run, data)
    if run.level:
        pick("criterion", run.criterion, CRITERIA)
        if not masks.kept(model.size, run.rate, run.level):
            last = next(k for k in range(run.level) if not masks.kept(model.size, run.rate, k + 1))
            raise ValueError(f"level {run.level} leaves none of {model.size} weights; the last possible is {last}")


def noisy_labels(run: Run, data: Data) -> Tensor:
    """(N,) the labels that `run` is trained on; the wrong ones are where they differ from the true."""
    if not run.noise:
        return data.train.y
    noise = pick("noise_kind", run.noise_kind, NOISES)
    labels = noise(data.train.y.cpu().numpy(), run.noise, data.classes, seeds.stream(run.seed, "noise"))
    return torch.from_numpy(labels).to(data.train.y.device)


def dense(run: Run, model: Model) -> tuple[Tensors, Tensors]:
    """Fresh weights and full masks, (*shape): what a dense run starts from."""
    start = models.fresh(model, run.seed)
    return start, masks.full({name: start[name] for name in model.prunable})


def prune(run: Run, model: Model, parent: Trained) -> Tensors:
    """The masks of `run`, (*shape), pruned from those of its trained parent."""
    net = Net(
        initial={name: parent.initial[name] for name in model.prunable},
        final={name: parent.final[name] for name in model.prunable},
        masks={name: parent.masks[name] for name in model.prunable},
        stream=partial(seeds.stream, run.seed, "criterion", run.level),
    )
    scores = pick("criterion", run.criterion, CRITERIA)(net)
    return masks.keep(scores, net.masks, masks.kept(model.size, run.rate, run.level))


def train(
    runs: Sequence[Run], model: Model, data: Data, starts: Sequence[Tensors], kept: Sequence[Tensors]
) -> Iterator[Training]:
    """Trains M runs side by side from their start weights under their masks, each (*shape), to the end.

    The runs agree in `Run.batch`. Evaluates after each `eval_every` epochs and after the last one.
    """
    run = runs[0]
    noisy = torch.stack([noisy_labels(each, data) for each in runs])
    n = noisy.shape[1]

    def order(epoch: int) -> Tensor:
        orders = [torch.from_numpy(seeds.stream(each.seed, "order", epoch).permutation(n)) for each in runs]
        return torch.stack(orders).to(noisy.device)

    steps = -(-n // run.batch_size)
    plan = engine.Plan(
        forward=model.forward,
        order=order,
        batch_size=run.batch_size,
        lr=piecewise(run.lr, run.milestones, run.gamma, run.epochs, steps),
        momentum=run.momentum,
        weight_decay=run.weight_decay,
    )
    state = State(stacked(starts, tuple(model.shapes)), stacked(kept, model.prunable), velocity={})
    for epoch, now in engine.train(state, data.train.x, noisy, plan):
        due = epoch % run.eval_every == 0 or epoch == run.epochs
        yield Training(epoch, metrics(model, now.parameters, data, noisy) if due else None, now)


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
