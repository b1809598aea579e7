"""Noise: true labels -> the labels a network is trained on."""

import math

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]


def symmetric(labels: Labels, rate: float, classes: int, generator: np.random.Generator) -> Labels:
    """A fraction `rate` of the labels is redrawn uniformly over all classes, the true one included.

    labels: (N,). Returns (N,). The noise of the paper's experiments (He et al. 2022, as their code has it;
    the text says "randomly permuted labels"): only about rate * (1 - 1/classes) of all labels end up wrong.
    """
    chosen = _chosen(len(labels), rate, generator)
    noisy = labels.copy()
    noisy[chosen] = generator.integers(classes, size=len(chosen))
    return noisy


def flip(labels: Labels, rate: float, classes: int, generator: np.random.Generator) -> Labels:
    """A fraction `rate` of the labels is replaced by a uniformly drawn other class, never the true one.

    labels: (N,). Returns (N,), exactly the chosen share of it wrong (Nakkiran et al. 2020).
    """
    chosen = _chosen(len(labels), rate, generator)
    noisy = labels.copy()
    noisy[chosen] = (labels[chosen] + generator.integers(1, classes, size=len(chosen))) % classes
    return noisy


def _chosen(n: int, rate: float, generator: np.random.Generator) -> NDArray[np.int64]:
    # 0.07 * 100 is 7.000000000000001 in floating point: without rounding, ceil would choose an eighth label.
    return generator.permutation(n)[: math.ceil(round(rate * n, 6))]


NOISES = {"symmetric": symmetric, "flip": flip}
