"""Stages: a dense start or a pruned one, then training. Tensors -> Tensors, for runs that train side by side."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sddcli.core import engine, images, inits, lessons, masks, models, seeds, units
from sddcli.core.allocation import ALLOCATIONS
from sddcli.core.company import Company, company, separate
from sddcli.core.criteria import criterion
from sddcli.core.evaluate import answers, chunk, evaluate
from sddcli.core.images import AUGMENTATIONS, Augmentation
from sddcli.core.inits import INITS
from sddcli.core.lessons import LESSONS, Teaching
from sddcli.core.losses import LOSSES, cross_entropy
from sddcli.core.models import Model
from sddcli.core.noise import NOISES, Classes
from sddcli.core.optimizers import MEMORY, OPTIMIZERS
from sddcli.core.precisions import PRECISIONS
from sddcli.core.retraining import RETRAININGS, origin, rewind_steps, rounds
from sddcli.core.schedules import piecewise
from sddcli.core.starts import STARTS
from sddcli.core.timetables import TIMETABLES, Context, Event
from sddcli.core.types import Begun, Data, Examples, Forward, Lesson, Net, State, Tensors, Trained, Write
from sddcli.core.units import UNITS
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


Draw = Callable[..., np.random.Generator]
"""(*names) -> the random generator for what `names` names."""
RECORDED = 100_000
"""The number of training examples from which on it is not recorded which of them are fitted at each evaluation."""


class Happened(NamedTuple):
    """An event between two segments: before which step, and of each run density and test accuracy before and after."""

    step: int
    density: Sequence[tuple[float, float]]
    test_accuracy: Sequence[tuple[float, float]]


class Training(NamedTuple):
    """After an epoch: its number, the metrics of each run where it was evaluated, and the state: see Epoch.

    fitted: (M, ceil(N / 8)) uint8, there too, which training labels each run fits, a bit each. events: those since the
    epoch before.
    """

    epoch: int
    metrics: list[dict[str, float]] | None
    state: State
    fitted: Tensor | None = None
    events: Sequence[Happened] = ()


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
        if pick("retraining", run.retraining, RETRAININGS).ranks:
            criterion(run.criterion)

        schedule(run, len(data.train.y))
        timetable(run, len(data.train.y))

        if empty := _emptied(run, model):
            last = next(k for k in range(run.level) if _emptied(replace(run, level=k + 1), model))
            raise UsageError(f"level {run.level} leaves none of {empty}; the last possible is {last}")


def _emptied(run: Run, model: Model) -> str:
    """What `run` keeps no weight of, where there is such a group."""
    least = units.largest({name: model.shapes[name] for name in model.prunable}, pick("unit", run.unit, UNITS))
    empty = [group for group, count in counts(run, model).items() if count < least]
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


def teaching_of(run: Run) -> Teaching:
    """What `run` learns, and how that makes a network."""
    return pick("lesson", origin(run).lesson if run.level else "supervised", LESSONS)


def moves(run: Run) -> bool:
    """Whether the masks of `run` are others at the end of its training than at its start."""
    return run.level > 0 and origin(run).moves


def lesson_of(run: Run, model: Model, data: Data) -> Lesson:
    """What a step of `run` teaches: written out where the network has the gradient of its loss, else by autograd."""
    teaching, loss = teaching_of(run), pick("loss", run.loss, LOSSES)
    plain = teaching is LESSONS["supervised"] and loss is cross_entropy and run.precision != "bf16"
    if not plain or not model.slopes:
        return teaching.lesson(forward_of(model, data), loss)
    if not data.mean:
        return lessons.written_out(model.slopes)
    slopes, normalize = model.slopes, images.normalizing(data.mean, data.deviation)

    def normalizing(weights: Tensors, into: Tensors) -> Write:
        write = slopes(weights, into)
        return lambda x, y: write(normalize(x), y)

    return lessons.written_out(normalizing)


def fresh(run: Run, model: Model) -> Tensors:
    """New weights, (*shape): a dense run's initialization, or another one for each level."""
    return inits.fresh(model, run.init, run.seed_of("init"), *(("level", run.level) if run.level else ()))


def started(run: Run, model: Model, weights: Tensors) -> Tensors:
    """The weights (*shape) that `run` makes of those that its retraining starts from, before its masks."""
    names = model.prunable
    values = pick("start", run.start, STARTS)(
        {name: weights[name] for name in names}, partial(seeds.stream, run.seed_of("init"), "start", run.level)
    )
    return {name: values.get(name, w) for name, w in weights.items()}


def full_masks(model: Model, weights: Tensors) -> Tensors:
    """Masks that keep all prunable weights, (*shape)."""
    return masks.full({name: weights[name] for name in model.prunable})


def counts(run: Run, model: Model) -> dict[str, int]:
    """How many weights `run` keeps in each group that is ranked together: in all, "", or layer by layer."""
    spared = model.spared if run.count == "all" else 0
    return _allocated(run, model, lambda size: masks.kept(size, run.rate, run.level, spared))


def _allocated(run: Run, model: Model, kept: Callable[[int], int]) -> dict[str, int]:
    shapes = {name: model.shapes[name] for name in model.prunable}
    return pick("scope", run.scope, ALLOCATIONS).counts(shapes, kept)


def prune(run: Run, model: Model, net: Trained, data: Data) -> Tensors:
    """The masks of `run`, (*shape): the weights within those of `net` that its criterion keeps.

    Raises UsageError where a score is no number.
    """
    draw = partial(seeds.stream, run.seed, "criterion", run.level)
    return _ranked(run, model, net, data, counts(run, model), draw)


def _ranked(run: Run, model: Model, net: Trained, data: Data, counts: Mapping[str, int], draw: Draw) -> Tensors:
    """The masks (*shape) of so many weights of each group, ranked by the criterion of `run`."""
    seen = Net(
        initial={name: net.initial[name] for name in model.prunable},
        final={name: net.final[name] for name in model.prunable},
        masks={name: net.masks[name] for name in model.prunable},
        stream=draw,
        gradients=lambda batches: _gradients(run, model, net.final, data, batches, draw),
    )
    rule, unit = criterion(run.criterion), pick("unit", run.unit, UNITS)
    ties = None
    if rule.ties == "random":
        ties = {name: torch.from_numpy(draw("ties", name).random(tuple(w.shape))) for name, w in seen.final.items()}
    scores = rule.score(seen)
    if unit is not units.weight:
        scores, ties = units.averaged(scores, seen.masks, unit), ties and units.averaged(ties, seen.masks, unit)
    kept = masks.allocated(scores, seen.masks, counts, ties)
    return kept if unit is units.weight else units.whole(kept, seen.masks, unit)


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
    draw: Draw,
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
    descent = origin(run) if run.level else None
    first = descent.lr if descent and descent.lr and descent.schedule == "full" else run.lr
    rates = piecewise(first, run.milestones, run.gamma, run.epochs, steps)
    if descent is None:
        return rates, 0
    if descent.schedule == "last":
        return [descent.lr or rates[-1]] * len(rates), 0
    rewound = rewind_steps(run.rewind, steps)
    if rewound >= len(rates):
        raise UsageError(f"rewind {run.rewind} is not before the end of training, step {len(rates)}")
    return rates, rewound if descent.schedule == "rewound" else 0


def timetable(run: Run, n: int) -> Mapping[int, Event]:
    """What happens in the training of `run` on n examples, before which step. Raises UsageError where it cannot."""
    word = origin(run).timetable if run.level else ""
    return pick("timetable", word, TIMETABLES)(len(schedule(run, n)[0])) if word else {}


def beginning(run: Run, model: Model, data: Data, start: Tensors, kept: Tensors) -> Begun:
    """`run` before its first step, from start weights and under masks (*shape)."""
    n = len(data.train.y)
    first = schedule(run, n)[1]
    density = sum(counts(run, model).values()) / model.size
    learned, fixed = teaching_of(run).split(start, model.prunable, density)
    fitted = torch.empty(0, -(-n // 8), dtype=torch.uint8) if n < RECORDED else None
    return Begun(learned, fixed, kept, {}, first, first, fitted)


def company_of(runs: Sequence[Run], model: Model, data: Data) -> Company | None:
    """How M runs side by side have the bits that each has alone, by a short trial; None on a GPU, which has no such."""
    if data.train.y.device.type != "cpu":
        return None
    split = teaching_of(runs[0]).split
    return company(_plan(runs, model, data, ()), model, data.train.x, data.classes, len(runs), split)


def train(
    runs: Sequence[Run],
    model: Model,
    data: Data,
    begun: Sequence[Begun],
    initial: Sequence[Tensors],
    one_by_one: bool = False,
) -> Iterator[Training]:
    """Trains M runs side by side from where they are, at one step, to the end.

    The runs agree in `Run.batch`. initial: the dense initialization of each, (*shape), which criteria may look at.
    Between the segments of a training happens what its timetable says, always before the step that it names: a run
    that was saved at that step is saved without it. Evaluates after each `eval_every` epochs and after the last one.
    one_by_one: each is computed on its own; see `company_of`.
    """
    run, (noisy, held) = runs[0], _labels(runs, data)
    steps, (rates, _) = -(-noisy.shape[1] // run.batch_size), schedule(run, noisy.shape[1])
    events, context = timetable(run, noisy.shape[1]), _context(runs, model, data, initial)
    state, happened = _state(model, data, begun), list[Happened]()
    while state.step < len(rates):
        if state.step in events:
            state, what = _happen(events[state.step], state, context, runs, model, data)
            happened.append(what)
        end = min((step for step in events if step > state.step), default=len(rates))
        plan = _plan(runs, model, data, rates[:end])
        for epoch, now in engine.train(state, shown(run, data), noisy, separate(plan) if one_by_one else plan):
            state = now
            if now.step % steps and now.step < len(rates):  # a segment that ends within an epoch
                continue
            seen, happened = happened, []
            if epoch % run.eval_every and epoch != run.epochs:
                yield Training(epoch, None, now, events=seen)
                continue
            found, fitted = _averaged(runs, model, now, data, noisy, held)
            yield Training(epoch, found, now, torch.from_numpy(np.packbits(fitted.cpu().numpy(), axis=1)), seen)


def _context(runs: Sequence[Run], model: Model, data: Data, initial: Sequence[Tensors]) -> Context:
    """What events look at; initial: the dense initialization of each run, (*shape)."""

    def pruned(state: State, counts: Sequence[Mapping[str, int]]) -> Tensors:
        kept = []
        for m, run in enumerate(runs):
            net = Trained(initial[m], single(state.learned | state.fixed, m), single(state.masks, m))
            draw = partial(seeds.stream, run.seed, "criterion", run.level, "step", state.step)
            kept.append(_ranked(run, model, net, data, counts[m], draw))
        return stacked(kept, model.prunable)

    sizes = _allocated(runs[0], model, lambda size: size) if runs[0].level else {}
    return Context(sizes, [counts(run, model) for run in runs], pruned)


def _happen(
    event: Event, state: State, context: Context, runs: Sequence[Run], model: Model, data: Data
) -> tuple[State, Happened]:
    after = event(state, context)
    after = replace(after, learned=masks.apply(after.masks, after.learned))
    density = [[masks.density(single(each.masks, m)) for m in range(len(runs))] for each in (state, after)]
    truth = data.test.y.expand(len(runs), -1)
    accuracy = []
    for each in (state, after):
        predicted, _ = answers(forward_of(model, data), network(runs, each), data.test.x, truth)
        accuracy.append((predicted == truth).double().mean(1).tolist())
    return after, Happened(state.step, list(zip(*density, strict=True)), list(zip(*accuracy, strict=True)))


def network(runs: Sequence[Run], state: State, chance: Tensor | None = None) -> Tensors:
    """The weights in effect of M runs in training, (M, *shape), pruned ones 0; of a lesson that draws, by `chance`,
    (M, K), or the most probable ones."""
    return teaching_of(runs[0]).network(state.learned, state.fixed, chance)


def result(runs: Sequence[Run], model: Model, state: State, m: int) -> tuple[Tensors, Tensors]:
    """The weights in effect of model m, pruned ones 0, and its masks, as copies (*shape)."""
    weights = single(network(runs, state), m)
    if teaching_of(runs[0]).chances:  # which weights are in effect is what was learned
        return weights, {name: gate[m].bool() for name, gate in lessons.gates(state.learned, None).items()}
    return weights, single(state.masks, m)


def replay(run: Run, step: int, model: Model, data: Data, start: Tensors) -> Tensors:
    """The weights, (*shape), of a dense run at one step of its training, trained there again."""
    rates, _ = schedule(run, len(data.train.y))
    state = _state(model, data, [beginning(run, model, data, start, full_masks(model, start))])
    labels = noisy_labels(run, data).unsqueeze(0)
    for now in engine.train(state, shown(run, data), labels, _plan([run], model, data, rates[:step])):
        state = now.state
    return single(network([run], state), 0)


def _state(model: Model, data: Data, begun: Sequence[Begun]) -> State:
    first, order = begun[0], {name: i for i, name in enumerate(model.weights)}

    def together(parts: Sequence[Tensors]) -> Tensors:
        return moved(stacked(parts, sorted(parts[0], key=order.__getitem__)), data.train.y.device)

    memory = {name: together([each.memory[name] for each in begun]) for name in first.memory}
    learned = together([each.learned for each in begun])
    fixed, kept = together([each.fixed for each in begun]), together([each.masks for each in begun])
    return State(learned, fixed, kept, memory, first.step, first.since)


def paused(state: State, m: int) -> Begun:
    """Where model m of `state` is, as copies (*shape)."""
    memory = {name: single(kept, m) for name, kept in state.memory.items()}
    learned, fixed, kept = (single(each, m) for each in (state.learned, state.fixed, state.masks))
    return Begun(learned, fixed, kept, memory, state.step, state.since)


def _plan(runs: Sequence[Run], model: Model, data: Data, rates: Sequence[float]) -> engine.Plan:
    n, device = len(data.train.y), data.train.y.device

    def order(epoch: int) -> Tensor:
        streams = [seeds.stream(run.seed_of("order"), "order", epoch) for run in runs]
        return torch.stack([torch.from_numpy(stream.permutation(n)) for stream in streams]).to(device)

    def draws(epoch: int) -> Tensor:
        assert augment is not None
        streams = [seeds.stream(run.seed_of("order"), "augment", epoch) for run in runs]
        return torch.stack([torch.from_numpy(augment.draw(n, given, stream)) for stream in streams]).to(device)

    def chance(step: int) -> Tensor:
        return _chance(runs, model, "step", step).to(device)

    run, augment = runs[0], augmentation(runs[0], data)
    given, taken = ((x.shape[-2], x.shape[-1]) for x in (shown(run, data), data.train.x))
    return engine.Plan(
        lesson_of(run, model, data),
        order,
        run.batch_size,
        rates,
        run.momentum,
        run.weight_decay,
        rule=pick("optimizer", run.optimizer, OPTIMIZERS),
        memory=MEMORY[run.optimizer.split(":")[0]],
        draws=draws if augment else None,
        augment=(lambda x, draws: augment.apply(x, draws, taken)) if augment else None,
        apart=model.apart,
        computing=partial(PRECISIONS[run.precision], device.type),
        chance=chance if teaching_of(run).chances else None,
        cuda=device.type == "cuda",
    )


def _chance(runs: Sequence[Run], model: Model, *names: str | int) -> Tensor:
    """(M, K) uniform numbers, one for each prunable weight, of each run its own."""
    streams = [seeds.stream(run.seed_of("order"), "gates", run.level, *names) for run in runs]
    return torch.stack([torch.from_numpy(stream.random(model.size, dtype=np.float32)) for stream in streams])


def metrics(runs: Sequence[Run], model: Model, weights: Tensors, data: Data) -> list[dict[str, float]]:
    """The accuracies and losses of M runs, one dictionary each; weights: (M, *shape)."""
    return _evaluated(runs[0], model, weights, data, *_labels(runs, data))[0]


def _labels(runs: Sequence[Run], data: Data) -> tuple[Tensor, Tensor | None]:
    """(M, N) the labels that M runs are trained on, and (M, H) those of the examples held out."""
    held = [labels for run in runs if (labels := held_labels(run, data)) is not None]
    return torch.stack([noisy_labels(run, data) for run in runs]), torch.stack(held) if held else None


def _averaged(
    runs: Sequence[Run], model: Model, state: State, data: Data, noisy: Tensor, held: Tensor | None
) -> tuple[list[dict[str, float]], Tensor]:
    """The metrics of M runs in training; of a lesson that draws, their means over several networks drawn.

    Which labels are fitted is then that of the most probable network.
    """
    likely, fitted = _evaluated(runs[0], model, network(runs, state), data, noisy, held)
    if not teaching_of(runs[0]).chances:
        return likely, fitted
    drawn = []
    for k in range(lessons.GATES):
        chance = _chance(runs, model, "evaluation", k).to(noisy.device)
        drawn.append(_evaluated(runs[0], model, network(runs, state, chance), data, noisy, held)[0])
    return [{name: mean(each[m][name] for each in drawn) for name in row} for m, row in enumerate(likely)], fitted


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
