"""Flatness: loss around networks along random directions (Li et al. 2018; He et al. 2022, figure 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sddcli.core.words import in_words
from sddcli.plots.style import (
    GREY,
    LINES,
    aligned,
    band,
    headlines,
    landmarks,
    legend,
    mosaic,
    named,
    placed,
    replicates,
    settings,
    x_axis,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Settings = Sequence[tuple[Mapping[str, Any], pd.DataFrame]]

NEEDS = ("test_accuracy", "flatness_train_loss_rise")
KEYS = ("step", "across")


def draw(
    summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity", details: pd.DataFrame | None = None
) -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell settings apart;
    x: one of sddcli.axes.AXES; details: the same of losses and accuracies at each `step` of each level's lines.

    Above, a panel for each setting, a colour for each phase; solid is the test set, dashed the training labels.
    Below, how much train loss rises up to the ends of the lines. Of planes instead contours of train loss.
    """
    assert details is not None
    columns = settings(details, varied)
    if (details["across"] != 0).any():
        return _planes(summary, columns, title)
    names = [[f"{k}" for k in range(len(columns))], ["rise"] * len(columns)]
    with mosaic(names, height=2.4, width=max(4.6, 1 + 2.4 * len(columns))) as (figure, axes):
        slices, entries = [axes[f"{k}"] for k in range(len(columns))], []
        aligned(slices)
        for ax, (setting, rows) in zip(slices, columns, strict=True):
            entries += _slices(ax, rows, landmarks(summary, setting, rows["level"].unique()))
        slices[0].set_ylabel("loss")
        slices[0].set_ylim(bottom=0)
        _rises(axes["rise"], placed(summary, x), summary, columns)
        x_axis(axes["rise"], placed(summary, x), x)
        splits = [("test, true labels", GREY, "-"), ("train, labels trained on", GREY, "--")]
        legend(figure, [*dict.fromkeys(entries), *splits])
        headlines(figure, title, replicates(details))
        named(slices, columns)
    return figure


def _slices(ax: Axes, rows: pd.DataFrame, shown: Sequence[tuple[int, str, str]]) -> list[tuple[str, str, str]]:
    """The lines of one setting, and what the legend says of them."""
    for level, _, colour in shown:
        line = rows[rows["level"] == level].assign(x=rows["step"])
        for split, style in (("test", "-"), ("train", "--")):
            band(ax, line, f"{split}_loss", color=colour, linestyle=style)
    ax.set_xlabel("step along a random direction")
    return [(label, colour, "-") for _, label, colour in shown]


def _rises(ax: Axes, curves: pd.DataFrame, summary: pd.DataFrame, columns: Settings) -> None:
    """The rise of each setting along the axis, its levels that are drawn above as dots of the same colours."""
    for (setting, rows), style in zip(columns, LINES * len(columns), strict=False):
        curve = curves.sort_values("level")
        for name, value in setting.items():
            curve = curve[curve[name] == value]
        band(
            ax,
            curve,
            "flatness_train_loss_rise",
            color=GREY,
            linestyle=style,
            label=", ".join(map(str, setting.values())),
        )
        for level, _, colour in landmarks(summary, setting, rows["level"].unique()):
            at = curve[curve["level"] == level]
            ax.plot(at["x"], at["flatness_train_loss_rise"], "o", color=colour, markersize=4.5)
    ax.set_ylabel("rise of train loss")
    ax.set_ylim(bottom=0)
    if len(columns) > 1:
        ax.legend()


def _planes(summary: pd.DataFrame, columns: Settings, title: str) -> Figure:
    """Contours of train loss, a row for each setting, a panel for each phase."""
    from matplotlib.colors import LogNorm

    shown = [landmarks(summary, setting, rows["level"].unique()) for setting, rows in columns]
    names = [[f"{k} {number}" for number in range(4)] for k in range(len(columns))]
    with mosaic(names, height=2.1, width=7.2, sharex=True, sharey=True) as (figure, axes):
        losses = np.concatenate([rows["train_loss"] for _, rows in columns])
        contours = np.geomspace(max(losses.min(), 0.01), losses.max(), 14)
        norm = LogNorm(contours[0], contours[-1])
        end = columns[0][1]["step"].max()
        for k, (setting, rows) in enumerate(columns):
            for number, (level, label, _) in enumerate(shown[k]):
                ax = axes[f"{k} {number}"]
                grid = rows[rows["level"] == level].pivot(index="across", columns="step", values="train_loss")
                lines = ax.contour(grid.columns, grid.index, grid, contours, norm=norm, cmap="viridis", linewidths=0.8)
                ax.clabel(lines, contours[2::3], fontsize=5.5, fmt="%.2g")
                ax.set_aspect("equal")
                ax.set_xticks([-end, 0, end])
                ax.set_yticks([-end, 0, end])
                ax.set_title(label.replace(", level", "\nlevel"), fontsize=7)
            axes[f"{k} 0"].set_ylabel(in_words(setting).replace(", ", "\n"))
        figure.supxlabel("steps along two random directions", fontsize=9)
        headlines(figure, title, "contours of train loss, mean over seeds")
    return figure
