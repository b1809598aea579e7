"""Retraining: for each pruned run, whose masks it prunes further and whose weights it starts from. Words only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from sddcli.core.words import pick

if TYPE_CHECKING:
    from sddcli.spec import Run

Moment = Literal["initial", "final"]


class Start(NamedTuple):
    """The run whose weights are taken, and at which moment of its training."""

    run: Run
    moment: Moment


class Origin(NamedTuple):
    """The run that is scored and pruned further, and the weights that the surviving ones start from."""

    masks: Run
    start: Start


def previous(run: Run) -> Run:
    """The run one level up in the same chain; that of level 1 is the dense run."""
    return replace(run, level=run.level - 1)


def lottery(run: Run) -> Origin:
    """Survivors go back to the dense run's initial weights, full schedule again (Frankle & Carbin 2019)."""
    return Origin(masks=previous(run), start=Start(replace(run, level=0), "initial"))


RETRAININGS: dict[str, Callable[[Run], Origin]] = {"lottery": lottery}


def masks_of(run: Run) -> Run:
    """The run whose trained weights are scored, and whose masks are pruned further, to make `run`'s."""
    return pick("retraining", run.retraining, RETRAININGS)(run).masks


def start_of(run: Run) -> Start:
    """Whose weights, and from which moment, `run` starts from."""
    return pick("retraining", run.retraining, RETRAININGS)(run).start
