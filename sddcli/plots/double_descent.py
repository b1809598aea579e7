"""Double descent: test and train accuracy against sparsity (He et al. 2022, figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sddcli.plots.drawing.columns import Row, drawn

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NEEDS = ("test_accuracy", "train_accuracy")


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity", panels: str = "") -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell curves apart;
    x: one of sddcli.axes.AXES; panels: the field whose values have a column of panels each.

    Solid is test accuracy on true labels after the last epoch, dashed is train accuracy on the labels that were
    learned, noisy ones if any; along epochs, after each that was evaluated.
    """
    noisy = "memorized" in summary and summary["memorized"].notna().any()  # else there are no wrong labels
    lines = [
        ("test_accuracy", "test, against true labels" if noisy else "test", "-"),
        ("train_accuracy", "train, against noisy labels" if noisy else "train", "--"),
    ]
    return drawn(
        summary, varied, title, x, panels, [Row("accuracy" if x == "epoch" else "accuracy, last epoch", lines)]
    )
