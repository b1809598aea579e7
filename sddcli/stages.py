"""Stages: a dense start or a pruned one, then training. Tensors -> Tensors, for runs that train side by side."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sddcli.core import engine, images, inits, masks, models, seeds
from sddcli.core.allocation import ALLOCATIONS
from sddcli.core.company import Company, company, separate
from sddcli.core.criteria import criterion
from sddcli.core.evaluate import chunk, evaluate
from sddcli.core.images import AUGMENTATIONS, Augmentation
from sddcli.core.inits import INITS
from sddcli.core.losses import LOSSES, cross_entropy
from sddcli.core.models import Model
from sddcli.core.noise import NOISES, Classes
from sddcli.core.optimizers import MEMORY, OPTIMIZERS
from sddcli.core.precisions import PRECISIONS
from sddcli.core.retraining import origin, rewind_steps, rounds
from sddcli.core.schedules import piecewise
from sddcli.core.types import Begun, Data, Examples, Forward, Net, Slopes, State, Tensors, Trained, Write
from sddcli.core.words import UsageError, pick
from sddcli.spec import Run

WORDS: dict[str, Mapping[str, Callable[..., Any]]] = {
    "noise_kind": NOISES,
    "init": INITS,
    "optimizer": OPTIMIZERS,
    "loss": LOSSES,
    "precision": PRECISIONS,
}
"""The fields that every run has a word in, and the tables that know them."""


RECORDED = 100_000
"""The number of training examples from which on it is not recorded which of them are fitted at each evaluation."""


class Training(NamedTuple):
    """After an epoch: its number, the metrics of each run where it was evaluated, and the state: see Epoch.

    fitted: (M, ceil(N / 8)) uint8, there too, which training labels each run fits, a bit each.
    """

    epoch: int
    metrics: list[dict[str, float]] | None
    state: State
    fitted: Tensor | None = None


def model_of(run: Run, data: Data) -> Model:
    """The architecture of `run` for the shape of its data."""
    return models.architecture(run.model, tuple(data.train.x.shape[1:]), data.classes)


def check(run: Run, data: Data) -> None:
    """Raises UsageError where a word of `run` is in no table, or what it asks for leaves nothing to train."""
    for field, table in WORDS.items():
        pick(field, getattr(run, field), table)
    if data.classes < 2:
        raise UsageError(f"{run.dataset} has one class only, and a network learns to tell two or more apart")
    augmentation(run, data)
    model = model_of(run, data)
    _check_batches(run, model, len(data.train.y))
    noisy_labels(run, data)
    if run.level:
        criterion(run.criterion)
        schedule(run, len(data.train.y))
        if empty := _emptied(run, model):
            last = next(k for k in range(run.level) if _emptied(replace(run, level=k + 1), model))
            raise UsageError(f"level {run.level} leaves none of {empty}; the last possible is {last}")


def _emptied(run: Run, model: Model) -> str:
    """What `run` keeps no weight of, where there is such a group."""
    empty = [group for group, count in counts(run, model).items() if not count]
    return empty[0] or f"{model.size} weights" if empty else ""


def _check_batches(run: Run, model: Model, n: int) -> None:
    """Raises UsageError where n examples leave one alone in a batch, and the network cannot be trained on one."""
    if model.alone or (run.batch_size > 1 and n % run.batch_size != 1):
        return
    smaller_first = (*range(min(run.batch_size, n), 1, -1), *range(max(run.batch_size, 2), n + 1))
    fitting = next((size for size in smaller_first if n % size != 1), None)
    hint = f"; --batch-size {fitting} leaves none alone" if fitting else ""
    batches = f"{n} examples in batches of {run.batch_size} have one example alone in a batch"
    raise UsageError(f"{run.model} has BatchNorm, which needs two examples or more in a batch, and {batches}{hint}")


def noisy_labels(run: Run, data: Data) -> Tensor:
    """(N,) the labels that `run` is trained on; the wrong ones are where they differ from the true."""
    return _noisy(run, data, data.train, "noise")


def held_labels(run: Run, data: Data) -> Tensor | None:
    """(H,) the labels of the examples held out: noisy as those of training, since nobody would know better."""
    return None if data.held is None else _noisy(run, data, data.held, "noise", "held")


def _noisy(run: Run, data: Data, examples: Examples, *names: str) -> Tensor:
    if not run.noise:
        return examples.y
    noise, classes = pick("noise_kind", run.noise_kind, NOISES), Classes(data.classes, data.similar)
    labels = noise(examples.y.cpu().numpy(), run.noise, classes, seeds.stream(run.seed_of("noise"), *names))
    return torch.from_numpy(labels).to(examples.y.device)


def augmentation(run: Run, data: Data) -> Augmentation | None:
    """What is done to each training image before each step. Raises UsageError where data are no images in bytes."""
    found = pick("augment", run.augment, AUGMENTATIONS)()
    if found and not data.mean:
        raise UsageError(f"augment {run.augment!r} is for images that are held as bytes, and {run.dataset} is not")
    return found


def shown(run: Run, data: Data) -> Tensor:
    """(N, *features) the training inputs before they are augmented."""
    augment = augmentation(run, data)
    return data.large if augment and augment.large and data.large is not None else data.train.x


def forward_of(model: Model, data: Data) -> Forward:
    """The forward pass on inputs as `data` holds them: bytes are normalized first."""
    if not data.mean:
        return model.forward
    normalize = images.normalizing(data.mean, data.deviation)
    return lambda weights, x, training: model.forward(weights, normalize(x), training)


def slopes_of(run: Run, model: Model, data: Data) -> Slopes | None:
    """The gradient written out where the network has it: that of plain cross-entropy, in single precision."""
    if pick("loss", run.loss, LOSSES) is not cross_entropy or run.precision == "bf16":
        return None
    if not model.slopes or not data.mean:
        return model.slopes
    slopes, normalize = model.slopes, images.normalizing(data.mean, data.deviation)

    def normalizing(weights: Tensors, into: Tensors) -> Write:
        write = slopes(weights, into)
        return lambda x, y: write(normalize(x), y)

    return normalizing


def fresh(run: Run, model: Model) -> Tensors:
    """New weights, (*shape): a dense run's initialization, or another one for each level."""
    return inits.fresh(model, run.init, run.seed_of("init"), *(("level", run.level) if run.level else ()))


def full_masks(model: Model, weights: Tensors) -> Tensors:
    """Masks that keep all prunable weights, (*shape)."""
    return masks.full({name: weights[name] for name in model.prunable})


def counts(run: Run, model: Model) -> dict[str, int]:
    """How many weights `run` keeps in each group that is ranked together: in all, "", or layer by layer."""
    spared = model.spared if run.count == "all" else 0
    shapes = {name: model.shapes[name] for name in model.prunable}
    allocation = pick("scope", run.scope, ALLOCATIONS)
    return allocation.counts(shapes, lambda size: masks.kept(size, run.rate, run.level, spared))


def prune(run: Run, model: Model, ranked: Trained, data: Data) -> Tensors:
    """The masks of `run`, (*shape): the weights within those of `ranked` that its criterion keeps.

    Raises UsageError where a score is no number.
    """
    draw = partial(seeds.stream, run.seed, "criterion", run.level)
    net = Net(
        initial={name: ranked.initial[name] for name in model.prunable},
        final={name: ranked.final[name] for name in model.prunable},
        masks={name: ranked.masks[name] for name in model.prunable},
        stream=draw,
        gradients=lambda batches: _gradients(run, model, ranked.final, data, batches, draw),
    )
    rule = criterion(run.criterion)
    scores = rule.score(net)
    ties = None
    if rule.ties == "random":
        ties = {name: torch.from_numpy(draw("ties", name).random(tuple(w.shape))) for name, w in net.final.items()}
    return masks.allocated(scores, net.masks, counts(run, model), ties)


def prune_untrained(run: Run, model: Model, initial: Tensors, ranked: Tensors, data: Data) -> Tensors:
    """The masks of `run`, (*shape), where its criterion ranks weights before training: `ranked`, round by round.

    initial: the dense network's, which a criterion may look at too, both (*shape).
    """
    kept = full_masks(model, ranked)
    for each in rounds(run):
        kept = prune(each, model, Trained(initial, masks.apply(kept, ranked), kept), data)
    return kept


def _gradients(
    run: Run,
    model: Model,
    weights: Tensors,
    data: Data,
    batches: int | None,
    draw: Callable[..., np.random.Generator],
) -> Tensors:
    """The gradient of the mean training loss, (*shape), on random batches or, for None, on all examples."""
    labels, forward, loss = noisy_labels(run, data), forward_of(model, data), pick("loss", run.loss, LOSSES)
    chosen = torch.arange(len(labels))
    if batches is not None:
        chosen = torch.from_numpy(draw("batches").permutation(len(labels))[: batches * run.batch_size])
    leaves = {name: weights[name].unsqueeze(0).requires_grad_() for name in model.shapes}
    statistics = {name: weights[name].unsqueeze(0) for name in model.statistics}
    total = {name: torch.zeros_like(weights[name]) for name in model.prunable}
    for part in chosen.to(labels.device).split(chunk(data.train.x)):
        logits = forward(leaves | statistics, data.train.x[part].unsqueeze(0), False)
        share = loss(logits, labels[part].unsqueeze(0), leaves) * (len(part) / len(chosen))
        slopes = torch.autograd.grad(share, [leaves[name] for name in model.prunable])
        for name, slope in zip(model.prunable, slopes, strict=True):
            total[name] += slope.squeeze(0)
    return total


def schedule(run: Run, n: int) -> tuple[list[float], int]:
    """The learning rate of each step on n examples, and the step that training starts at.

    Raises UsageError where the run would be rewound to its end or beyond.
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
        raise UsageError(f"rewind {run.rewind} is not before the end of training, step {len(rates)}")
    return rates, first if kind == "rewound" else 0


def beginning(run: Run, data: Data, start: Tensors) -> Begun:
    """`run` before its first step, from start weights (*shape)."""
    n = len(data.train.y)
    first = schedule(run, n)[1]
    return Begun(start, {}, first, first, torch.empty(0, -(-n // 8), dtype=torch.uint8) if n < RECORDED else None)


def company_of(runs: Sequence[Run], model: Model, data: Data) -> Company | None:
    """How M runs side by side have the bits that each has alone, by a short trial; None on a GPU, which has no such."""
    if data.train.y.device.type != "cpu":
        return None
    return company(_plan(runs, model, data, ()), model, data.train.x, data.classes, len(runs))


def train(
    runs: Sequence[Run],
    model: Model,
    data: Data,
    begun: Sequence[Begun],
    kept: Sequence[Tensors],
    one_by_one: bool = False,
) -> Iterator[Training]:
    """Trains M runs side by side from where they are, at one step, under their masks, each (*shape), to the end.

    The runs agree in `Run.batch`. Evaluates after each `eval_every` epochs and after the last one. one_by_one: each is
    computed on its own; see `company_of`.
    """
    run, (noisy, held) = runs[0], _labels(runs, data)
    rates, _ = schedule(run, noisy.shape[1])
    state = _state(model, data, begun, kept)
    plan = _plan(runs, model, data, rates)
    for epoch, now in engine.train(state, shown(run, data), noisy, separate(plan) if one_by_one else plan):
        if epoch % run.eval_every and epoch != run.epochs:
            yield Training(epoch, None, now)
            continue
        found, fitted = _evaluated(run, model, now.weights, data, noisy, held)
        yield Training(epoch, found, now, torch.from_numpy(np.packbits(fitted.cpu().numpy(), axis=1)))


def replay(run: Run, step: int, model: Model, data: Data, start: Tensors) -> Tensors:
    """The weights, (*shape), of a dense run at one step of its training, trained there again."""
    rates, _ = schedule(run, len(data.train.y))
    state = _state(model, data, [Begun(start, {}, 0, 0)], [full_masks(model, start)])
    labels = noisy_labels(run, data).unsqueeze(0)
    for now in engine.train(state, shown(run, data), labels, _plan([run], model, data, rates[:step])):
        state = now.state
    return single(state.weights, 0)


def _state(model: Model, data: Data, begun: Sequence[Begun], kept: Sequence[Tensors]) -> State:
    device = data.train.y.device
    weights = moved(stacked([each.weights for each in begun], model.weights), device)
    memory = {
        name: moved(stacked([each.memory[name] for each in begun], tuple(model.shapes)), device)
        for name in begun[0].memory
    }
    return State(weights, moved(stacked(kept, model.prunable), device), memory, begun[0].step, begun[0].since)


def paused(state: State, m: int) -> Begun:
    """Where model m of `state` is, as copies (*shape)."""
    memory = {name: single(kept, m) for name, kept in state.memory.items()}
    return Begun(single(state.weights, m), memory, state.step, state.since)


def _plan(runs: Sequence[Run], model: Model, data: Data, rates: Sequence[float]) -> engine.Plan:
    n, device = len(data.train.y), data.train.y.device

    def order(epoch: int) -> Tensor:
        streams = [seeds.stream(run.seed_of("order"), "order", epoch) for run in runs]
        return torch.stack([torch.from_numpy(stream.permutation(n)) for stream in streams]).to(device)

    def draws(epoch: int) -> Tensor:
        assert augment is not None
        streams = [seeds.stream(run.seed_of("order"), "augment", epoch) for run in runs]
        return torch.stack([torch.from_numpy(augment.draw(n, given, stream)) for stream in streams]).to(device)

    run, augment = runs[0], augmentation(runs[0], data)
    given, taken = ((x.shape[-2], x.shape[-1]) for x in (shown(run, data), data.train.x))
    return engine.Plan(
        forward_of(model, data),
        order,
        run.batch_size,
        rates,
        run.momentum,
        run.weight_decay,
        rule=pick("optimizer", run.optimizer, OPTIMIZERS),
        memory=MEMORY[run.optimizer.split(":")[0]],
        loss=pick("loss", run.loss, LOSSES),
        draws=draws if augment else None,
        augment=(lambda x, draws: augment.apply(x, draws, taken)) if augment else None,
        apart=model.apart,
        computing=partial(PRECISIONS[run.precision], device.type),
        slopes=slopes_of(run, model, data),
        cuda=device.type == "cuda",
    )


def metrics(runs: Sequence[Run], model: Model, weights: Tensors, data: Data) -> list[dict[str, float]]:
    """The accuracies and losses of M runs, one dictionary each; weights: (M, *shape)."""
    return _evaluated(runs[0], model, weights, data, *_labels(runs, data))[0]


def _labels(runs: Sequence[Run], data: Data) -> tuple[Tensor, Tensor | None]:
    """(M, N) the labels that M runs are trained on, and (M, H) those of the examples held out."""
    held = [labels for run in runs if (labels := held_labels(run, data)) is not None]
    return torch.stack([noisy_labels(run, data) for run in runs]), torch.stack(held) if held else None


def _evaluated(
    run: Run, model: Model, weights: Tensors, data: Data, noisy: Tensor, held: Tensor | None
) -> tuple[list[dict[str, float]], Tensor]:
    with PRECISIONS[run.precision](noisy.device.type):
        found, fitted = evaluate(forward_of(model, data), weights, data, noisy, held)
    columns = {name: values.tolist() for name, values in found.items()}
    return [{name: column[m] for name, column in columns.items()} for m in range(len(noisy))], fitted


def moved(tensors: Tensors, device: torch.device) -> Tensors:
    """The same tensors on `device`."""
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def stacked(tensors: Sequence[Tensors], names: Sequence[str]) -> Tensors:
    """M single models (*shape) as (M, *shape), in the order of `names`."""
    return {name: torch.stack([each[name] for each in tensors]) for name in names}


def single(tensors: Tensors, m: int) -> Tensors:
    """Model m of (M, *shape) tensors, as (*shape) copies."""
    return {name: tensor[m].detach().clone() for name, tensor in tensors.items()}
