"""Allocation: how many weights stay in which group. Plain numbers, no torch: spec reads its words too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from math import ceil, inf, lcm, prod
from typing import NamedTuple

from sddcli.core.words import UsageError

Shapes = Mapping[str, tuple[int, ...]]
"""Name -> shape of the prunable weights of one model, in their order."""
Kept = Callable[..., int]
"""(number of weights, factor of the pruning rate, 1 unless given) -> how many of them a level keeps."""


class Factor(float):
    """A parameter: a finite number, 0 or more."""

    def __new__(cls, value: float | str) -> Factor:
        """Raises UsageError for any other, ValueError for what is no number."""
        if not 0 <= float(value) < inf:
            raise UsageError("it takes a finite number, 0 or more")
        return super().__new__(cls, value)


HALF, ALIKE, FIFTH = Factor(0.5), Factor(1), 0.2
UNIT = 2**100
"""The grain of factors that shares are multiplied by."""


class Allocation(NamedTuple):
    """counts(shapes, kept, output) -> {group: how many weights it keeps}; "" is all layers, ranked together.

    output: the name of the output layer's weights, which need not be prunable. total: the number kept in all is that of
    the level; else each group applies the rate for itself. No group grows from one level to the next. Raises UsageError
    where the layers are not those that it is for, or where it keeps more than the level does.
    """

    counts: Callable[..., dict[str, int]]
    total: bool = True


def everywhere(shapes: Shapes, kept: Kept, output: str) -> dict[str, int]:
    """All layers are ranked together (global pruning)."""
    return {"": kept(sum(map(prod, shapes.values())))}


def layer(shapes: Shapes, kept: Kept, output: str) -> dict[str, int]:
    """Each layer loses the same share (local pruning)."""
    return {name: kept(prod(shape)) for name, shape in shapes.items()}


def roles(
    shapes: Shapes, kept: Kept, output_layer: str, *, output: Factor = HALF, conv: Factor = ALIKE
) -> dict[str, int]:
    """Each layer loses a share of its own: the rate times `output` in the output layer, times `conv` in convolutions.

    Frankle & Carbin (2019) prune LeNet and the output layer at half the rate, with conv=0.5 Conv-2 and Conv-4, with
    conv=0.75 Conv-6. A factor of 0 leaves those layers as they are. Raises UsageError for a factor of layers that the
    network has not, or never prunes.
    """
    if output != ALIKE and output_layer not in shapes:
        raise UsageError(
            f"scope roles prunes the output layer at {output:g} times the rate, and {output_layer} of this network is "
            "never pruned: take roles:output=1 or, of lenet, a model such as lenet-300-100:prunable=all"
        )
    convolutions = [name for name, shape in shapes.items() if len(shape) > 2]
    if conv != ALIKE and not convolutions:
        raise UsageError(f"scope roles prunes convolutions at {conv:g} times the rate, and this network has none")
    factors = dict.fromkeys(convolutions, conv) | {output_layer: output}
    return {name: kept(prod(shape), factors.get(name, 1.0)) for name, shape in shapes.items()}


def uniform(shapes: Shapes, kept: Kept, output: str) -> dict[str, int]:
    """The same density in each layer, rounded so that the total is that of the level."""
    sizes = _sizes(shapes)
    return apportioned({name: float(size) for name, size in sizes.items()}, sizes, kept(sum(sizes.values())))


def uniform_plus(shapes: Shapes, kept: Kept, output: str) -> dict[str, int]:
    """The first layer, where it is a convolution, stays dense, of the last at least a fifth; the others share alike.

    Uniform+ (Gale et al. 2019). Its last layer is the last one that is prunable. Raises UsageError where the level
    keeps fewer weights than that.
    """
    sizes = _sizes(shapes)
    first, *_, last = (*shapes,) * 2
    total, fifth = kept(sum(sizes.values())), ceil(FIFTH * sizes[last])
    dense = {first: sizes[first]} if len(shapes[first]) > 2 else {}
    least = sum((dense | {last: max(fifth, dense.get(last, 0))}).values())
    if total < least:
        raise UsageError(f"keeps {total} weights, and scope uniform-plus keeps {least} or more")
    others = {name: size for name, size in sizes.items() if name not in dense}
    counts = apportioned({name: float(size) for name, size in others.items()}, others, total - sum(dense.values()))
    if counts.get(last, fifth) < fifth:
        del others[last]
        rest = apportioned({name: float(size) for name, size in others.items()}, others, total - least)
        counts = rest | {last: fifth}
    return {name: (dense | counts)[name] for name in shapes}


def balanced(shapes: Shapes, kept: Kept, output: str) -> dict[str, int]:
    """The same number in each layer; what a layer is too small for goes to the others, alike."""
    sizes = _sizes(shapes)
    return apportioned(dict.fromkeys(sizes, 1.0), sizes, kept(sum(sizes.values())))


def erk(shapes: Shapes, kept: Kept, output: str) -> dict[str, int]:
    """Erdos-Renyi-kernel: density in proportion to sum(dims) / prod(dims), at most 1 (Evci et al. 2020).

    Where a layer is full, the others share what is left in the same proportion, so that the total is exact.
    """
    sizes = _sizes(shapes)
    return apportioned({name: float(sum(shape)) for name, shape in shapes.items()}, sizes, kept(sum(sizes.values())))


ALLOCATIONS: dict[str, Allocation] = {
    "global": Allocation(everywhere),
    "layer": Allocation(layer, total=False),
    "roles": Allocation(roles, total=False),
    "uniform": Allocation(uniform),
    "uniform-plus": Allocation(uniform_plus),
    "balanced": Allocation(balanced),
    "erk": Allocation(erk),
}


def _sizes(shapes: Shapes) -> dict[str, int]:
    return {name: prod(shape) for name, shape in shapes.items()}


def apportioned(shares: Mapping[str, float], sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """`total` split in proportion to `shares`, none above its size: whole numbers that sum to it exactly.

    By Webster's rule (each further one goes where share / (count + 1/2) is largest, ties to the first), since under it
    no part grows when the total shrinks: masks that follow it nest. In whole numbers throughout, since of equal
    shares that floats tell apart one could lose what it has. Raises UsageError where sizes sum to less.
    """
    if total > sum(sizes.values()):
        raise UsageError(f"{total} weights are more than the {sum(sizes.values())} that there are")
    exact = {name: Fraction(share) for name, share in shares.items()}
    scale = lcm(*(share.denominator for share in exact.values()))
    parts = {name: int(share * scale) for name, share in exact.items()}

    def rounded(factor: int) -> dict[str, int]:
        """Of shares times factor / UNIT."""
        return {name: min(sizes[name], (2 * factor * part + UNIT) // (2 * UNIT)) for name, part in parts.items()}

    low, high = 0, UNIT * (max(sizes.values(), default=0) + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if sum(rounded(middle).values()) <= total else (low, middle)
    counts = rounded(low)
    while sum(counts.values()) < total:
        room = [name for name in parts if counts[name] < sizes[name]]
        counts[max(room, key=lambda name: Fraction(parts[name], 2 * counts[name] + 1))] += 1
    return counts
