"""Timetables: what happens to M models between the segments of one training, and at which steps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import floor
from typing import NamedTuple

from sddcli.core.types import State, Tensors
from sddcli.core.words import UsageError

Counts = Mapping[str, int]
"""Group of layers that are ranked together, "" for all -> a number of weights."""


class Context(NamedTuple):
    """What an event may look at and ask for.

    sizes: the prunable weights of each group; targets: how many of them each model keeps at its level.
    prune(state, counts): masks (M, *shape) within those of `state`, of the weights that each run's criterion keeps.
    """

    sizes: Counts
    targets: Sequence[Counts]
    prune: Callable[[State, Sequence[Counts]], Tensors]


Event = Callable[[State, Context], State]
"""What becomes of M models. Weights and memory that its masks cut are set to 0 by the engine."""
Timetable = Callable[..., Mapping[int, Event]]
"""(number of steps of the training) -> what happens before which step. Raises UsageError where it does not fit."""


def gradual(steps: int, *, start: float = 0.0, end: float = 0.5, events: int = 20) -> Mapping[int, Event]:
    """Pruned little by little within one training, at `events` equal distances from share `start` to share `end` of it,
    at most once a step.


    Sparsity follows s * (1 - (1 - t)^3), t from 0 to 1 along the ramp, down to that of the level (Zhu & Gupta 2017).
    Masks nest: a weight that is cut stays 0. Raises UsageError where the ramp ends with the training or later.
    """

    def cut(progress: float, state: State, context: Context) -> State:
        left = (1 - progress) ** 3
        counts = [
            {group: target + floor((context.sizes[group] - target) * left + 0.5) for group, target in each.items()}
            for each in context.targets
        ]
        return replace(state, masks=context.prune(state, counts))

    first, last = start * steps, end * steps
    at = {round(first + (last - first) * k / events): k / events for k in range(1, events + 1)}
    if max(at) >= steps:
        raise UsageError(f"a ramp that ends at step {max(at)} of {steps} leaves no step to train at its density")
    return {step: partial(cut, progress) for step, progress in at.items()}


TIMETABLES: Mapping[str, Timetable] = {"gradual": gradual}
