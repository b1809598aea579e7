"""Effective complexity: how many training examples networks can fit, against sparsity (Nakkiran et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sddcli.plots.style import COLOURS, GREY, band, curves, headline, legend, panels, percent_axis, placed, x_axis

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NEEDS = ("test_accuracy", "effective_complexity")


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity") -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell curves apart;
    x: one of sddcli.axes.AXES.

    Below in black the largest number of examples that networks of each sparsity fit to 90 %, hollow where even the
    largest set was fitted; dotted, for each curve, how many it was trained on. Double descent is expected where the
    two cross.
    """
    summary = placed(summary, x)
    others = [name for name in varied if name != "train_size"]
    with panels(rows=2, height=2.3) as (figure, (top, bottom)):
        entries = []
        for label, colour, curve in curves(summary, varied):
            band(top, curve, "test_accuracy", color=colour, marker="o", markersize=2.5)
            bottom.axhline(float(curve["examples"].iloc[0]), color=colour, linestyle=":")
            entries.append((label, colour, "-"))
        for (label, _, rows), line in zip(curves(summary, others), ("-", "--", "-.", ":") * 9, strict=False):
            levels = rows.drop_duplicates("x").dropna(subset="effective_complexity")
            bottom.plot(levels["x"], levels["effective_complexity"], color="black", linestyle=line)
            for bound, fill in ((True, "white"), (False, "black")):
                dots = levels[levels["at_least"] == bound]
                bottom.plot(dots["x"], dots["effective_complexity"], "o", color="black", mfc=fill, markersize=3)
            entries.append((f"{label}: fits so many" if label else "fits so many", "black", line))
        percent_axis(top, "test accuracy")
        bottom.set(ylabel="training examples", yscale="log")
        x_axis(bottom, summary, x)
        legend(figure, [*entries, ("trained on so many", GREY if varied else COLOURS[0], ":")])
        headline(top, title, summary)
    return figure
