"""Turning points: where valley and peak of each curve lie, with 95 % intervals, a row each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sddcli.plots.style import (
    COLOURS,
    GREY,
    Entry,
    headlines,
    legend,
    panels,
    placed,
    row_labels,
    seeds,
    settings,
    wrapped,
    x_axis,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NEEDS = ("test_accuracy", "train_accuracy")
POINTS = {"valley": (COLOURS[0], "o"), "peak": (COLOURS[1], "s")}
"""Turning point -> its colour and mark."""


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity") -> Figure:
    """summary: means over seeds as `table.summary` gives them, with what the verdict on double descent marks;
    varied: the fields that tell curves apart; x: one of sddcli.axes.AXES.

    Rows in the order of peaks; hollow marks where the test finds no double descent: a valley is the start of the
    largest rise there.
    """
    summary = placed(summary, x)
    rows = sorted(settings(summary, varied), key=lambda row: (_at(row[1], "peak"), _at(row[1], "valley")))
    field = "criterion " if list(varied) == ["criterion"] else ""  # the names of criteria speak for themselves
    labels = [label.removeprefix(field) for label in row_labels(rows)]
    width = 3.6 + 0.065 * max(map(len, labels))
    above = 0.13 * len(wrapped(title, width).splitlines())  # inches of the headline
    with panels(height=1.2 + above + 0.21 * len(rows), width=width) as (figure, (ax,)):
        for k, (_, curve) in enumerate(rows):
            fitted = curve["x"][curve["at_fitted"].eq(True)]
            ax.plot(fitted, [k] * len(fitted), color=GREY, marker="|", markersize=7, linestyle="")
            _points(ax, k, curve)
        ax.set_yticks(range(len(rows)), labels)
        ax.set_ylim(-0.6, len(rows) - 0.4)
        x_axis(ax, summary, x, most=9)
        marks = [Entry(point, colour, "", mark) for point, (colour, mark) in POINTS.items()]
        legend(figure, [*marks, Entry("last level with train accuracy of 99 %", GREY, "", "|")])
        headlines(figure, title, f"{seeds(summary)}; bars: 95 % intervals; hollow: no double descent found")
    return figure


def _at(curve: pd.DataFrame, point: str) -> float:
    """Where a turning point of a curve stands on the axis."""
    return float(curve["x"][curve[f"at_{point}"].eq(True)].max())


def _points(ax: Axes, row: int, curve: pd.DataFrame) -> None:
    """The valley and the peak of one curve, one a little above the other, so that bars that overlap are seen."""
    is_there = curve["smoothed"].notna().any()
    for shift, (point, (colour, mark)) in zip((0.12, -0.12), POINTS.items(), strict=True):
        within = curve["x"][curve[f"in_{point}"].eq(True)]
        if not within.empty:
            ends = [within.min(), within.max()]
            ax.plot(ends, [row + shift] * 2, color=colour, linewidth=1.5 if is_there else 0.8, solid_capstyle="butt")
        face = colour if is_there else "white"
        ax.plot(_at(curve, point), row + shift, color=colour, marker=mark, markersize=4.5, mfc=face, linestyle="")
