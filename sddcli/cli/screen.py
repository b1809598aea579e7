"""Screen: tables for people, 80 columns wide, and JSON for programs. To stdout."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import floor, log10
from textwrap import fill, wrap
from typing import TYPE_CHECKING, Any

from sddcli.axes import COLUMNS
from sddcli.core.words import in_words
from sddcli.metrics import Metric

if TYPE_CHECKING:  # a help text shall not wait for what draws tables
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

EIGHTHS = " ▏▎▍▌▋▊▉█"


def console() -> "Console":
    """Stdout, at least 80 columns wide where it is no terminal."""
    from rich.console import Console

    class Out(Console):
        def on_broken_pipe(self) -> None:  # else rich ends sdd with exit code 1
            raise BrokenPipeError

    width = None if sys.stdout.isatty() else max(80, Console().width)
    return Out(width=width, highlight=False)  # numbers within titles and sentences have no colour of their own


def errors() -> "Console":
    """Stderr, for progress."""
    from rich.console import Console

    return Console(stderr=True)


def _table(*names: str) -> "Table":
    """An empty table without lines, its columns to the right."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 1))
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    return table


def curves(
    summary: "pd.DataFrame", varied: Sequence[str], title: str, columns: Mapping[str, Metric], along: str = "level"
) -> None:
    """One table a curve: level, sparsity, then mean and spread over seeds of each column, and n.

    The first columns, as many as fit beside each other; the others are named below. along: the column along which
    curves run, which is shown instead of level and sparsity.
    """
    out = console()
    groups = summary.groupby(list(varied), sort=True) if varied else [((), summary)]
    low, high = summary["test_accuracy"].min(), summary["test_accuracy"].max()
    for values, curve in groups:
        label = in_words(dict(zip(varied, values, strict=True)))
        out.print(f"{title}: {label}" if label else title, style="bold", soft_wrap=True)
        rows = [row for _, row in curve.iterrows()]
        cells = {
            metric.label: [cell(r[name], r[f"{name}_std"], metric.unit) for r in rows]
            for name, metric in columns.items()
        }
        ends = {"n": [f"{row['n']:.0f}" for row in rows]}
        if "test_accuracy" in columns:
            ends["test curve"] = [_bar((row["test_accuracy"] - low) / ((high - low) or 1)) for row in rows]
        columns_at = zip(*(at_cells(row, along) for row in rows), strict=True)
        more = _beside(out, dict(zip(at_heads(along), columns_at, strict=True)), cells, ends)
        if more:
            out.print(fill(f"also in the file: {', '.join(more)}", 78), soft_wrap=True, highlight=False)


def _beside(
    out: "Console",
    starts: Mapping[str, Sequence[str]],
    cells: Mapping[str, Sequence[str]],
    ends: Mapping[str, Sequence[str]],
) -> list[str]:
    """A table of columns, label -> cells: the starts, as many of the cells as fit unwrapped, the ends.

    Returns the labels of those that do not.
    """
    shown = dict(starts)
    room = out.width - sum(_width(label, content) for label, content in (*starts.items(), *ends.items()))
    for label, content in cells.items():
        room -= _width(label, content)
        if room < 0 and len(shown) > len(starts):
            break
        shown[label] = content
    more = [label for label in cells if label not in shown]
    shown |= ends
    table = _table(*shown)
    for column, content in zip(table.columns, shown.values(), strict=True):
        column.min_width = max(map(len, content), default=0)  # headings are wrapped between words, numbers are not
        column.justify = "left" if column.header == "test curve" else "right"
    for row in zip(*shown.values(), strict=True):
        table.add_row(*row)
    out.print(table)
    return more


def _width(label: str, cells: Iterable[str]) -> int:
    """The letters that a column takes: its longest cell, or word of its heading, and a space on each side."""
    return max(map(len, (*label.split(), *cells))) + 2


def at_heads(along: str) -> list[str]:
    """The heads of the columns that say where along a curve a row is."""
    return ["level", "sparsity"] if along == "level" else [COLUMNS[along].called]


def at_cells(row: "Mapping[Any, Any] | pd.Series[Any]", along: str) -> list[str]:
    """The cells of `row` below `at_heads`."""
    return [f"{row[along]:.10g}", *([f"{row['sparsity']:.2%}"] if along == "level" else [])]


def cell(mean: float, std: float, unit: str) -> str:
    """A mean and its spread: shares in percent, other numbers to three digits."""
    if mean != mean:
        return "-"
    if unit == "share":
        return f"{100 * mean:.1f}" + ("" if std != std else f" ±{100 * std:.1f}")
    decimals = max(0, 2 - floor(log10(abs(mean)))) if 1e-3 <= abs(mean) < 1e6 else None
    number = f"{mean:.2g}" if decimals is None and mean else f"{mean:.{decimals or 0}f}"
    return number + ("" if std != std else f" ±{std:.2g}" if decimals is None else f" ±{std:.{decimals}f}")


def sizes(
    values: "pd.DataFrame",
    cells: Callable[[Mapping[Any, Any]], dict[str, str]],
    settings: Sequence[str],
    title: str,
    along: str = "level",
) -> None:
    """What a verdict says of training sets of several sizes: a line a level and setting, in its cells."""
    console().print(title, style="bold", soft_wrap=True)
    rows = values.to_dict(orient="records")
    table = _table(*settings, *at_heads(along), *cells(rows[0]))
    for row in rows:
        setting = [str(row[name]) for name in settings]
        table.add_row(*setting, *at_cells(row, along), *cells(row).values())
    console().print(table)


def correlations(related: "pd.DataFrame", axis: str = "level") -> None:
    """How measures go with test accuracy along an axis: mean rank correlation, its spread, of how many chains."""
    if related.empty:
        return
    out = console()
    where = "a chain" if axis == "level" else axis
    out.print(f"\nrank correlation with test accuracy along {where} (Spearman)", soft_wrap=True)
    for _, row in related.iterrows():
        fields = [str(name) for name in related if name not in ("measure", "mean", "std", "n")]
        setting = ", ".join(f"{name} {row[name]}" for name in fields if row[name] != "")
        where = f" ({setting})" if setting else ""
        line = f"  {row['measure'].replace('_', ' ')}{where}: {correlation(row)}, {row['n']} chains"
        out.print(line, soft_wrap=True, highlight=False)


def correlation(row: "Mapping[Any, Any] | pd.Series[Any]") -> str:
    """A mean rank correlation and its spread over chains, where there are several. row: `mean`, `std`."""
    return f"{row['mean']:+.2f}" + ("" if row["std"] != row["std"] else f" ±{row['std']:.2f}")


def digest(lines: Iterable[tuple[str, str, str]], title: str) -> None:
    """A line a measure of one setting: its name, what it says, how that goes with test accuracy."""
    out, rows = console(), [("measure", "what it says", "correlation"), *lines]
    names, related = (max(len(row[column]) for row in rows) for column in (0, 2))
    room = 80 - names - related - 5
    out.print(title, style="bold", soft_wrap=True)
    for name, says, beside in rows:
        first, *rest = wrap(says, room if beside else room + related, break_on_hyphens=False)
        line = f" {name:<{names}}  {first:<{room}}  {beside:>{related}}".rstrip()
        for text in (line, *(f" {'':<{names}}    {more}" for more in rest)):
            out.print(text, soft_wrap=True, highlight=False, markup=False)


def _bar(share: float, width: int = 14) -> str:
    eighths = round(share * width * 8)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def listing(chains: "pd.DataFrame", fields: Sequence[str], title: str) -> None:
    """One line a chain: its id, the `fields` that tell chains apart, its levels, its accuracy at both ends."""
    console().print(title, style="bold", soft_wrap=True)
    table = _table("chain", *fields, "seed", "levels", "test: first", "last")
    table.columns[0].no_wrap, table.columns[0].justify = True, "left"
    for _, row in chains.iterrows():
        first, last, count = row["first_level"], row["last_level"], row["levels"]
        gaps = "" if count == last - first + 1 else f" ({count} of them)"
        levels = f"{first}-{last}{gaps}" if count > 1 else f"{first}"
        ends = [f"{row[f'{end}_test_accuracy']:.1%}" for end in ("first", "last")]
        table.add_row(row["chain"], *(f"{row[name]}" for name in (*fields, "seed")), levels, *ends)
    console().print(table)


def history(rows: Sequence[dict[str, str]]) -> None:
    """The last evaluations of a run: epoch, accuracies, losses."""
    shown = ("train_accuracy", "test_accuracy", "memorized", "train_loss", "test_loss")
    table = _table("epoch", *shown)
    for row in rows[-10:]:
        table.add_row(row["epoch"], *(f"{float(row[name]):.4f}" if row.get(name) else "-" for name in shown))
    console().print(table)


def verdicts(
    values: "pd.DataFrame",
    sentences: Callable[[Mapping[Any, Any]], Iterable[str]],
    note: str,
    varied: Sequence[str],
    title: str,
) -> None:
    """What the curves of each setting say, in the words of a verdict, and below all of them its note."""
    out = console()
    for _, row in values.iterrows():
        label = ", ".join(f"{name} {row[name]}" for name in varied if row[name] != "")
        out.print(f"{title}: {label}" if label else title, style="bold", soft_wrap=True)
        for sentence in sentences(row.to_dict()):
            lines = fill(sentence, 78, initial_indent="  ", subsequent_indent="    ")
            out.print(lines, soft_wrap=True, highlight=False)
    if not values.empty and note:
        out.print(fill(note, 78), soft_wrap=True, highlight=False)


def listed(names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table of words, a line a row; the last column, which may be long, is wrapped."""
    table = _table(*names)
    for column in table.columns:
        column.justify, column.no_wrap = "left", column is not table.columns[-1]
    for row in rows:
        table.add_row(*row)
    console().print(table)
