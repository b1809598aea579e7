"""Antidotes: how deep the valley of each remedy is, and how sparse its networks are at equal accuracy, a row each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sddcli.plots.style import COLOURS, GREY, headlines, panels, placed, row_labels, seeds, settings, wrapped, x_axis

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NEEDS = ("test_accuracy", "train_accuracy")
COMPARES = ""
"""Whatever remedies differ in."""


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity") -> Figure:
    """summary: means over seeds as `table.summary` gives them, with what the verdict on double descent marks;
    varied: the fields that tell remedies apart; x: not used, since each remedy is a row.

    Above, the dip with its 95 % interval, hollow where the test finds no double descent. Below, the sparsest level at
    which mean test accuracy is still that which all remedies reach: the lowest of their best ones.
    """
    summary = placed(summary, "sparsity")
    rows = sorted(settings(summary, varied), key=lambda row: _deepest(row[1]), reverse=True)
    labels = row_labels(rows)
    common = min(float(curve["test_accuracy"].max()) for _, curve in rows)
    width = 3.6 + 0.065 * max(map(len, labels))
    above = 0.13 * (2 + len(wrapped(title, width).splitlines())) / 2  # inches of the headline, half in each panel
    with panels(2, height=0.75 + above + 0.21 * len(rows), width=width, apart=1) as (figure, (depth, reach)):
        for k, (_, curve) in enumerate(rows):
            _dip(depth, k, curve)
            best = curve[curve["test_accuracy"] >= common - 1e-9].sort_values("x").iloc[-1]
            reach.plot([float(best["x"])], [k], color=COLOURS[1], marker="s", linestyle="", clip_on=False)
            reach.text(float(best["x"]), k + 0.22, f"{best['sparsity']:.2%}", fontsize=6, ha="center", color=GREY)
        for ax in (depth, reach):
            ax.set_yticks(range(len(rows)), labels)
            ax.set_ylim(-0.6, len(rows) - 0.2)
        depth.set_xlabel("dip before the rise (points of test accuracy)")
        if summary["x"].nunique() > 1:
            reach.set_xlim(summary["x"].min(), summary["x"].max())
        x_axis(reach, summary, "sparsity", most=9)
        reach.set_xlabel(f"last sparsity (%) with {common:.1%} test accuracy")
        headlines(figure, title, f"{seeds(summary)}; bars: 95 % intervals; hollow: no double descent found")
    return figure


def _deepest(curve: pd.DataFrame) -> float:
    """The dip of a remedy, in accuracy."""
    return float(curve["dip"].max())


def _dip(ax: Axes, row: int, curve: pd.DataFrame) -> None:
    """The dip of one remedy, with its interval where there is more than one seed."""
    is_there = curve["smoothed"].notna().any()
    at = curve.loc[curve["dip"].notna(), ["dip", "dip_low", "dip_high"]].iloc[0]
    value, low, high = (100 * at.astype(float)).tolist()  # of one seed without an interval, which is None there
    ax.plot([low, high], [row, row], color=COLOURS[0])
    face = COLOURS[0] if is_there else "white"
    ax.plot([value], [row], color=COLOURS[0], marker="o", markerfacecolor=face, linestyle="")
    ax.axvline(0, color=GREY, linewidth=0.5)
