"""Movement: how far kept and pruned weights went, beside test accuracy, against sparsity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sddcli.plots.style import COLOURS, GREY, band, curves, headline, legend, panels, percent_axis, placed, x_axis

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NEEDS = ("test_accuracy", "movement_kept", "movement_pruned")


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity") -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell curves apart;
    x: one of sddcli.axes.AXES.

    At each level, the weights of the network that it was pruned from: solid those it keeps, dashed those it removes.
    """
    summary = placed(summary, x)
    with panels(rows=2, height=2.2) as (figure, (top, bottom)):
        entries = []
        for label, colour, curve in curves(summary, varied):
            band(top, curve, "test_accuracy", color=colour, marker="o", markersize=2.5)
            band(bottom, curve, "movement_kept", color=colour, marker="o", markersize=2.5)
            band(bottom, curve, "movement_pruned", color=colour, linestyle="--")
            entries.append((label, colour, "-"))
        percent_axis(top, "test accuracy")
        bottom.set_ylabel("mean |final − initial|\nbefore pruning")
        bottom.set_ylim(bottom=0)
        x_axis(bottom, summary, x)
        line = GREY if varied else COLOURS[0]
        legend(figure, [*entries, ("weights kept at this level", line, "-"), ("weights it removes", line, "--")])
        headline(top, title, summary)
    return figure
