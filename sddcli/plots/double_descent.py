"""Double descent: test and train accuracy against sparsity (He et al. 2022, figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sddcli.plots.style import (
    COLOURS,
    GREY,
    band,
    curves,
    legend,
    panels,
    percent_axis,
    replicates,
    shaded,
    sparsity_axis,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


NEEDS = ("test_accuracy", "train_accuracy")


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str) -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell curves apart.

    Solid is test accuracy on true labels after the last epoch, dashed is train accuracy on the noisy labels.
    """
    with panels(height=3.3) as (figure, (ax,)):
        entries = []
        for label, colour, curve in curves(summary, varied):
            train = colour if varied else COLOURS[1]
            band(ax, curve, "test_accuracy", color=colour, marker="o", markersize=2.5)
            band(ax, curve, "train_accuracy", color=train, linestyle="--")
            entries.append((label, colour, "-"))
        sparsity_axis(ax, summary["sparsity"])
        percent_axis(ax, "accuracy, last epoch")
        test, train = (GREY, GREY) if varied else COLOURS[:2]
        lines = [("test, against true labels", test, "-"), ("train, against noisy labels", train, "--")]
        legend(figure, entries + lines)
        if not varied and "phase" in summary:
            shaded(ax, summary)
        ax.set_title(f"{title}\n{replicates(summary)}", fontsize=8, loc="left", pad=14 if not varied else None)
    return figure
