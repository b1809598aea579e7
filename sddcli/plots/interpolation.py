"""Interpolation: loss and accuracy along the straight line between two networks (He et al. 2022, figures 7 and 40)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sddcli.plots.style import (
    GREY,
    aligned,
    band,
    headlines,
    landmarks,
    legend,
    mosaic,
    named,
    percent_axis,
    replicates,
    settings,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NEEDS = ("test_accuracy",)
KEYS = ("kind", "alpha")


def draw(
    summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity", details: pd.DataFrame | None = None
) -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell settings apart;
    details: the same of losses and accuracies at each `alpha` of each level's line.

    A column of panels for each setting, a colour for each phase. Solid is the test set, dashed the training labels.
    """
    assert details is not None
    columns = settings(details, varied, "kind")
    names = [[f"{row} {k}" for k in range(len(columns))] for row in ("loss", "accuracy")]
    width = max(4.6, 1 + 2.7 * len(columns))
    with mosaic(names, height=2.2, width=width, sharex=True) as (figure, axes):
        losses, accuracies = ([axes[f"{row} {k}"] for k in range(len(columns))] for row in ("loss", "accuracy"))
        for row in (losses, accuracies):
            aligned(row)
        entries = []
        for k, (setting, rows) in enumerate(columns):
            way = setting.pop("kind")
            for level, label, colour in landmarks(summary, setting, rows["level"].unique()):
                line = rows[rows["level"] == level].assign(x=rows["alpha"])
                for split, style in (("test", "-"), ("train", "--")):
                    band(losses[k], line, f"{split}_loss", color=colour, linestyle=style)
                    band(accuracies[k], line, f"{split}_accuracy", color=colour, linestyle=style)
                entries.append((label, colour, "-"))
            accuracies[k].set_xlabel(f"α, {way}")
        losses[0].set_ylabel("loss")
        losses[0].set_ylim(bottom=0)
        percent_axis(accuracies[0], "accuracy")
        splits = [("test, true labels", GREY, "-"), ("train, labels trained on", GREY, "--")]
        legend(figure, [*dict.fromkeys(entries), *splits])
        headlines(figure, title, replicates(details))
        named(losses, columns)
    return figure
