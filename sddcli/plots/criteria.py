"""Criteria: test accuracy against sparsity, a panel for each family of criteria, magnitude and random behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sddcli.core.criteria import CRITERIA
from sddcli.plots.style import (
    GREY,
    MARKERS,
    Entry,
    aligned,
    band,
    curves,
    headlines,
    key,
    legend,
    mosaic,
    percent_axis,
    placed,
    replicates,
    x_axis,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NEEDS = ("test_accuracy",)
COMPARES = "criterion"
BEHIND = {"magnitude": "-", "random": ":"}
"""Criteria that are drawn in grey in every panel, and how."""
ACROSS = 3


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity") -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell curves apart;
    x: one of sddcli.axes.AXES. Networks of one criterion have one panel."""
    summary = placed(summary, x)
    panels = list(_families(summary)) if "criterion" in varied else [("", summary)]
    across = min(ACROSS, len(panels))
    names = [
        [str(k) if k < len(panels) else "." for k in range(row, row + across)] for row in range(0, len(panels), across)
    ]
    behind = {name: summary[summary["criterion"] == name] for name in BEHIND} if "criterion" in varied else {}
    behind = {name: rows for name, rows in behind.items() if not rows.empty}
    with mosaic(names, 2.9, max(4.6, 0.8 + 2.9 * across)) as (figure, axes):
        grid = [[axes[name] for name in row if name != "."] for row in names]
        aligned([ax for row in grid for ax in row])
        for ax, (family, part) in zip((ax for row in grid for ax in row), panels, strict=True):
            for name, rows in behind.items():
                _grey(ax, rows, varied, name)
            lines = [(label.removeprefix("criterion "), colour) for label, colour in _coloured(ax, part, varied)]
            key(ax, [(f"{family}:", "none", "-")] * bool(family) + [(label, colour, "-") for label, colour in lines])
            x_axis(ax, summary, x, most=7)
        for row in grid[:-1]:
            for ax in row[: len(grid[-1])]:
                ax.set_xlabel("")
        for row in grid:
            row[0].tick_params(labelleft=True)
            percent_axis(row[0], "test accuracy, last epoch")
        legend(figure, [Entry(f"{name}, behind", GREY, BEHIND[name]) for name in behind])
        headlines(figure, title, replicates(summary))
    return figure


def _families(summary: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each family that the rows have criteria of, but those that are in every panel; these alone where no other is."""
    names = summary["criterion"].map(lambda word: word.split(":")[0])
    families = names.map(lambda name: CRITERIA[name].family if name in CRITERIA else "other")
    shown = ~names.isin(list(BEHIND)) if not names.isin(list(BEHIND)).all() else names.notna()
    order = dict.fromkeys([*(criterion.family for criterion in CRITERIA.values()), "other"])
    for family in order:
        rows = summary[shown & (families == family)]
        if not rows.empty:
            yield family, rows


def _coloured(ax: Axes, part: pd.DataFrame, varied: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Draws the curves of a panel; their labels and colours."""
    for label, colour, curve in curves(part, varied):
        band(ax, curve, "test_accuracy", color=colour, marker=MARKERS[colour], markersize=2.8, zorder=3)
        yield label, colour


def _grey(ax: Axes, rows: pd.DataFrame, varied: Sequence[str], name: str) -> None:
    for _, _, curve in curves(rows, varied):
        ax.plot(curve["x"], curve["test_accuracy"], color=GREY, linestyle=BEHIND[name], linewidth=1, zorder=2)
