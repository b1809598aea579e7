"""Event stability: the best test accuracy after the events of a training against how little each of them cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import atanh, sqrt, tanh
from typing import TYPE_CHECKING, Any

from sddcli.plots.style import (
    CURVES,
    GREY,
    MARKERS,
    Entry,
    headlines,
    legend,
    panels,
    percent_axis,
    replicates,
    settings,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NEEDS = ("event_instability", "settled_test_accuracy")


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity") -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell settings apart; x: not
    used, since accuracy stands against stability.

    Each setting whose training had events is a mark, its period beside it, with bars of a standard error; the line is
    the dense network.
    """
    happened = summary[summary["event_instability"].notna()]
    rows = [(_words(fields), rows) for fields, rows in settings(happened, varied)]
    kinds = list(dict.fromkeys(kind for (kind, _), _ in rows))
    with panels(height=3.4) as (figure, (ax,)):
        for (kind, period), row in rows:
            colour, n = CURVES[kinds.index(kind) % len(CURVES)], row["n"] ** 0.5
            across, up = 1 - row["event_instability"], row["settled_test_accuracy"]
            ends = (row["event_instability_std"] / n, row["settled_test_accuracy_std"] / n)
            ax.errorbar(across, up, ends[1], ends[0], color=colour, fmt=MARKERS[colour], ms=4.5, elinewidth=0.7)
            for point in zip(across, up, strict=True):
                ax.annotate(period, point, (3, 3), textcoords="offset points", fontsize=6, color=GREY)
        dense = summary[summary["level"] == 0]["test_accuracy"].mean()
        ax.axhline(dense, color=GREY, linewidth=0.8, linestyle=":")
        ax.set_xlabel("mean stability: share of test accuracy left just after an event")
        percent_axis(ax, "best test accuracy after events")
        colours = dict(zip(kinds, CURVES, strict=False))
        entries = [Entry(kind, colour, "", MARKERS[colour]) for kind, colour in colours.items()]
        legend(figure, [*entries, Entry("dense, last epoch", GREY, ":", "")])
        headlines(figure, title, f"{_correlation(happened)}\n{replicates(happened)}; bars: standard errors")
    return figure


def _words(fields: Mapping[str, Any]) -> tuple[str, str]:
    """What is removed, and how often, of a setting in words."""
    name, *words = str(fields.get("retraining", "")).split(":")
    given = dict(word.split("=", 1) for word in words)
    target = "random" if fields.get("criterion") == "random" else given.get("target", name)
    away = f", back after {given['batches']} batches" if given.get("batches", "0") != "0" else ""
    return f"{target}{away}", given.get("period", "")


def _correlation(rows: pd.DataFrame) -> str:
    """Pearson's over settings, with its 95 % interval by Fisher's transformation."""
    if len(rows) < 4:
        return f"{len(rows)} settings"
    r = float((1 - rows["event_instability"]).corr(rows["settled_test_accuracy"]))
    half = 1.96 / sqrt(len(rows) - 3)
    low, high = tanh(atanh(r) - half), tanh(atanh(r) + half)
    return f"correlation over {len(rows)} settings {r:.2f} [{low:.2f}, {high:.2f}]"
