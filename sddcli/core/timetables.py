"""Timetables: what happens to M models between the segments of one training, and at which steps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import ceil, cos, floor, pi
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sddcli.core import masks as ranking
from sddcli.core.retraining import rewind_steps
from sddcli.core.types import State, Tensors
from sddcli.core.words import UsageError

Counts = Mapping[str, int]
"""Group of layers that are ranked together, "" for all -> a number of weights."""


class Context(NamedTuple):
    """What an event may look at and ask for.

    sizes: of each model, the prunable weights of each group; targets: how many of them it keeps at its level.
    prune(state, counts): masks (M, *shape) within those of `state`, of the weights that each run's criterion keeps.
    gradients(state): of each model's loss on a random training batch, (M, *shape), in all prunable weights, those that
    masks remove too. draw(m, step, *names): the generator of model m, at that step, for what `names` names.
    """

    sizes: Sequence[Counts]
    targets: Sequence[Counts]
    prune: Callable[[State, Sequence[Counts]], Tensors]
    gradients: Callable[[State], Tensors]
    draw: Callable[..., np.random.Generator]


Event = Callable[[State, Context], State]
"""What becomes of M models. Weights and memory that its masks cut are set to 0 by the engine."""
Timetable = Callable[..., Mapping[int, Event]]
"""(steps of the training, steps of an epoch) -> what happens before which step. Raises UsageError where it does not
fit."""


def gradual(steps: int, epoch: int, *, start: float = 0.0, end: float = 0.5, events: int = 20) -> Mapping[int, Event]:
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

    first, last = start * steps, end * steps
    at = {round(first + (last - first) * k / events): k / events for k in range(1, events + 1)}
    if max(at) >= steps:
        raise UsageError(f"a ramp that ends at step {max(at)} of {steps} leaves no step to train at its density")
    return {step: partial(cut, progress) for step, progress in at.items()}


def set_(steps: int, epoch: int, *, drop: float = 0.3, every: str = "100it", end: float = 0.75) -> Mapping[int, Event]:
    """Every so many steps, up to share `end` of the training, the share `drop` of the weights of each layer that are
    left, the smallest, goes, and as many come at random (Mocanu et al. 2018). Raises as `_repeated`."""

    def move(state: State, context: Context) -> State:
        def drawn(m: int, name: str, shape: torch.Size) -> Tensor:
            return torch.from_numpy(context.draw(m, state.step, "grow", name).random(tuple(shape)))

        return _moved(state, drop, drawn)

    return dict.fromkeys(_repeated(steps, epoch, every, end), move)


def rigl(steps: int, epoch: int, *, alpha: float = 0.3, every: str = "100it", end: float = 0.75) -> Mapping[int, Event]:
    """Every so many steps the share alpha/2 * (1 + cos(pi * t / T)) of the weights of each layer goes, the smallest,
    and as many with the largest |gradient| come; T is share `end` of the training (Evci et al. 2020). Raises as
    `_repeated`."""

    def move(step: int, state: State, context: Context) -> State:
        slopes = context.gradients(state)
        share = alpha / 2 * (1 + cos(pi * step / (end * steps)))
        return _moved(state, share, lambda m, name, shape: slopes[name][m].abs())

    return {step: partial(move, step) for step in _repeated(steps, epoch, every, end)}


def _repeated(steps: int, epoch: int, every: str, end: float) -> range:
    """The steps of events at a distance of `every`, before share `end` of the training. Raises UsageError for none."""
    period = rewind_steps(every, epoch)
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


TIMETABLES: Mapping[str, Timetable] = {"gradual": gradual, "set": set_, "rigl": rigl}
