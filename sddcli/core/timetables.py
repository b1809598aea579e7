"""Timetables: what happens to M models between the segments of one training, and at which steps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import ceil, cos, floor, inf, pi
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sddcli.core import masks as ranking
from sddcli.core.channels import completed, cut, living
from sddcli.core.retraining import rewind_steps
from sddcli.core.stacking import single, stacked
from sddcli.core.types import STATISTICS, Channels, Counts, Draw, State, Tensors
from sddcli.core.units import row_means
from sddcli.core.words import Answer, UsageError


class Context(NamedTuple):
    """What an event may look at and ask for.

    sizes: of each model, the prunable weights of each group; targets: how many of them it keeps at its level.
    prune(state, counts): masks (M, *shape) within those of `state`, of the weights that each run's criterion keeps.
    gradients(state): of each model's loss on a random training batch, (M, *shape), in all prunable weights, those that
    masks remove too. draw(m, step, *names): the generator of model m, at that step, for what `names` names.
    scores(state, m): what model m's criterion says of each prunable weight, (*shape). channels: those that the runs'
    unit removes.
    """

    sizes: Sequence[Counts]
    targets: Sequence[Counts]
    prune: Callable[[State, Sequence[Counts]], Tensors]
    gradients: Callable[[State], Tensors]
    draw: Draw
    scores: Callable[[State, int], Tensors] = lambda state, m: {}
    channels: Sequence[Channels] = ()


NO = Answer("no")
Event = Callable[[State, Context], State]
"""What becomes of M models. Weights and memory that its masks cut are set to 0 by the engine."""


class Length(NamedTuple):
    """The training that a timetable is made for: its steps, those of an epoch, and the number of layers, or of layers
    whose outputs are added, that have channels to be removed by the run's unit."""

    steps: int
    epoch: int = 1
    layers: int = 0


Timetable = Callable[..., Mapping[int, Event]]
"""(Length) -> what happens before which step. Raises UsageError where it does not fit."""


def gradual(length: Length, *, start: float = 0.0, end: float = 0.5, events: int = 20) -> Mapping[int, Event]:
    """Pruned little by little within one training, at `events` equal distances from share `start` to share `end` of it,
    at most once a step.

    Sparsity follows s * (1 - (1 - t)^3), t from 0 to 1 along the ramp, down to that of the level (Zhu & Gupta 2017).
    Masks nest: a weight that is cut stays 0. Raises UsageError where the ramp ends with the training or later.
    """

    def cut(progress: float, state: State, context: Context) -> State:
        left = (1 - progress) ** 3
        counts = [
            {group: target + floor((sizes[group] - target) * left + 0.5) for group, target in targets.items()}
            for sizes, targets in zip(context.sizes, context.targets, strict=True)
        ]
        return replace(state, masks=context.prune(state, counts))

    steps = length.steps
    first, last = start * steps, end * steps
    at = {round(first + (last - first) * k / events): k / events for k in range(1, events + 1)}
    if max(at) >= steps:
        raise UsageError(f"a ramp that ends at step {max(at)} of {steps} leaves no step to train at its density")
    return {step: partial(cut, progress) for step, progress in at.items()}


def set_(length: Length, *, drop: float = 0.3, every: str = "100it", end: float = 0.75) -> Mapping[int, Event]:
    """Every so many steps, up to share `end` of the training, the share `drop` of the weights of each layer that are
    left, the smallest, goes, and as many come at random (Mocanu et al. 2018). Raises as `_repeated`."""

    def move(state: State, context: Context) -> State:
        def drawn(m: int, name: str, shape: torch.Size) -> Tensor:
            return torch.from_numpy(context.draw(m, state.step, "grow", name).random(tuple(shape)))

        return _moved(state, drop, drawn)

    return dict.fromkeys(_repeated(length, every, end), move)


def rigl(length: Length, *, alpha: float = 0.3, every: str = "100it", end: float = 0.75) -> Mapping[int, Event]:
    """Every so many steps the share alpha/2 * (1 + cos(pi * t / T)) of the weights of each layer goes, the smallest,
    and as many with the largest |gradient| come; T is share `end` of the training (Evci et al. 2020). Raises as
    `_repeated`."""

    def move(step: int, state: State, context: Context) -> State:
        slopes = context.gradients(state)
        share = alpha / 2 * (1 + cos(pi * step / (end * length.steps)))
        return _moved(state, share, lambda m, name, shape: slopes[name][m].abs())

    return {step: partial(move, step) for step in _repeated(length, every, end)}


def _repeated(length: Length, every: str, end: float) -> range:
    """The steps of events at a distance of `every`, before share `end` of the training. Raises UsageError for none."""
    steps, period = length.steps, rewind_steps(every, length.epoch)
    at = range(period, ceil(end * steps), period)
    if not at:
        raise UsageError(
            f"weights would move first before step {period}, and last before step {end * steps:g} of {steps}: take a "
            "shorter every, or train longer"
        )
    return at


def _moved(state: State, share: float, growth: Callable[[int, str, torch.Size], Tensor]) -> State:
    """In each layer that share of the weights that are left, the smallest, replaced by as many that were not.

    growth(m, name, (*shape)): the score by which those are chosen. Those that go do not come back at once; where fewer
    are missing than would go, only so many move: each layer keeps its number. New ones start from 0, with no memory.
    """

    def replaced(name: str, mask: Tensor) -> Tensor:
        pairs = enumerate(zip(state.learned[name], mask, strict=True))
        return torch.stack([_replaced(w, kept, share, growth(m, name, kept.shape)) for m, (w, kept) in pairs])

    return replace(state, masks={name: replaced(name, mask) for name, mask in state.masks.items()})


def _replaced(weight: Tensor, mask: Tensor, share: float, growth: Tensor) -> Tensor:
    """The masks (*shape) of one layer of one model after that."""
    alive = int(mask.sum())
    number = min(floor(share * alive + 0.5), mask.numel() - alive)
    stay = ranking.keep({"": weight.abs()}, {"": mask}, alive - number)[""]
    return stay | ranking.keep({"": growth.to(mask.device)}, {"": ~mask}, number)[""]


def events(
    length: Length,
    *,
    target: str = "smallest",
    period: str = "1ep",
    start: str = "0.1",
    end: str = "0.5",
    share: str = "",
    layers: int = 1,
    batches: int = 0,
    noise: Answer = NO,
) -> Mapping[int, Event]:
    """Filters or neurons of the last `layers` layers go, a few at each event, at distances of `period` (Bartoldson et
    al. 2020); for so many batches only, where `batches` is not 0: then they come back as they were.

    noise: they stay, and before each of so many batches noise is added to their weights, N(0, s^2) with s the deviation
    of the weights of the first filter of the layer that an event leaves alone.

    start, end, share: of each of these layers, or of all, parted by /: when its first event may be, and its last one,
    epochs or shares of the training below 1; which share of its filters goes in all, "" for that of the level.
    target: the smallest or largest score of the criterion. After event i of n a layer has ceil(kept + (N - kept) *
    (n - i) / n) of its N filters left. Raises UsageError where that does not fit.
    """
    if not length.layers:
        raise UsageError("events remove whole filters or neurons: take unit filter, neuron or channel")
    if layers > length.layers:
        raise UsageError(
            f"events in the last {layers} layers: of this network {length.layers} have whole units to remove"
        )
    gap = rewind_steps(period, length.epoch)
    shares = _of_layers("share", share, layers) if share else []
    if not all(0 < each < 1 for each in shares):
        raise UsageError(f"events leave some of each layer: they take shares above 0 and below 1, got {share}")
    leaving, coming = dict[int, list[_Leaving]](), dict[int, list[int]]()
    ends = zip(_of_layers("start", start, layers), _of_layers("end", end, layers), strict=True)
    for k, (first, last) in enumerate(ends):
        steps = range(_step(first, length), _step(last, length) + 1, gap)
        for i, step in enumerate(steps):
            each = _Leaving(length.layers - layers + k, i, len(steps), shares[k] if shares else None)
            leaving.setdefault(step, []).append(each)
            for later in range(batches) if noise else [batches] if batches else []:
                coming.setdefault(step + later, []).append(each.layer)
    if not leaving or max({*leaving, *coming}) >= length.steps:
        raise UsageError(f"events from {start} to {end} do not end within the {length.steps} steps of the training")
    if batches >= gap:
        raise UsageError(f"an event is over after {batches} batches, and the next one is {gap} steps later")

    def happen(step: int, state: State, context: Context) -> State:
        state = _back(state, context, coming.get(step, ()))
        return _left_out(state, context, leaving.get(step, ()), target, bool(batches)) if step in leaving else state

    def disturb(step: int, state: State, context: Context) -> State:
        state = _chosen(state, context, leaving.get(step, ()), target)
        return _noisy(state, context, coming[step])

    return {step: partial(disturb if noise else happen, step) for step in {*leaving, *coming}}


class _Leaving(NamedTuple):
    """An event in one layer, number i from 0 of n; share: of its channels that are gone after all, None for the
    level's."""

    layer: int
    i: int
    n: int
    share: float | None

    def kept(self, size: int, gone: float, i: int) -> int:
        """How many of `size` channels are left after i events, of which all together take the share `gone`."""
        final = size * (1 - gone)
        return ceil(round(final + (size - final) * (self.n - i) / self.n, 9))


def _of_layers(name: str, text: str, layers: int) -> list[float]:
    """A number for each layer: one for all, or as many as layers, parted by "/".

    Raises UsageError for anything else.
    """
    try:
        numbers = [float(piece) for piece in text.split("/")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, layers) or not all(0 <= number < inf for number in numbers):
        raise UsageError(f"{name} of events takes one number, or {layers} parted by /, one a layer: got {text!r}")
    return numbers * (layers // len(numbers))


def _step(moment: float, length: Length) -> int:
    """The step that an epoch, or a share of the training below 1, means."""
    return round(moment * (length.steps if moment < 1 else length.epoch))


def _left_out(state: State, context: Context, events: Sequence[_Leaving], target: str, comes_back: bool) -> State:
    """Without the channels that these events remove; put aside where they come back."""
    less = []
    for m in range(len(context.sizes)):
        scores, kept = context.scores(state, m), single(state.masks, m)
        for event in events:
            stay = _staying(context, m, event, scores, kept, target, comes_back)
            kept = cut(kept, context.channels[event.layer], stay)
        less.append(completed(kept, context.channels))
    masks = stacked(less, list(state.masks))
    aside = _aside(state, context.channels) if comes_back else {}
    return replace(state, masks=masks, aside=aside)


def _staying(
    context: Context, m: int, event: _Leaving, scores: Tensors, kept: Tensors, target: str, by_itself: bool
) -> Tensor:
    """(size,) bool: the channels of its layer that an event leaves in model m, of scores and masks (*shape).

    by_itself: as many go as by this event alone, for those of events before are back.
    """
    sizes, targets, channels = context.sizes[m], context.targets[m], context.channels[event.layer]
    gone = 1 - sum(targets.values()) / sum(sizes.values()) if event.share is None else event.share
    before, after = (event.kept(channels.size, gone, i) for i in (event.i, event.i + 1))
    number = channels.size - (before - after) if by_itself else after
    means = row_means(scores, kept, channels) * (-1 if target == "largest" else 1)
    alive = living(kept, channels)
    return ranking.keep({"": means}, {"": alive}, min(number, int(alive.sum())))[""]


CHOSEN = "chosen/"
"""How the names begin, among what is put aside, of the channels (size,) of a layer that the last event chose."""


def _chosen(state: State, context: Context, events: Sequence[_Leaving], target: str) -> State:
    """With the channels noted, in `aside`, that these events would remove, instead of those of a layer's last event."""
    scores = [context.scores(state, m) for m in range(len(context.sizes))] if events else []
    aside = dict(state.aside)
    for event in events:
        stay = [
            _staying(context, m, event, each, single(state.masks, m), target, True) for m, each in enumerate(scores)
        ]
        aside[f"{CHOSEN}{event.layer}"] = ~torch.stack(stay)
    return replace(state, aside=aside)


def _noisy(state: State, context: Context, layers: Sequence[int]) -> State:
    """With noise on the weights of the chosen channels of these layers."""
    learned = dict(state.learned)
    for k in layers:
        for name in context.channels[k].outputs:
            pairs = enumerate(zip(learned[name], state.aside[f"{CHOSEN}{k}"], strict=True))
            noisy = [_with_noise(w, chosen, context.draw(m, state.step, "noise", name)) for m, (w, chosen) in pairs]
            learned[name] = torch.stack(noisy)
    return replace(state, learned=learned)


def _with_noise(weight: Tensor, chosen: Tensor, draw: np.random.Generator) -> Tensor:
    """Weights (size, *shape) of one model; chosen rows (size,) have noise, of the deviation of the first other row."""
    noise = torch.from_numpy(draw.standard_normal(tuple(weight.shape), dtype=np.float32)).to(weight)
    deviation = weight[int((~chosen).nonzero()[0])].std()
    return torch.where(chosen.view(-1, *(1,) * (weight.dim() - 1)), weight + deviation * noise, weight)


def _aside(state: State, layout: Sequence[Channels]) -> Tensors:
    """Values and BatchNorm statistics of what is there; of what is away already, those that were put aside then."""
    whole = _with_statistics(state.masks, layout)
    values = state.learned | state.fixed
    return {
        name: values[name].clone() if name not in state.aside else torch.where(mask, values[name], state.aside[name])
        for name, mask in whole.items()
        if name in values
    }


def _with_statistics(masks: Tensors, layout: Sequence[Channels]) -> Tensors:
    """Masks (M, *shape), and with those of BatchNorm parameters those of its statistics."""
    scales = [name for each in layout for name in each.vectors if name.endswith(".weight")]
    statistics = {f"{name.removesuffix('weight')}{end}": masks[name] for name in scales for end in STATISTICS}
    return masks | statistics


def _back(state: State, context: Context, layers: Sequence[int]) -> State:
    """With all channels of these layers, those that were away as they were when they went."""
    if not layers:
        return state
    more = []
    for m in range(len(context.sizes)):
        kept = single(state.masks, m)
        there = [living(kept, channels) | (k in layers) for k, channels in enumerate(context.channels)]
        kept = {name: mask | True for name, mask in kept.items()}
        for channels, alive in zip(context.channels, there, strict=True):
            kept = cut(kept, channels, alive)
        more.append(completed(kept, context.channels))
    masks = stacked(more, list(state.masks))
    old, new = (_with_statistics(each, context.channels) for each in (state.masks, masks))

    def with_old(values: Tensors) -> Tensors:
        came = {name: new[name] & ~old[name] for name in values if name in state.aside}
        return {
            name: torch.where(came[name], state.aside[name], w) if name in came else w for name, w in values.items()
        }

    aside = {} if all(bool(mask.all()) for mask in masks.values()) else state.aside
    return replace(state, learned=with_old(state.learned), fixed=with_old(state.fixed), masks=masks, aside=aside)


TIMETABLES: Mapping[str, Timetable] = {"gradual": gradual, "set": set_, "rigl": rigl, "events": events}
