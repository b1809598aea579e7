"""Allocation: how many weights stay in which group. Plain numbers, no torch: spec reads its words too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import floor, prod
from typing import NamedTuple

from sddcli.core.words import UsageError

Shapes = Mapping[str, tuple[int, ...]]
"""Name -> shape of the prunable weights of one model, in their order."""
Kept = Callable[[int], int]
"""(number of weights) -> how many of them a level keeps."""


class Allocation(NamedTuple):
    """counts(shapes, kept) -> {group: how many weights it keeps}; the group "" is all layers, ranked together.

    total: the number kept in all is that of the level; else each group applies the rate for itself.
    """

    counts: Callable[..., dict[str, int]]
    total: bool = True


def everywhere(shapes: Shapes, kept: Kept) -> dict[str, int]:
    """All layers are ranked together (global pruning)."""
    return {"": kept(sum(map(prod, shapes.values())))}


def layer(shapes: Shapes, kept: Kept) -> dict[str, int]:
    """Each layer loses the same share (local pruning)."""
    return {name: kept(prod(shape)) for name, shape in shapes.items()}


def erk(shapes: Shapes, kept: Kept) -> dict[str, int]:
    """Erdos-Renyi-kernel: density in proportion to sum(dims) / prod(dims), at most 1 (Evci et al. 2020).

    Where a layer is full, the others share what is left in the same proportion, so that the total is exact.
    """
    sizes = {name: prod(shape) for name, shape in shapes.items()}
    return apportioned({name: float(sum(shape)) for name, shape in shapes.items()}, sizes, kept(sum(sizes.values())))


ALLOCATIONS: dict[str, Allocation] = {
    "global": Allocation(everywhere),
    "layer": Allocation(layer, total=False),
    "erk": Allocation(erk),
}


def apportioned(shares: Mapping[str, float], sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """`total` split in proportion to `shares`, none above its size: whole numbers that sum to it exactly.

    By Webster's rule (each further one goes where share / (count + 1/2) is largest, ties to the first), since under it
    no part grows when the total shrinks: masks that follow it nest. Raises UsageError where sizes sum to less.
    """
    if total > sum(sizes.values()):
        raise UsageError(f"{total} weights are more than the {sum(sizes.values())} that there are")

    def rounded(factor: float) -> dict[str, int]:
        return {name: min(sizes[name], floor(factor * share + 0.5)) for name, share in shares.items()}

    low, high = 0.0, max(sizes[name] / share for name, share in shares.items()) + 1
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(rounded(middle).values()) <= total else (low, middle)
    counts = rounded(low)
    while sum(counts.values()) < total:
        room = [name for name in shares if counts[name] < sizes[name]]
        counts[max(room, key=lambda name: shares[name] / (counts[name] + 0.5))] += 1
    return counts
