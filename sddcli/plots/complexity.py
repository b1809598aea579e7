"""Complexity: units and ranks in use beside test accuracy, against sparsity; of one setting, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sddcli.plots.style import COLOURS, band, curves, headline, legend, panels, percent_axis, placed, shaded, x_axis

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NEEDS = ("test_accuracy", "activation_entropy", "dead_units", "effective_rank")
KEYS = ("layer",)


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str, x: str, details: pd.DataFrame) -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell curves apart;
    x: one of sddcli.axes.AXES; details: means over seeds of the rows of the analysis.

    One setting has a line for each layer too, and its density.
    """
    summary = placed(summary, x)
    names = ["test_accuracy", "activation_entropy", "dead_units", "effective_rank", *([] if varied else ["density"])]
    with panels(rows=len(names), height=1.75) as (figure, axes):
        entries = []
        for label, colour, curve in curves(summary, varied):
            for name, ax in zip(names[:4], axes, strict=False):
                band(ax, curve, name, color=colour, marker="o", markersize=2.5, zorder=3)
            entries.append((label, colour, "-"))
        for label, colour, layer in [] if varied else _layers(details.merge(summary[["level", "x"]], on="level")):
            for name, ax in list(zip(names, axes, strict=True))[1:]:
                band(ax, layer, name, color=colour, linestyle="--", linewidth=1)
            entries.append((label, colour, "--"))
        for ax, axis_label in zip(axes, ("test accuracy", "", "dead units"), strict=False):
            percent_axis(ax, axis_label)
        axes[1].yaxis.set_major_formatter("{x:g}")
        axes[1].set_ylabel("activation\nentropy (bits)")
        axes[3].set_ylabel("effective rank")
        if not varied:
            axes[4].set(yscale="log", ylabel="density of layer")
            entries.append(("all units; mean over pruned layers", COLOURS[0], "-"))
        x_axis(axes[-1], summary, x)
        legend(figure, entries)
        if not varied and "phase" in summary:
            shaded(axes[0], summary)
        headline(axes[0], title, summary, pad=None if varied else 14)
    return figure


def _layers(details: pd.DataFrame) -> list[tuple[str, Any, pd.DataFrame]]:
    """(label, colour, rows by level) of each layer from the input on; of many, only the first and last have a label."""
    from matplotlib import colormaps

    order = details.groupby("layer")["depth"].mean().sort_values().index
    few, shades = len(order) < len(COLOURS), colormaps["viridis"].resampled(max(2, len(order)))
    lines: list[tuple[str, Any, pd.DataFrame]] = []
    for k, name in enumerate(order):
        label = str(name).removesuffix(".weight") if few or k in (0, len(order) - 1) else ""
        colour = COLOURS[k + 1] if few else shades(k)
        lines.append((label, colour, details[details["layer"] == name].sort_values("level")))
    return lines
