"""Memorization: wrong labels fitted, and correct ones kept, against sparsity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sddcli.plots.drawing.columns import Row, drawn

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NEEDS = ("memorized", "clean_accuracy")


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity", panels: str = "") -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell curves apart;
    x: one of sddcli.axes.AXES; panels: the field whose values have a column of panels each.

    Solid is the share of wrong training labels that are fitted, dashed the accuracy on the truly labelled part.
    """
    lines = [("memorized", "wrong labels fitted", "-"), ("clean_accuracy", "correct labels fitted", "--")]
    return drawn(summary, varied, title, x, panels, [Row("share of training labels", lines)])
