"""Curves: how those along levels are smoothed, and how sure differences are over seeds."""

from math import sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WIDTH = 0.27  # standard deviation of the smoothing, in ln(density)
CLIFF = 0.5  # of the range of the mean curve: a larger step between two levels is a collapse


def smoothed(mean: Floats, density: Floats) -> Floats:
    """(K,) curve, averaged with Gaussian weights in ln(density), but not across a cliff.

    Rate 0.2 averages as binomial weights of seven levels do, rate 0.5 hardly at all, and levels may be missing.
    """
    position, steps = np.log(density), np.abs(np.diff(mean))
    # Averaged with its neighbours, a peak beside a collapse would lie two levels before it.
    side = np.cumsum(np.concatenate([[0], steps > CLIFF * np.ptp(mean)]))
    weights = np.exp(-(((position[:, None] - position) / WIDTH) ** 2) / 2) * (side[:, None] == side)
    smooth: Floats = weights @ mean / weights.sum(1)
    return smooth


def interval_of(name: str, differences: Floats) -> dict[str, float | None]:
    """Mean over seeds and its 95 % t-interval."""
    from scipy.stats import t

    n, mean = len(differences), float(differences.mean())
    half = float(t.ppf(0.975, n - 1) * differences.std(ddof=1) / sqrt(n)) if n > 1 else None
    ends = (None, None) if half is None else (mean - half, mean + half)
    return {name: mean, f"{name}_low": ends[0], f"{name}_high": ends[1]}
