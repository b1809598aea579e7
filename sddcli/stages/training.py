"""Training: runs side by side, in segments with events between them, evaluated as they go on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import mean
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sddcli.core import engine, lessons, masks, seeds
from sddcli.core.company import Company, company, separate
from sddcli.core.evaluate import answers, evaluate
from sddcli.core.optimizers import OPTIMIZERS
from sddcli.core.precisions import PRECISIONS
from sddcli.core.regularization import INITIAL
from sddcli.core.stacking import on_device, single, stacked
from sddcli.core.timetables import CHOSEN, Context, Event
from sddcli.core.types import Begun, Data, Draw, Model, State, Tensors, Trained
from sddcli.core.words import pick
from sddcli.spec import Run
from sddcli.stages import pruning, setting

RECORDED = 100_000
"""With this many training examples or more, no record is kept of which of them are fitted at each evaluation."""

TRIALS: dict[tuple[object, ...], Company] = {}
"""What the trial of `company_of` said in this process: a worker trains many batches of the same shapes."""


class EventRecord(NamedTuple):
    """An event between two segments: the step after it, each run's density and test accuracy, (before, after), and
    whether it removes any of its weights or adds noise to others than before: only then it counts."""

    step: int
    density: Sequence[tuple[float, float]]
    test_accuracy: Sequence[tuple[float, float]]
    removes: Sequence[bool]


class EpochEnd(NamedTuple):
    """The end of an epoch: its number and the state then, which the next epoch overwrites (see types.Epoch).

    metrics: one dictionary for each of the M runs, None where the epoch is not evaluated. fitted: (M, ceil(N / 8))
    uint8, which training labels each run fits, a bit each, None as well. events: those since the epoch before. last:
    whether training ends with it. Of runs that nothing trains there is one, 0.
    """

    epoch: int
    metrics: list[dict[str, float]] | None
    state: State
    fitted: Tensor | None = None
    events: Sequence[EventRecord] = ()
    last: bool = False


def train(
    runs: Sequence[Run],
    model: Model,
    data: Data,
    begun: Sequence[Begun],
    initial: Sequence[Tensors],
    one_by_one: bool = False,
) -> Iterator[EpochEnd]:
    """Trains M runs side by side from where they are, all at the same step, to the end.

    The runs agree in `Run.batch`. initial: the dense initialization of each, (*shape), which criteria may look at.
    An event of the timetable happens before the step that it names. A run that is saved at that step is saved as it was
    before the event, which then happens when it goes on. Evaluates after each `eval_every` epochs and after the last.
    one_by_one: each is computed by itself; see `company_of`.
    """
    run, (noisy, held) = runs[0], _labels(runs, data)
    steps, (rates, _) = -(-noisy.shape[1] // run.batch_size), setting.schedule(run, noisy.shape[1])
    events, context = setting.timetable(run, model, noisy.shape[1]), _context(runs, model, data, initial)
    state, happened = _state(model, data, begun), list[EventRecord]()

    def measured(epoch: int, now: State, seen: Sequence[EventRecord]) -> EpochEnd:
        metrics, fitted = _averaged(runs, model, now, data, noisy, held)
        if run.take == "validation" and now.step > max(events, default=-1):  # before, masks are not those of the end
            lessons.note_best(now, [row["validation_accuracy"] for row in metrics], epoch)
        packed = torch.from_numpy(np.packbits(fitted.cpu().numpy(), axis=1))
        return EpochEnd(epoch, metrics, now, packed, seen, now.step >= len(rates))

    if not rates:
        yield measured(0, state, ())
    while state.step < len(rates):
        if state.step in events:
            before, state = state, _happen(events[state.step], state, context)
            happened += _record(before, state, runs, model, data)
        end = min((step for step in events if step > state.step), default=len(rates))
        plan = _plan(runs, model, data, rates[:end])
        for epoch, now in engine.train(state, setting.shown(run, data), noisy, separate(plan) if one_by_one else plan):
            state = now
            if now.step % steps and now.step < len(rates):  # a segment that ends within an epoch
                continue
            seen, happened = happened, []
            if epoch % run.eval_every and now.step < len(rates):
                yield EpochEnd(epoch, None, now, events=seen)
                continue
            yield measured(epoch, now, seen)


def _context(runs: Sequence[Run], model: Model, data: Data, initial: Sequence[Tensors]) -> Context:
    """What events look at; initial: the dense initialization of each run, (*shape)."""

    def stream(m: int, step: int) -> Draw:
        return partial(seeds.stream, runs[m].seed, "criterion", runs[m].level, "step", step)

    def pruned(state: State, counts: Sequence[Mapping[str, int]]) -> Tensors:
        kept = []
        for m, run in enumerate(runs):
            net = Trained(initial[m], single(state.learned | state.fixed, m), single(state.masks, m))
            masked = pruning.ranked(run, model, net, data, counts[m], stream(m, state.step))
            kept.append(pruning.with_vectors(run, model, masked))
        return stacked(kept, [name for name in model.shapes if name in kept[0]])

    def gradients(state: State) -> Tensors:
        slopes = []
        for m, run in enumerate(runs):
            weights = single(state.learned | state.fixed, m)
            slopes.append(pruning.gradients(run, model, weights, data, 1, stream(m, state.step)))
        return stacked(slopes, model.prunable)

    def scores(state: State, m: int) -> Tensors:
        net = Trained(initial[m], single(state.learned | state.fixed, m), single(state.masks, m))
        return pruning.scored(runs[m], model, net, data, stream(m, state.step))

    def draw(m: int, step: int, *names: str | int) -> np.random.Generator:
        return stream(m, step)(*names)

    sizes = [setting.group_sizes(run, model) if run.level else {} for run in runs]
    targets = [setting.counts(run, model) for run in runs]
    channels = setting.unit_of(runs[0], model).channels if runs[0].level else ()
    return Context(sizes, targets, pruned, gradients, draw, scores, channels)


def _happen(event: Event, state: State, context: Context) -> State:
    after = event(state, context)
    return replace(after, learned=masks.apply(after.masks, after.learned))


def _record(state: State, after: State, runs: Sequence[Run], model: Model, data: Data) -> Iterator[EventRecord]:
    """What an event did, where it removed any weight, or chose some to add noise to."""
    both = [{name: each.masks[name] for name in model.prunable} for each in (state, after)]
    gone = [(both[0][name] & ~both[1][name]).flatten(1).any(1) for name in model.prunable]
    chosen = [w.any(1) for name, w in after.aside.items() if name.startswith(CHOSEN) and w is not state.aside.get(name)]
    removes = torch.stack([*gone, *chosen]).any(0).tolist()
    if not any(removes):
        return
    density = [[masks.density(single(each, m)) for m in range(len(runs))] for each in both]
    truth = data.test.y.expand(len(runs), -1)
    accuracy = []
    for each in (state, after):
        predicted, _ = answers(setting.forward_of(model, data), network(runs, each), data.test.x, truth)
        accuracy.append((predicted == truth).double().mean(1).tolist())
    densities, accuracies = (list(zip(*each, strict=True)) for each in (density, accuracy))
    yield EventRecord(state.step, densities, accuracies, removes)


def beginning(
    run: Run,
    model: Model,
    data: Data,
    start: Tensors,
    kept: Tensors,
    frozen: Mapping[str, Tensor] | None = None,
    teacher: Mapping[str, Tensor] | None = None,
    initial: Mapping[str, Tensor] | None = None,
) -> Begun:
    """`run` before its first step, from start weights and under masks (*shape).

    frozen: the values of weights that a lesson leaves as they are, (*shape), added to what is learned. teacher: the
    weights (*shape) of the network whose answers it learns from. initial: those of the dense initialization, for where
    it is not `start`.
    """
    n = len(data.train.y)
    first = setting.schedule(run, n)[1]
    draw = partial(seeds.stream, run.seed_of("init"), "scores", run.level)
    learned, fixed = setting.teaching_of(run).split(start, model.prunable, setting.counts(run, model), draw)
    fixed = fixed | {lessons.FROZEN + name: w for name, w in (frozen or {}).items()}
    fixed = fixed | {lessons.TEACHER + name: w for name, w in (teacher or {}).items()}
    known = {INITIAL + name: w for name, w in (initial or {}).items()}
    fixed = {name: known.get(name, w) for name, w in fixed.items()}
    fitted = torch.empty(0, -(-n // 8), dtype=torch.uint8) if n < RECORDED else None
    return Begun(learned, fixed, pruning.with_vectors(run, model, kept), {}, first, first, fitted)


def paused(state: State, m: int) -> Begun:
    """Where model m of `state` is, as copies (*shape)."""
    memory = {name: single(kept, m) for name, kept in state.memory.items()}
    learned, fixed, kept = (single(each, m) for each in (state.learned, state.fixed, state.masks))
    return Begun(learned, fixed, kept, memory, state.step, state.since, aside=single(state.aside, m))


def _state(model: Model, data: Data, begun: Sequence[Begun]) -> State:
    first, order = begun[0], {name: i for i, name in enumerate(model.weights)}

    def together(parts: Sequence[Tensors]) -> Tensors:
        return on_device(
            stacked(parts, sorted(parts[0], key=lambda name: order.get(name, len(order)))), data.train.y.device
        )

    memory = {name: together([each.memory[name] for each in begun]) for name in first.memory}
    learned = together([each.learned for each in begun])
    fixed, kept = together([each.fixed for each in begun]), together([each.masks for each in begun])
    aside = together([dict(each.aside) for each in begun])
    return State(learned, fixed, kept, memory, first.step, first.since, aside)


def company_of(runs: Sequence[Run], model: Model, data: Data) -> Company | None:
    """How M runs side by side have the bits that each has alone, by a short trial.

    None on a GPU, where no bits are promised.
    """
    if data.train.y.device.type != "cpu":
        return None
    alike = (runs[0].batch, len(runs), data.sha256, torch.get_num_threads())
    if alike not in TRIALS:
        split = setting.teaching_of(runs[0]).split
        TRIALS[alike] = company(_plan(runs, model, data, ()), model, data.train.x, data.classes, len(runs), split)
    return TRIALS[alike]


def _plan(runs: Sequence[Run], model: Model, data: Data, rates: Sequence[float]) -> engine.Plan:
    n, device = len(data.train.y), data.train.y.device

    def order(epoch: int) -> Tensor:
        streams = [seeds.stream(run.seed_of("order"), "order", epoch) for run in runs]
        return torch.stack([torch.from_numpy(stream.permutation(n)) for stream in streams]).to(device)

    def draws(epoch: int) -> Tensor:
        assert augment is not None
        streams = [seeds.stream(run.seed_of("order"), "augment", epoch) for run in runs]
        return torch.stack([torch.from_numpy(augment.draw(n, given, stream)) for stream in streams]).to(device)

    run, augment = runs[0], setting.augmentation(runs[0], data)
    gates, dropped = setting.teaching_of(run).chances, run.batch_size * sum(model.inputs.values()) * (run.dropout > 0)

    def chance(step: int) -> Tensor:
        drawn = [_chance(runs, model, "step", step)] * gates
        drawn += [_uniform(runs, dropped, "dropout", "step", step)] * (dropped > 0)
        return torch.cat(drawn, 1).to(device)

    given, taken = ((x.shape[-2], x.shape[-1]) for x in (setting.shown(run, data), data.train.x))
    return engine.Plan(
        setting.lesson_of(run, model, data),
        order,
        run.batch_size,
        rates,
        run.momentum,
        run.weight_decay,
        optimizer=pick("optimizer", run.optimizer, OPTIMIZERS),
        draws=draws if augment else None,
        augment=(lambda x, draws: augment.apply(x, draws, taken)) if augment else None,
        one_by_one=model.one_by_one,
        computing=partial(PRECISIONS[run.precision], device.type),
        chance=chance if gates or dropped else None,
        cuda=device.type == "cuda",
        streamed=data.train.x.device != device,
    )


def _chance(runs: Sequence[Run], model: Model, *names: str | int) -> Tensor:
    """(M, K) uniform numbers, one for each prunable weight, of each run its own."""
    return _uniform(runs, model.size, "gates", *names)


def _uniform(runs: Sequence[Run], number: int, what: str, *names: str | int) -> Tensor:
    """(M, number) uniform numbers, of each run its own."""
    streams = [seeds.stream(run.seed_of("order"), what, run.level, *names) for run in runs]
    return torch.stack([torch.from_numpy(stream.random(number, dtype=np.float32)) for stream in streams])


def replay(run: Run, step: int, model: Model, data: Data, start: Tensors) -> Tensors:
    """The weights (*shape) of a dense run at one step of its training: it is trained again up to there."""
    rates, _ = setting.schedule(run, len(data.train.y))
    state = _state(model, data, [beginning(run, model, data, start, pruning.full_masks(model, start))])
    labels = setting.noisy_labels(run, data).unsqueeze(0)
    for now in engine.train(state, setting.shown(run, data), labels, _plan([run], model, data, rates[:step])):
        state = now.state
    return single(network([run], state), 0)


def network(runs: Sequence[Run], state: State, chance: Tensor | None = None) -> Tensors:
    """The weights in effect of M runs in training, (M, *shape), pruned ones 0.

    chance: (M, K) uniform numbers for a lesson that draws; None for its most probable network.
    """
    return setting.teaching_of(runs[0]).network(state.learned, state.fixed, chance)


def result(runs: Sequence[Run], model: Model, state: State, m: int) -> tuple[Tensors, Tensors]:
    """The weights in effect of model m, pruned ones 0, and the masks of those that are not, as copies (*shape).

    At the end of training, or at its best evaluation where the runs take that. Of a lesson that draws, the first of the
    networks that are drawn at each evaluation. The most probable one is not like these: of many gates that are open
    with a probability a little above a half, because together they shift what a unit is given, it has all.
    """
    state, teaching = lessons.best(state) if runs[0].take == "validation" else state, setting.teaching_of(runs[0])
    chance = _drawn(runs, model, state, 0) if teaching.chances else None
    weights = single(network(runs, state, chance), m)
    if teaching.gates:  # which weights are in effect is what was learned
        gates = teaching.gates(state.learned, state.fixed, chance)
        return weights, {name: gate[m].bool() for name, gate in gates.items()}
    kept = single({name: state.masks[name] for name in model.prunable}, m)
    return weights, masks.full(kept) if teaching.whole else kept


def taken_epoch(runs: Sequence[Run], state: State, m: int) -> int | None:
    """The epoch of the best evaluation of model m, where the runs take its weights; None where they take the last."""
    return int(state.fixed[lessons.BEST][m, 1]) if runs[0].take == "validation" else None


def metrics(runs: Sequence[Run], model: Model, weights: Tensors, data: Data) -> list[dict[str, float]]:
    """The accuracies and losses of M runs, one dictionary each; weights: (M, *shape)."""
    return _evaluated(runs[0], model, weights, data, *_labels(runs, data))[0]


def _labels(runs: Sequence[Run], data: Data) -> tuple[Tensor, Tensor | None]:
    """(M, N) the labels that M runs are trained on, and (M, H) those of the examples held out."""
    held = [labels for run in runs if (labels := setting.held_labels(run, data)) is not None]
    return torch.stack([setting.noisy_labels(run, data) for run in runs]), torch.stack(held) if held else None


def _averaged(
    runs: Sequence[Run], model: Model, state: State, data: Data, noisy: Tensor, held: Tensor | None
) -> tuple[list[dict[str, float]], Tensor]:
    """The metrics of M runs in training, and (M, N) bool which labels they fit.

    Of a lesson that draws, metrics are means over several drawn networks; the labels are those that the first one fits.
    """
    if not setting.teaching_of(runs[0]).chances:
        return _evaluated(runs[0], model, network(runs, state), data, noisy, held)
    drawn = [network(runs, state, _drawn(runs, model, state, k)) for k in range(lessons.GATES)]
    each = [_evaluated(runs[0], model, weights, data, noisy, held) for weights in drawn]
    rows = [metrics for metrics, _ in each]
    return [{name: mean(row[m][name] for row in rows) for name in rows[0][m]} for m in range(len(runs))], each[0][1]


def _drawn(runs: Sequence[Run], model: Model, state: State, k: int) -> Tensor:
    """The uniform numbers (M, K) by which the gates of the k-th network of an evaluation are drawn."""
    return _chance(runs, model, "evaluation", k).to(next(iter(state.learned.values())).device)


def _evaluated(
    run: Run, model: Model, weights: Tensors, data: Data, noisy: Tensor, held: Tensor | None
) -> tuple[list[dict[str, float]], Tensor]:
    with PRECISIONS[run.precision](noisy.device.type):
        values, fitted = evaluate(setting.forward_of(model, data), weights, data, noisy, held)
    columns = {name: column.tolist() for name, column in values.items()}
    return [{name: column[m] for name, column in columns.items()} for m in range(len(noisy))], fitted
