"""Stability: what each pruning event costs before retraining, beside test accuracy after it, against sparsity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sddcli.plots.drawing.columns import Row, drawn

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NEEDS = ("test_accuracy", "after_pruning_accuracy", "instability")


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity", panels: str = "") -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell curves apart;
    x: one of sddcli.axes.AXES; panels: the field whose values have a column of panels each.

    Above, test accuracy of each level just after its weights were pruned (dashed) and after retraining (solid);
    below, the share of its parent's accuracy that was lost in between.
    """
    test = [("test_accuracy", "after retraining", "-"), ("after_pruning_accuracy", "just after pruning", "--")]
    rows = [
        Row("test accuracy", test),
        Row("instability:\naccuracy lost in pruning", [("instability", "", "-")]),
    ]
    return drawn(summary, varied, title, x, panels, rows)
