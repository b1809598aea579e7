"""Learning distance beside test accuracy, against sparsity (He et al. 2022, figure 9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sddcli.plots.style import COLOURS, GREY, band, curves, headline, legend, panels, percent_axis, placed, x_axis

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


NEEDS = ("test_accuracy", "learning_distance", "masking_distance")


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity") -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell curves apart;
    x: one of sddcli.axes.AXES.

    Dotted is the floor: the part of the distance that masking alone makes, which can only grow. Dashed, where it
    differs, is the distance from where the level's own training started.
    """
    summary = placed(summary, x)
    own = "own_distance" in summary and ((summary["own_distance"] - summary["learning_distance"]).abs() > 1e-6).any()
    with panels(rows=2, height=2.2) as (figure, (top, bottom)):
        entries = []
        for label, colour, curve in curves(summary, varied):
            band(top, curve, "test_accuracy", color=colour, marker="o", markersize=2.5)
            band(bottom, curve, "learning_distance", color=colour, marker="o", markersize=2.5)
            band(bottom, curve, "masking_distance", color=colour, linestyle=":")
            if own:
                band(bottom, curve, "own_distance", color=colour, linestyle="--")
            entries.append((label, colour, "-"))
        percent_axis(top, "test accuracy")
        bottom.set_ylabel("learning distance (L2)")
        bottom.set_ylim(bottom=0)
        x_axis(bottom, summary, x)
        line = GREY if varied else COLOURS[0]
        entries += [("learning distance", line, "-"), ("due to masking alone", line, ":")]
        legend(figure, [*entries, ("from its own start", line, "--")] if own else entries)
        headline(top, title, summary)
    return figure
