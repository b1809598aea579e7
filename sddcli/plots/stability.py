"""Stability: what each pruning event costs before retraining, beside test accuracy after it, against sparsity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sddcli.plots.style import COLOURS, GREY, band, curves, headline, legend, panels, percent_axis, placed, x_axis

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NEEDS = ("test_accuracy", "after_pruning_accuracy", "instability")


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity") -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell curves apart;
    x: one of sddcli.axes.AXES.

    Above, test accuracy of each level just after its weights were pruned (dashed) and after retraining (solid);
    below, the share of its parent's accuracy that was lost in between.
    """
    summary = placed(summary, x)
    with panels(rows=2, height=2.2) as (figure, (top, bottom)):
        entries = []
        for label, colour, curve in curves(summary, varied):
            band(top, curve, "test_accuracy", color=colour, marker="o", markersize=2.5)
            band(top, curve, "after_pruning_accuracy", color=colour, linestyle="--")
            band(bottom, curve, "instability", color=colour, marker="o", markersize=2.5)
            entries.append((label, colour, "-"))
        percent_axis(top, "test accuracy")
        percent_axis(bottom, "instability:\naccuracy lost in pruning")
        x_axis(bottom, summary, x)
        line = GREY if varied else COLOURS[0]
        legend(figure, [*entries, ("after retraining", line, "-"), ("just after pruning", line, "--")])
        headline(top, title, summary)
    return figure
