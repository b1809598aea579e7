"""Learning order: when clean and wrong labels are learned, and how often they are forgotten, against sparsity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sddcli.plots.style import COLOURS, GREY, band, curves, headline, legend, panels, placed, x_axis

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NEEDS = ("learned_epoch_clean", "learned_epoch_wrong", "forgetting_events_clean", "forgetting_events_wrong")


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity") -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell curves apart;
    x: one of sddcli.axes.AXES.

    Above the mean epoch from which on labels stay fitted, of those that are fitted at the end; below how often a
    label was fitted and then was not. Solid are the clean labels, dashed the wrong ones.
    """
    summary = placed(summary, x)
    with panels(rows=2, height=2.2) as (figure, (top, bottom)):
        entries = []
        for label, colour, curve in curves(summary, varied):
            for ax, name in ((top, "learned_epoch"), (bottom, "forgetting_events")):
                band(ax, curve, f"{name}_clean", color=colour, marker="o", markersize=2.5)
                band(ax, curve, f"{name}_wrong", color=colour, linestyle="--")
            entries.append((label, colour, "-"))
        top.set_ylabel("learned at epoch")
        bottom.set_ylabel("forgetting events\nper label")
        for ax in (top, bottom):
            ax.set_ylim(bottom=0)
        x_axis(bottom, summary, x)
        line = GREY if varied else COLOURS[0]
        legend(figure, [*entries, ("clean labels", line, "-"), ("wrong labels", line, "--")])
        headline(top, title, summary)
    return figure
