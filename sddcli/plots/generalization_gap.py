"""Generalization gap: test error minus train error, against sparsity (He et al. 2022, figure 32)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sddcli.plots.drawing.columns import Row, drawn

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NEEDS = ("generalization_gap", "test_accuracy", "train_accuracy")


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity", panels: str = "") -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell curves apart;
    x: one of sddcli.axes.AXES; panels: the field whose values have a column of panels each.

    Errors are after the last epoch, that of training against the labels trained on. Where wrong labels are fitted, the
    gap is large; where none are, it may be below zero: the test set has true labels.
    """
    lines = [("generalization_gap", "", "-")]
    return drawn(summary, varied, title, x, panels, [Row("test error minus train error", lines)])
