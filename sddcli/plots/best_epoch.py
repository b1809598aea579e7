"""Best epoch: test accuracy after the last and at the best epoch against sparsity (He et al. 2022, figure 11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sddcli.plots.style import accuracies

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NEEDS = ("test_accuracy", "best_test_accuracy")


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity") -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell curves apart;
    x: one of sddcli.axes.AXES.

    Dashed is the best of all evaluations, which no one can choose without looking at the test set.
    """
    lines = [("test_accuracy", "last epoch", "-"), ("best_test_accuracy", "best epoch", "--")]
    return accuracies(summary, varied, title, x, lines, "test accuracy")
