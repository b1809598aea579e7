"""Effective complexity: the largest training set that a network of each sparsity can fit. From curves of several."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def judge(sizes: Sequence[int], train: NDArray[np.float64], *, error: float = 0.1) -> dict[str, list[Any]]:
    """Effective model complexity (Nakkiran et al. 2020): the largest n whose train error is at most `error`.

    sizes: V numbers of training examples, rising; train: (V, K) train accuracies, means over seeds, against the
    labels that were trained on, NaN where there is no run. Between two sizes it is interpolated in log n. Returns of
    each of the K levels `effective_complexity`, None where not even the smallest set is fitted, and `at_least`,
    true where the largest one is, so that it is a bound from below.
    """
    largest = [_largest(np.asarray(sizes, float), accuracies, 1 - error) for accuracies in train.T]
    return {"effective_complexity": [n for n, _ in largest], "at_least": [bound for _, bound in largest]}


def _largest(sizes: NDArray[np.float64], accuracies: NDArray[np.float64], wanted: float) -> tuple[float | None, bool]:
    there = ~np.isnan(accuracies)
    sizes, accuracies = sizes[there], accuracies[there]
    fitted = np.flatnonzero(accuracies >= wanted - 1e-9)  # a mean of 0.9s may fall short of 0.9
    if not len(fitted):
        return None, False
    last = int(fitted[-1])
    if last == len(sizes) - 1:
        return float(sizes[last]), True
    share = (accuracies[last] - wanted) / (accuracies[last] - accuracies[last + 1])
    return float(sizes[last] * (sizes[last + 1] / sizes[last]) ** max(0.0, share)), False


def cells(row: Mapping[Any, Any]) -> dict[str, str]:
    """How many training examples a level can fit, in words: column -> cell; row: one of `judging.sized`."""
    n = row["effective_complexity"]
    return {"examples fitted": "none" if n is None or n != n else f"{'at least ' if row['at_least'] else ''}{n:.0f}"}
