"""Pairs: which two runs an analysis of pairs compares where the user names none. Words only, no torch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from sddcli.core.retraining import masks_of, start_of
from sddcli.spec import SUBSEEDS, Run


class Pair(NamedTuple):
    """Two runs, and the way from `a` to `b`."""

    a: Run
    b: Run

    @property
    def kind(self) -> str:
        """The first kind in PAIRS that this pair is of, else "other"."""
        return next((kind for kind, pairs in PAIRS.items() if self in pairs(self)), "other")


def redense(runs: Sequence[Run]) -> Iterator[Pair]:
    """From each sparse network to the one that it became when it was trained on with all weights (He et al. 2022)."""
    for run in runs:
        if run.level and masks_of(run).masking == "open" and start_of(run).moment == "final":
            yield Pair(start_of(run).run, run)


def levels(runs: Sequence[Run]) -> Iterator[Pair]:
    """To each pruned network from the one that it was pruned from: one level up, or the dense one."""
    for run in runs:
        if run.level and masks_of(run)[1:] == ("prune", "final"):
            yield Pair(masks_of(run).run, run)


def seeds(runs: Sequence[Run]) -> Iterator[Pair]:
    """From each network to that of the next seed of the same setting and level (Frankle et al. 2020)."""
    replicates: dict[Run, list[Run]] = {}
    for run in runs:
        replicates.setdefault(replace(run, seed=0, init_seed=None, order_seed=None, noise_seed=None), []).append(run)
    for group in replicates.values():
        group.sort(key=lambda run: (run.seed, *(run.seed_of(name.removesuffix("_seed")) for name in SUBSEEDS)))
        yield from map(Pair, group, group[1:])


PAIRS: dict[str, Callable[[Sequence[Run]], Iterator[Pair]]] = {"redense": redense, "levels": levels, "seeds": seeds}


def natural(runs: Sequence[Run], kind: str = "") -> list[Pair]:
    """The pairs of one kind whose second run is among `runs`; by default the first kind that there is any of."""
    if kind:
        return list(PAIRS[kind](runs))
    return next((pairs for of_kind in (redense, levels) if (pairs := list(of_kind(runs)))), [])
