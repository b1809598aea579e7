"""Retraining: for each pruned run, whose masks, whose weights and which schedule it takes. Words only, no torch."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from sddcli.core.words import UsageError, pick, unknown

if TYPE_CHECKING:
    from sddcli.spec import Run

PRUNINGS = ("iterative", "one-shot")


class Masks(NamedTuple):
    """The run that masks come from, and what becomes of them: pruned further, taken as they are, or opened."""

    run: Run
    how: Literal["prune", "same", "open"]


class Start(NamedTuple):
    """The run whose weights are taken, and at which moment of its training; "fresh" draws new ones."""

    run: Run
    moment: Literal["initial", "step", "final", "fresh"]


class Origin(NamedTuple):
    """All that a retraining decides. Schedule "rewound" is the run's own from its rewind step on, "full" from
    0, and "last" holds one learning rate for the full length: `lr`, or for 0 the last one of the full schedule."""

    masks: Masks
    start: Start
    schedule: Literal["full", "rewound", "last"]
    lr: float = 0.0


def previous(run: Run) -> Run:
    """The run that is pruned further: one level up (iterative), or the dense one (one-shot)."""
    if run.pruning not in PRUNINGS:
        raise unknown("pruning", run.pruning, PRUNINGS)
    return replace(run, level=run.level - 1 if run.pruning == "iterative" else 0)


def ticket(run: Run) -> Run:
    """The lottery run of the same level, whose masks or weights other retrainings take."""
    return replace(run, retraining="lottery")


def lottery(run: Run) -> Origin:
    """Survivors go back to the dense run's weights at the rewind step (Frankle & Carbin 2019; He et al. 2022)."""
    moment: Literal["initial", "step"] = "initial" if run.rewind == "0it" else "step"
    return Origin(Masks(previous(run), "prune"), Start(replace(run, level=0), moment), "rewound")


def finetune(run: Run, *, lr: float = 0.0) -> Origin:
    """Survivors keep their trained weights; the last learning rate, or `lr`, throughout (Han et al. 2015)."""
    return Origin(Masks(previous(run), "prune"), Start(previous(run), "final"), "last", lr)


def lr_rewind(run: Run) -> Origin:
    """Survivors keep their trained weights; the schedule is replayed from the rewind step (Renda et al. 2020)."""
    return Origin(Masks(previous(run), "prune"), Start(previous(run), "final"), "rewound")


def scratch(run: Run) -> Origin:
    """New random weights at every level; the masks are pruned along this chain itself (He et al. 2022)."""
    return Origin(Masks(previous(run), "prune"), Start(replace(run, level=0), "fresh"), "full")


def reinit(run: Run) -> Origin:
    """New random weights under the lottery chain's masks: the ticket's control (He et al. 2022, figure 10)."""
    return Origin(Masks(ticket(run), "same"), Start(replace(run, level=0), "fresh"), "full")


def redense(run: Run, *, lr: float = 0.0) -> Origin:
    """The lottery run goes on with all weights, pruned ones from 0, at its last learning rate, or `lr` (figure 6)."""
    return Origin(Masks(ticket(run), "open"), Start(ticket(run), "final"), "last", lr)


RETRAININGS: dict[str, Callable[[Run], Origin]] = {
    "lottery": lottery,
    "finetune": finetune,
    "lr-rewind": lr_rewind,
    "scratch": scratch,
    "reinit": reinit,
    "redense": redense,
}
REWINDING = ("lottery", "lr-rewind", "reinit", "redense")
"""Retrainings that the rewind step matters to, if only through the lottery chain that they grow from."""


def origin(run: Run) -> Origin:
    """What `run`'s retraining decides. Raises UsageError for an unknown one."""
    return pick("retraining", run.retraining, RETRAININGS)(run)


def masks_of(run: Run) -> Masks:
    """Whose masks `run` takes, and what becomes of them."""
    return origin(run).masks


def start_of(run: Run) -> Start:
    """Whose weights, and from which moment, `run` starts from."""
    return origin(run).start


def rewind_point(text: str) -> tuple[int, Literal["it", "ep"]]:
    """The steps or epochs that "1000it" or "5ep" means. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,9})(it|ep)", text)
    if not found:
        raise UsageError(f"rewind takes steps or epochs, such as 1000it or 5ep, got {text!r}")
    return int(found[1]), "it" if found[2] == "it" else "ep"


def rewind_steps(text: str, steps_per_epoch: int) -> int:
    """The optimizer step that a rewind point means."""
    number, unit = rewind_point(text)
    return number if unit == "it" else number * steps_per_epoch
