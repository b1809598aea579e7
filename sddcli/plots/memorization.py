"""Memorization: wrong labels fitted, and correct ones kept, against sparsity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sddcli.plots.style import accuracies

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NEEDS = ("memorized", "clean_accuracy")


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity") -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell curves apart;
    x: one of sddcli.axes.AXES.

    Solid is the share of wrong training labels that are fitted, dashed the accuracy on the truly labelled part.
    """
    lines = [("memorized", "wrong labels fitted", "-"), ("clean_accuracy", "correct labels fitted", "--")]
    return accuracies(summary, varied, title, x, lines, "share of training labels")
