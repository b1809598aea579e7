"""Schedules: step -> learning rate. Plain numbers, no torch: spec reads the words of a schedule too."""

from bisect import bisect_right
from math import inf

from sddcli.core.words import UsageError


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


def piecewise(lr: float, drops: str, gamma: float, epochs: int, steps_per_epoch: int, steps: int = 0) -> list[float]:
    """One learning rate per step: `lr` times `gamma` at each drop passed.

    `steps` of them or, for 0, epochs * steps_per_epoch.
    """
    shares = [drop for drop in milestones(drops) if drop < 1]
    ends = [round(share * steps if steps else share * epochs * steps_per_epoch) for share in shares]
    ends += [round(drop * steps_per_epoch) for drop in milestones(drops) if drop >= 1]
    return [lr * gamma ** bisect_right(ends, step) for step in range(steps or epochs * steps_per_epoch)]
