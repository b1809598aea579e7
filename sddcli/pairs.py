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
        return next((kind for kind, of_kind in PAIRS.items() if self in of_kind.pairs(self)), "other")


def sparse_of(run: Run) -> Run | None:
    """The sparse network that `run` was when it was trained on with all weights; None where it was not."""
    redense = run.level and masks_of(run).masking == "open" and start_of(run).moment == "final"
    return start_of(run).run if redense else None


def redense(runs: Sequence[Run]) -> Iterator[Pair]:
    """From each sparse network to the one that it became when it was trained on with all weights (He et al. 2022)."""
    for run in runs:
        if sparse := sparse_of(run):
            yield Pair(sparse, run)


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


def orders(runs: Sequence[Run]) -> Iterator[Pair]:
    """From each network to that of the next data order, all else the same (Frankle et al. 2020: instability).

    With retraining ticket:order_seed=N they grow from one rewind point.
    """
    alike: dict[Run, list[Run]] = {}
    for run in runs:
        alike.setdefault(replace(run, order_seed=None), []).append(run)
    for group in alike.values():
        group.sort(key=lambda run: run.seed_of("order"))
        yield from map(Pair, group, group[1:])


class PairKind(NamedTuple):
    """pairs(runs): the pairs of this kind whose second run is among them. way: from what to what, in words."""

    pairs: Callable[[Sequence[Run]], Iterator[Pair]]
    way: str


PAIRS = {
    "redense": PairKind(redense, "sparse (0) to re-dense (1)"),
    "levels": PairKind(levels, "level above (0) to this level (1)"),
    "orders": PairKind(orders, "one data order (0) to the next (1)"),
    "seeds": PairKind(seeds, "one seed (0) to the next (1)"),
}
OTHER = "one run (0) to another (1)"
"""The way between two runs that are a pair of none of these kinds."""


def natural(runs: Sequence[Run], kind: str = "") -> list[Pair]:
    """The pairs of one kind whose second run is among `runs`; by default the first kind that there is any of."""
    if kind:
        return list(PAIRS[kind].pairs(runs))
    return next((pairs for of_kind in (redense, levels) if (pairs := list(of_kind(runs)))), [])
