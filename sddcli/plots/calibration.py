"""Calibration: confidence and its error against sparsity, and reliability diagrams (Guo et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sddcli.plots.style import (
    COLOURS,
    GREY,
    band,
    curves,
    headline,
    legend,
    panels,
    percent_axis,
    phase_levels,
    placed,
    x_axis,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NEEDS = ("test_ece", "test_confidence", "clean_confidence", "wrong_confidence")
KEYS = ("bin",)


def draw(
    summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity", details: pd.DataFrame | None = None
) -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell curves apart;
    x: one of sddcli.axes.AXES; details: the same of each bin of the test set.

    Above the expected calibration error, below the mean confidence on the test set, on correctly and on wrongly
    labelled training examples. Of one setting, a reliability diagram of the levels that tell its phases apart.
    """
    summary, one = placed(summary, x), not varied and details is not None
    with panels(rows=3 if one else 2, height=2.2, apart=1 if one else 0) as (figure, axes):
        entries = []
        for label, colour, curve in curves(summary, varied):
            band(axes[0], curve, "test_ece", color=colour, marker="o", markersize=2.5)
            for name, line in (("test", "-"), ("clean", "--"), ("wrong", ":")):
                band(axes[1], curve, f"{name}_confidence", color=colour, linestyle=line)
            entries.append((label, colour, "-"))
        percent_axis(axes[0], "expected calibration\nerror, test set")
        axes[0].set_ylim(bottom=0)
        percent_axis(axes[1], "mean confidence")
        for ax in axes[:2]:
            x_axis(ax, summary, x)
        axes[0].set_xlabel("")
        grey = GREY if varied else COLOURS[0]
        entries += [("test set", grey, "-"), ("correctly labelled", grey, "--"), ("wrongly labelled", grey, ":")]
        if one and details is not None:
            entries += _diagram(axes[2], summary, details)
        legend(figure, entries)
        headline(axes[0], title, summary)
    return figure


def _diagram(ax: Axes, summary: pd.DataFrame, details: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Accuracy against confidence, bin by bin, at a few levels; where they were equal is dotted. Returns its legend."""
    entries = []
    ax.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
    sparsity = dict(zip(summary["level"], summary["sparsity"], strict=True))
    for colour, (level, landmark) in zip(COLOURS[1:], phase_levels(summary).items(), strict=False):
        rows = details[details["level"] == level].dropna(subset="accuracy").sort_values("bin")
        ax.plot(rows["confidence"], rows["accuracy"], color=colour, marker="o", markersize=2.5)
        entries.append((f"{landmark}, {100 * sparsity[level]:.4g}% removed", colour, "-"))
    percent_axis(ax, "accuracy, test set")
    ax.xaxis.set_major_formatter(ax.yaxis.get_major_formatter())
    ax.set_xlabel("confidence, test set")
    return entries
