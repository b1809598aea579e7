"""Schedules: step -> learning rate. Plain numbers, no torch: spec reads the words of a schedule too."""

from bisect import bisect_right
from collections.abc import Callable
from math import inf, sqrt
from typing import NamedTuple

from sddcli.core.words import UsageError, Whole

EVERY = Whole(512)


def milestones(text: str) -> tuple[float, ...]:
    """The drops that "80/120" (epochs) or "0.5/0.75" (shares of the length, below 1) means; "" is none.

    Raises UsageError unless they are positive and increase.
    """
    try:
        drops = [float(piece) for piece in text.split("/")] if text else []
    except ValueError:
        drops = [inf]
    one_unit = all(drop < 1 for drop in drops) or all(drop >= 1 for drop in drops)
    if not all(0 < drop < inf for drop in drops) or drops != sorted(set(drops)) or not one_unit:
        raise UsageError(f"milestones {text!r} are not increasing epochs (80/120) or shares of the length (0.5/0.75)")
    return tuple(drops)


class Course(NamedTuple):
    """What a schedule goes by: the first rate, milestones and gamma of a run, steps of an epoch, and steps in all."""

    lr: float
    milestones: str
    gamma: float
    epoch: int
    steps: int


def drops(course: Course) -> list[float]:
    """`lr` times `gamma` at each milestone passed."""
    ends = [round(drop * course.steps) for drop in milestones(course.milestones) if drop < 1]
    ends += [round(drop * course.epoch) for drop in milestones(course.milestones) if drop >= 1]
    return [course.lr * course.gamma ** bisect_right(ends, step) for step in range(course.steps)]


def inverse_square_root(course: Course, *, every: Whole = EVERY) -> list[float]:
    """lr / sqrt(1 + floor(step / every)): ever smaller, as convolutional networks of Nakkiran et al. (2020) have it."""
    return [course.lr / sqrt(1 + step // every) for step in range(course.steps)]


SCHEDULES: dict[str, Callable[[Course], list[float]]] = {"drops": drops, "inverse-square-root": inverse_square_root}
"""(course, *, parameters) -> the learning rate of each step."""
