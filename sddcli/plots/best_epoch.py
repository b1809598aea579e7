"""Best epoch: test accuracy after the last and at the best epoch against sparsity (He et al. 2022, figure 11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sddcli.plots.drawing.columns import Row, drawn

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NEEDS = ("test_accuracy", "best_test_accuracy")


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity", panels: str = "") -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell curves apart;
    x: one of sddcli.axes.AXES; panels: the field whose values have a column of panels each.

    Dashed is the best of all evaluations, which no one can choose without looking at the test set.
    """
    lines = [("test_accuracy", "last epoch", "-"), ("best_test_accuracy", "best epoch", "--")]
    return drawn(summary, varied, title, x, panels, [Row("test accuracy", lines)])
