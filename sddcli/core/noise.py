"""Noise: true labels -> the labels a network is trained on."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sddcli.core.words import UsageError, unknown

Labels = NDArray[np.int64]


class Classes(NamedTuple):
    """The classes of a data set: their number, and similar: (number,) the class that each is mistaken for, itself if
    none; () where the data set does not say.
    """

    number: int
    similar: tuple[int, ...] = ()


Noise = Callable[[Labels, float, Classes, np.random.Generator], Labels]
"""(true labels (N,), rate in [0, 1], classes, generator, *, parameters) -> noisy labels (N,)."""


def symmetric(labels: Labels, rate: float, classes: Classes, generator: np.random.Generator) -> Labels:
    """A fraction `rate` of the labels is drawn anew, uniformly over all classes, the true one included.

    labels: (N,). Returns (N,). The noise of the experiments of He et al. (2022), as their code has it; the text says
    "randomly permuted labels". Only about rate * (1 - 1/classes) of all labels end up wrong.
    """
    chosen = _chosen(np.arange(len(labels)), rate, generator)
    noisy = labels.copy()
    noisy[chosen] = generator.integers(classes.number, size=len(chosen))
    return noisy


def flip(labels: Labels, rate: float, classes: Classes, generator: np.random.Generator) -> Labels:
    """A fraction `rate` of the labels becomes another class, drawn uniformly from all but the true one.

    labels: (N,). Returns (N,), ceil(rate * N) of them wrong (Nakkiran et al. 2020). Raises UsageError where there is
    one class only.
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

    labels: (N,). Returns (N,), ceil(rate * n) of the n labels of such a class wrong, so of all labels less than `rate`
    where some classes have no similar one. map: "similar", as the data set says; or "blocks", as the published code
    does on CIFAR-100: the next class of a block of five consecutive labels, which is not the superclass. Raises
    UsageError for another map, and where the data set does not say which classes are similar.
    """
    if map not in ("similar", "blocks"):
        raise unknown("map of asymmetric noise", map, ("similar", "blocks"))
    similar = classes.similar if map == "similar" else cycles([i // 5 for i in range(classes.number)])
    if not similar:
        raise UsageError("asymmetric noise needs to know which classes are similar, and this data set does not say")
    noisy = labels.copy()
    for label, other in enumerate(similar):
        if label != other:
            noisy[_chosen(np.flatnonzero(labels == label), rate, generator)] = other
    return noisy


def pairflip(labels: Labels, rate: float, classes: Classes, generator: np.random.Generator) -> Labels:
    """A fraction `rate` of the labels becomes the next class, the last the first (Han et al. 2018).

    labels: (N,). Returns (N,).
    """
    chosen = _chosen(np.arange(len(labels)), rate, generator)
    noisy = labels.copy()
    noisy[chosen] = (labels[chosen] + 1) % classes.number
    return noisy


def cycles(groups: Sequence[int]) -> tuple[int, ...]:
    """The similar classes where each is mistaken for the next one of its group, the last for the first.

    groups: (classes,) the group of each class. Returns (classes,).
    """
    members = {group: [label for label, other in enumerate(groups) if other == group] for group in groups}
    following = {
        label: labels[(position + 1) % len(labels)]
        for labels in members.values()
        for position, label in enumerate(labels)
    }
    return tuple(following[label] for label in range(len(groups)))


def _chosen(examples: NDArray[np.int64], rate: float, generator: np.random.Generator) -> NDArray[np.int64]:
    """A fraction `rate` of the examples, rounded up, in random order."""
    # 0.07 * 100 is 7.000000000000001 in floating point: without rounding, ceil would choose an eighth label.
    return generator.permutation(examples)[: math.ceil(round(rate * len(examples), 6))]


NOISES: dict[str, Noise] = {"symmetric": symmetric, "flip": flip, "asymmetric": asymmetric, "pairflip": pairflip}
