"""Columns: curves along an axis in rows of panels, in one column or in one for each value of a field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple

from sddcli.plots.style import (
    COLOURS,
    GREY,
    MARKERS,
    Entry,
    aligned,
    band,
    curves,
    headline,
    headlines,
    legend,
    log_axis,
    mosaic,
    named,
    percent_axis,
    placed,
    points_axis,
    replicates,
    settings,
    shaded,
    x_axis,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Columns = Sequence[tuple[Mapping[str, Any], pd.DataFrame]]
    """For each column of panels the value of the field that it is for, and its rows of the summary."""


class Row(NamedTuple):
    """What a row of panels shows.

    label: of its vertical axis. lines: (column of the summary, what it is, line style) each; the first has marks.
    unit: "share", written in percent, or "number". from_zero: whether the axis begins there. log: whether it
    is logarithmic.
    """

    label: str
    lines: Sequence[tuple[str, str, Any]]
    unit: str = "share"
    from_zero: bool = False
    log: bool = False


def drawn(summary: pd.DataFrame, varied: Sequence[str], title: str, x: str, panels: str, rows: Sequence[Row]) -> Figure:
    """Rows of panels along the axis `x` of sddcli.axes, in one column or in one for each value of the field `panels`.

    summary: means over seeds as `table.summary` gives them; varied: the fields that tell curves apart. A panel of one
    curve has its phases shaded and a colour a line; of several, each curve has a colour and a mark. Where there are
    two in all, one row of panels gets another one below that compares them, and several rows squares on their axes.
    """
    summary = placed(summary, x)
    interval = f"{rows[0].lines[0][0]}_low"  # which one pair of seeds has not: a difference may be chance there
    compared = len(rows) == 1 and not panels and _some(summary, interval)
    ends = ("_difference", "_low", "_high") if compared or panels else ()
    shown = summary.drop(columns=[name for name in summary if ends and str(name).endswith(ends)])
    columns = settings(shown, [panels]) if panels else [({}, shown)]
    fields = [name for name in varied if name != panels and any(part[name].nunique() > 1 for _, part in columns)]
    names = [[f"{row} {k}" for k in range(len(columns))] for row in range(len(rows) + compared)]
    height = 2.5 if compared or panels else 3.3 if len(rows) == 1 else 2.2
    width = max(4.6, 1 + 2.3 * len(columns)) if panels else 4.6
    with mosaic(names, height, width, sharex=True) as (figure, axes):
        grid = [[axes[name] for name in row] for row in names]
        for row, across in zip(rows, grid, strict=False):
            _curves(across, row, columns, fields)
        if compared:
            differences(grid[1][0], summary, varied, rows[0].lines)
        for ax in grid[-1]:
            x_axis(ax, shown, x, most=11.5 if len(columns) == 1 else 7)
        legend(figure, _entries(rows, shown, fields))
        phases = not fields and _some(shown, "phase")
        for ax, (_, part) in zip(grid[0], columns, strict=True) if phases else ():
            shaded(ax, part, 1.55 if panels else 3.5)
        located = not fields and len(rows) == 1 and all(_some(shown, name) for name in ("smoothed", "in_valley"))
        if located:
            intervals(grid[0], columns)
        more = "; bars: 95 % intervals" if located else ""
        if panels:
            headlines(figure, title, replicates(shown) + more)
            named(grid[0], columns, pad=14 if phases else None)
        else:
            headline(grid[0][0], title, shown, pad=14 if phases else None, more=more)
    return figure


def _some(summary: pd.DataFrame, name: str) -> bool:
    return name in summary and bool(summary[name].notna().any())


def _curves(across: Sequence[Axes], row: Row, columns: Columns, fields: Sequence[str]) -> None:
    """One row of panels, which share their vertical axis; `fields` tell the curves of a panel apart."""
    aligned(across)
    for ax, (_, part) in zip(across, columns, strict=True):
        for _, colour, curve in curves(part, fields):
            for k, (name, _, line) in enumerate(row.lines):
                own = colour if fields else COLOURS[k]
                marks = {} if k else {"marker": MARKERS[own], "markersize": 2.8}
                band(ax, curve, name, color=own, linestyle=line, **marks)
    if row.unit == "share":
        percent_axis(across[0], row.label)
    across[0].set_ylabel(row.label)
    if row.log:
        log_axis(across[0])
    if row.from_zero:
        across[0].set_ylim(bottom=0)


def _entries(rows: Sequence[Row], summary: pd.DataFrame, fields: Sequence[str]) -> list[Entry]:
    """What the legend says: which curve is which, and what its lines are where a row has several."""
    entries = [Entry(label, colour, marker=MARKERS[colour]) for label, colour, _ in curves(summary, fields) if fields]
    for row in rows:
        for k, (_, meaning, line) in enumerate(row.lines if len(row.lines) > 1 else ()):
            marker = MARKERS[COLOURS[k]] if not (fields or k) else ""
            entries.append(Entry(meaning, GREY if fields else COLOURS[k], line, marker))
    return list(dict.fromkeys(entries))


def differences(ax: Axes, summary: pd.DataFrame, varied: Sequence[str], lines: Sequence[tuple[str, str, Any]]) -> None:
    """Second curve minus first, paired by seed, with the 95 % t-intervals of `table.compared`, level by level."""
    (first, _, _), (second, colour, _) = curves(summary, varied)
    pairs = summary.dropna(subset=f"{lines[0][0]}_difference").sort_values("x")
    for k, (name, _, line) in enumerate(lines):
        marks: Any = {} if k else {"marker": MARKERS[colour], "markersize": 2.8}
        ax.plot(pairs["x"], pairs[f"{name}_difference"], color=colour, linestyle=line, **marks)
        ax.fill_between(pairs["x"], pairs[f"{name}_low"], pairs[f"{name}_high"], color=colour, alpha=0.18, linewidth=0)
    ax.axhline(0, color=GREY, linewidth=0.8)
    points_axis(ax, "difference (points)")
    counts = sorted({int(n) for n in pairs["pairs"]})
    seeds = " to ".join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))
    what = fill(f"{second} minus {first}, paired by seed ({seeds}),", 80)
    ax.set_title(f"{what}\nwith 95 % t-intervals of each point by itself", fontsize=7, loc="left")


def intervals(across: Sequence[Axes], columns: Columns) -> None:
    """The 95 % intervals of each curve's valley and peak, as bars at the foot of its panel, below what is drawn."""
    low, high = across[0].get_ylim()
    judged = [part[part["smoothed"].notna()] for _, part in columns]
    spans = [{name: part["x"][part[f"in_{name}"].eq(True)] for name in ("valley", "peak")} for part in judged]
    # One over the other where both could be either.
    above = [0.07 * (span["valley"].max() >= span["peak"].min()) for span in spans]
    across[0].set_ylim(low - (0.08 + 1.2 * max(above)) * (high - low), high)
    for ax, span, up in zip(across, spans, above, strict=True):
        foot: Any = {"transform": ax.get_xaxis_transform()}
        for height, (name, at) in zip((0.025, 0.025 + up), span.items(), strict=True):
            if not at.empty:
                ends = [at.min(), at.max()]
                ax.plot(ends, [height] * 2, color=GREY, linewidth=1.2, marker="|", markersize=4, **foot)
                ax.text(sum(ends) / 2, height + 0.01, name, color=GREY, ha="center", va="bottom", fontsize=7, **foot)
