"""Noise: true labels -> the labels a network is trained on."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sddcli.core.words import UsageError, unknown

Labels = NDArray[np.int64]


Kind = Callable[[Labels, float, "Classes", np.random.Generator], Labels]


class Classes(NamedTuple):
    """The classes of a data set: how many, and (number,) the one that each is mistaken for; () if unknown."""

    number: int
    similar: tuple[int, ...] = ()


def symmetric(labels: Labels, rate: float, classes: Classes, generator: np.random.Generator) -> Labels:
    """A fraction `rate` of the labels is redrawn uniformly over all classes, the true one included.

    labels: (N,). Returns (N,). The noise of the paper's experiments (He et al. 2022, as their code has it;
    the text says "randomly permuted labels"): only about rate * (1 - 1/classes) of all labels end up wrong.
    """
    chosen = _chosen(np.arange(len(labels)), rate, generator)
    noisy = labels.copy()
    noisy[chosen] = generator.integers(classes.number, size=len(chosen))
    return noisy


def flip(labels: Labels, rate: float, classes: Classes, generator: np.random.Generator) -> Labels:
    """A fraction `rate` of the labels is replaced by a uniformly drawn other class, never the true one.

    labels: (N,). Returns (N,), exactly the chosen share of it wrong (Nakkiran et al. 2020). Raises UsageError where
    there is no other class.
    """
    if classes.number < 2:
        raise UsageError("flip noise gives examples another class, and there is one class only")
    chosen = _chosen(np.arange(len(labels)), rate, generator)
    noisy = labels.copy()
    noisy[chosen] = (labels[chosen] + generator.integers(1, classes.number, size=len(chosen))) % classes.number
    return noisy


def asymmetric(
    labels: Labels, rate: float, classes: Classes, generator: np.random.Generator, *, map: str = "similar"
) -> Labels:
    """In each class that has a similar one, a fraction `rate` is labelled as that one (He et al. 2022).

    labels: (N,). Returns (N,); exact per affected class, so less than `rate` of all labels are wrong.
    map=blocks takes what the published code takes on CIFAR-100: the next class within blocks of five
    consecutive indices, which are not the superclasses. Raises UsageError where no similar classes are known.
    """
    if map not in ("similar", "blocks"):
        raise unknown("map of asymmetric noise", map, ("similar", "blocks"))
    similar = classes.similar if map == "similar" else _cycles([i // 5 for i in range(classes.number)])
    if not similar:
        raise UsageError("asymmetric noise needs to know which classes are similar, and this data set does not say")
    noisy = labels.copy()
    for label, other in enumerate(similar):
        if label != other:
            noisy[_chosen(np.flatnonzero(labels == label), rate, generator)] = other
    return noisy


def pairflip(labels: Labels, rate: float, classes: Classes, generator: np.random.Generator) -> Labels:
    """A fraction `rate` of the labels becomes the next class, the last the first. labels: (N,). Returns (N,)."""
    chosen = _chosen(np.arange(len(labels)), rate, generator)
    noisy = labels.copy()
    noisy[chosen] = (labels[chosen] + 1) % classes.number
    return noisy


def _chosen(members: NDArray[np.int64], rate: float, generator: np.random.Generator) -> NDArray[np.int64]:
    # 0.07 * 100 is 7.000000000000001 in floating point: without rounding, ceil would choose an eighth label.
    return generator.permutation(members)[: math.ceil(round(rate * len(members), 6))]


def _cycles(groups: Sequence[int]) -> tuple[int, ...]:
    """For each class the next one of its group, the last one's the first."""
    members = {group: [i for i, other in enumerate(groups) if other == group] for group in groups}
    return tuple(members[g][(members[g].index(i) + 1) % len(members[g])] for i, g in enumerate(groups))


def _pairs(count: int, pairs: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(pairs.get(i, i) for i in range(count))


# The superclass of each fine class of CIFAR-100, in the order of its labels (Krizhevsky 2009).
COARSE = (
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7, 6, 13, 15, 3, 15, 0, 11, 1, 10,
    12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16,
    12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14,
    13,
)  # fmt: skip

SIMILAR = {
    "digits": _pairs(10, {2: 7, 3: 8, 5: 6, 6: 5}),  # as MNIST: 2 -> 7, 3 -> 8, 5 <-> 6
    "mnist": _pairs(10, {2: 7, 3: 8, 5: 6, 6: 5}),
    "cifar10": _pairs(10, {2: 0, 4: 7, 9: 1, 3: 5, 5: 3}),  # bird, deer, truck, cat <-> dog
    "cifar100": _cycles(COARSE),  # the next class of the superclass
}
"""The classes that asymmetric noise confuses, by data set (He et al. 2022)."""

NOISES: dict[str, Kind] = {"symmetric": symmetric, "flip": flip, "asymmetric": asymmetric, "pairflip": pairflip}
