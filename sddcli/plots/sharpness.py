"""Sharpness: curvature of the training loss and its rise around the final weights, against sparsity; its spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sddcli.plots.style import (
    COLOURS,
    GREY,
    band,
    curves,
    headline,
    key,
    legend,
    panels,
    percent_axis,
    phase_levels,
    placed,
    shaded,
    x_axis,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NEEDS = ("test_accuracy", "hessian_top", "hessian_trace", "hessian_size", "sam_sharpness", "epsilon_sharpness")
KEYS = ("part", "at")
PAIRS = (
    (("hessian_trace", "trace", "--"), ("hessian_top", "largest eigenvalue", "-")),
    (("epsilon_sharpness", "ε-sharpness (%)", "--"), ("sam_sharpness", "SAM-sharpness", "-")),
)
MARKS: dict[str, Any] = {"dense": "-", "valley": "--", "peak": "-.", "last": ":", "first": "-"}


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str, x: str, details: pd.DataFrame) -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell curves apart;
    x: one of sddcli.axes.AXES; details: means over seeds of the rows of the analysis.

    Lowest, how many eigenvalues are greater than each, for the dense network, valley, peak and last level: lines by
    Lanczos quadrature, which knows the small ones only together, dots the largest themselves.
    """
    summary = placed(summary, x)
    with panels(rows=4, height=1.95, apart=1) as (figure, (top, *pairs, spectrum)):
        entries, details_of = [], {label: rows for label, _, rows in curves(details, varied)}
        for label, colour, curve in curves(summary, varied):
            band(top, curve, "test_accuracy", color=colour, marker="o", markersize=2.5)
            for ax, pair in zip(pairs, PAIRS, strict=True):
                for column, _, line in pair:
                    band(ax, curve, column, color=colour, linestyle=line)
            entries.append((label, colour, "-"))
            if label in details_of:
                _spectrum(spectrum, curve, details_of[label], colour if varied else "")
        percent_axis(top, "test accuracy")
        for ax, axis_label, pair in zip(pairs, ("Hessian", "rise of the loss"), PAIRS, strict=True):
            ax.set_yscale("log")
            ax.set_ylabel(axis_label)
            key(ax, [(name, GREY if varied else COLOURS[0], line) for _, name, line in pair])
        x_axis(pairs[-1], summary, x)
        key(spectrum, _said(summary, varied))
        if varied:
            legend(figure, entries)
        elif "phase" in summary:
            shaded(top, summary)
        headline(top, title, summary, pad=None if varied else 14)
    return figure


def _said(summary: pd.DataFrame, varied: Sequence[str]) -> list[tuple[str, str, Any]]:
    """What the lines of the spectra mean; of one setting, at which sparsity."""
    entries = {}
    for _, _, curve in curves(summary, varied):
        sparsity = dict(zip(curve["level"], curve["sparsity"], strict=True))
        for level, landmark in phase_levels(curve).items():
            colour = GREY if varied else COLOURS[list(MARKS).index(landmark)]
            entries[landmark] = (
                landmark if varied else f"{landmark}, {100 * sparsity[level]:.4g}%",
                colour,
                MARKS[landmark],
            )
    return [entries[landmark] for landmark in MARKS if landmark in entries]


def _spectrum(ax: Axes, curve: pd.DataFrame, rows: pd.DataFrame, colour: str) -> None:
    """How many eigenvalues are greater than each, of one setting; without a colour, one for each level."""
    sizes = dict(zip(curve["level"], curve["hessian_size"], strict=True))
    for level, landmark in phase_levels(curve).items():
        here = rows[rows["level"] == level].sort_values("at")
        line = {"color": colour or COLOURS[list(MARKS).index(landmark)], "linestyle": MARKS[landmark]}
        density = here[here["part"] == "density"]
        above = sizes[level] * density["value"][::-1].cumsum()[::-1]
        positive = (density["at"] > 0) & (above > 0.5)
        ax.plot(density["at"][positive], above[positive], **line)
        largest = here[here["part"] == "eigenvalue"]
        ax.plot(largest["value"], largest["at"], marker="o", markersize=2.5, **(line | {"linestyle": ""}))
    ax.set(xscale="log", yscale="log", xlabel="eigenvalue of the Hessian", ylabel="number greater")
