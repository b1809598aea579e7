"""Plane: test accuracy by sparsity and a second setting (width, noise, epochs, weight decay), as a heat map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sddcli.core.words import UsageError
from sddcli.plots.style import (
    COLOURS,
    MARKERS,
    band,
    headline,
    legend,
    mosaic,
    percent_axis,
    phase_levels,
    placed,
    x_axis,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NEEDS = ("test_accuracy", "train_accuracy")
EQUAL_WEIGHTS = True
FITTED = 0.99
SECOND: Mapping[str, tuple[str, str]] = {
    "model": ("width", "width"),
    "noise": ("noise", "label noise"),
    "epochs": ("epochs", "epochs of training"),
    "weight_decay": ("weight_decay", "weight decay"),
    "train_size": ("examples", "training examples"),
    "batch_size": ("batch_size", "batch size"),
    "lr": ("lr", "learning rate"),
}
"""The field that may differ beside the level -> the column that says it, and what its axis is called."""


def draw(
    summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity", details: pd.DataFrame | None = None
) -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the one field beside the level in which runs
    differ; x: one of sddcli.axes.AXES; details: what `table.at_equal_weights` says of networks of several widths.

    The dashed line is the interpolation ridge: left of it 99 % of the labels trained on are fitted. Dots are valleys,
    where the test for double descent finds one. Grey is where there is no run. Below, of several widths: networks of
    different widths that keep equally many weights, interpolated between levels. Raises UsageError for runs that differ
    in more, or in less, than that one field.
    """
    if len(varied) != 1 or varied[0] not in SECOND:
        differ = ", ".join(varied) or "nothing"
        raise UsageError(f"a plane needs runs that differ in one of {', '.join(SECOND)}; these differ in {differ}")
    if summary["level"].nunique() < 2:
        raise UsageError(f"a plane needs several levels, and these runs are all of level {summary['level'].iloc[0]}")
    column, label = SECOND[varied[0]]
    if varied[0] == "model" and summary[["model", "width"]].drop_duplicates()["width"].duplicated().any():
        raise UsageError("these networks do not differ in width alone, and make no plane; choose some with --where")
    equal = details is not None and varied[0] == "model" and not details.empty
    names = [["plane"], ["equal"]] if equal else [["plane"]]
    summary = placed(summary, x)
    with mosaic(names, 3.3, 4.9) as (figure, axes):
        shown = _heat_map(axes["plane"], summary, column, label)
        x_axis(axes["plane"], summary, x)
        figure.colorbar(shown, ax=axes["plane"], label="test accuracy", format=lambda share, _: f"{100 * share:.4g}%")
        headline(axes["plane"], title, summary)
        entries: list[tuple[Any, ...]] = [
            (f"train accuracy {FITTED:.0%}", "black", "--"), ("valley", "black", "", "o"),
        ]  # fmt: skip
        if equal and details is not None:
            entries += _lines(axes["equal"], details)
        legend(figure, entries)
    return figure


def _heat_map(ax: Axes, summary: pd.DataFrame, column: str, label: str) -> Any:
    """Cells of equal height, a row each value of the second setting, and over them the ridge and the valleys."""
    grid = summary.pivot(index=column, columns="level", values="test_accuracy").sort_index()
    train = summary.pivot(index=column, columns="level", values="train_accuracy").loc[grid.index]
    at = summary.groupby("level")["x"].mean()[grid.columns].to_numpy()
    rows = range(len(grid))
    ax.set_facecolor("#cccccc")
    shown = ax.pcolormesh(at, list(rows), grid.to_numpy(), cmap="viridis", shading="nearest")
    if grid.shape[0] > 1 and grid.shape[1] > 1:
        ax.contour(at, list(rows), train.to_numpy(), levels=[FITTED], colors="black", linestyles="--", linewidths=1)
    for row, value in zip(rows, grid.index, strict=True):
        curve = summary[summary[column] == value]
        valleys = [level for level, name in phase_levels(curve).items() if name == "valley"]
        ax.plot(curve["x"][curve["level"].isin(valleys)], [row] * len(valleys), "o", color="black", ms=4)
    ax.set_yticks(list(rows), [f"{value:.10g}" for value in grid.index])
    ax.set_ylabel(label)
    ax.grid(False)
    return shown


def _lines(ax: Axes, details: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Accuracy against width, a line each number of weights kept."""
    entries: list[tuple[Any, ...]] = []
    for colour, (weights, rows) in zip(COLOURS, details.groupby("weights", sort=True), strict=False):
        band(ax, rows.assign(x=rows["width"]), "test_accuracy", color=colour, marker=MARKERS[colour], markersize=3)
        entries.append((f"{weights:.0f} weights kept", colour, "-", MARKERS[colour]))
    widths = sorted(details["width"].unique())
    ax.set_xscale("log")
    ax.set_xticks(widths, [f"{width:.0f}" for width in widths])
    ax.minorticks_off()
    ax.set_xlabel("width")
    percent_axis(ax, "test accuracy")
    return entries
