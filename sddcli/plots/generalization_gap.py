"""Generalization gap: test error minus train error, against sparsity (He et al. 2022, figure 32)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sddcli.plots.style import accuracies

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NEEDS = ("generalization_gap", "test_accuracy", "train_accuracy")


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity") -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell curves apart;
    x: one of sddcli.axes.AXES.

    Errors are after the last epoch, that of training against the labels trained on. Of wrong labels that are fitted,
    the gap is large; where none are, it may be negative: the test set has true labels.
    """
    lines = [("generalization_gap", "test error minus train error", "-")]
    return accuracies(summary, varied, title, x, lines, "generalization gap")
