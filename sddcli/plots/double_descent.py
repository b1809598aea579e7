"""Double descent: test and train accuracy against sparsity (He et al. 2022, figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sddcli.plots.style import band, curves, panels, percent_axis, replicates, sparsity_axis

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str) -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell curves apart.

    Solid is test accuracy on true labels after the last epoch, dashed is train accuracy on the noisy labels.
    """
    with panels(height=3.2) as (figure, (ax,)):
        found = list(curves(summary, varied))
        for label, colour, curve in found:
            test, train = (colour, colour) if varied else ("#0072B2", "#D55E00")
            prefix = f"{label}: " if label else ""
            band(
                ax, curve, "test_accuracy", color=test, label=f"{prefix}test (true labels)", marker="o", markersize=2.5
            )
            band(ax, curve, "train_accuracy", color=train, linestyle="--", label=f"{prefix}train (noisy labels)")
        sparsity_axis(ax, summary["sparsity"])
        percent_axis(ax, "accuracy, last epoch")
        ax.legend(loc="lower left" if len(found) == 1 else "best")
        ax.set_title(f"{title}\n{replicates(summary)}", fontsize=8, loc="left")
    return figure
