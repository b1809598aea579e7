"""Screen: tables for people, 80 columns wide, and JSON for programs. To stdout."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from math import floor, log10
from textwrap import fill
from typing import TYPE_CHECKING, Any

from sddcli.metrics import Metric

if TYPE_CHECKING:  # a help text shall not wait for what draws tables
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

MOST_COLUMNS = 4  # of numbers with their spreads fit into 80 letters
EIGHTHS = " ▏▎▍▌▋▊▉█"


def console() -> "Console":
    """Stdout, at least 80 columns wide where it is no terminal."""
    from rich.console import Console

    class Out(Console):
        def on_broken_pipe(self) -> None:  # else rich ends sdd with exit code 1
            raise BrokenPipeError

    return Out() if sys.stdout.isatty() else Out(width=max(80, Console().width))


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


def curves(summary: "pd.DataFrame", varied: Sequence[str], title: str, columns: Mapping[str, Metric]) -> None:
    """One table a curve: level, sparsity, then mean and spread over seeds of each column, and n."""
    out, columns = console(), dict(islice(columns.items(), MOST_COLUMNS))
    groups = summary.groupby(list(varied), sort=True) if varied else [((), summary)]
    low, high = summary["test_accuracy"].min(), summary["test_accuracy"].max()
    for values, curve in groups:
        label = ", ".join(f"{name} {value}" for name, value in zip(varied, values, strict=True) if value != "")
        out.print(f"{title}: {label}" if label else title, style="bold", soft_wrap=True)
        table = _table("level", "sparsity", *(metric.label for metric in columns.values()), "n")
        if "test_accuracy" in columns:
            table.add_column("test curve", no_wrap=True)
        for _, row in curve.iterrows():
            cells = [cell(row[name], row[f"{name}_std"], metric.unit) for name, metric in columns.items()]
            bar = [_bar((row["test_accuracy"] - low) / ((high - low) or 1))] if "test_accuracy" in columns else []
            table.add_row(f"{row['level']:.0f}", f"{row['sparsity']:.2%}", *cells, f"{row['n']:.0f}", *bar)
        out.print(table)


def cell(mean: float, std: float, unit: str) -> str:
    """A mean and its spread: shares in percent, other numbers to three digits."""
    if mean != mean:
        return "-"
    if unit == "share":
        return f"{100 * mean:.1f}" + ("" if std != std else f" ±{100 * std:.1f}")
    places = max(0, 2 - floor(log10(abs(mean)))) if 1e-3 <= abs(mean) < 1e6 else None
    told = f"{mean:.2g}" if places is None and mean else f"{mean:.{places or 0}f}"
    return told + ("" if std != std else f" ±{std:.2g}" if places is None else f" ±{std:.{places}f}")


def sizes(
    found: "pd.DataFrame", cells: Callable[[Mapping[Any, Any]], dict[str, str]], settings: Sequence[str], title: str
) -> None:
    """What is said of training sets of several sizes: a line a level and setting, in the cells of a verdict."""
    console().print(title, style="bold", soft_wrap=True)
    rows = found.to_dict(orient="records")
    table = _table(*settings, "level", "sparsity", *cells(rows[0]))
    for row in rows:
        setting = [str(row[name]) for name in settings]
        table.add_row(*setting, f"{row['level']}", f"{row['sparsity']:.2%}", *cells(row).values())
    console().print(table)


def correlations(found: "pd.DataFrame") -> None:
    """How measures go with test accuracy along chains: the mean rank correlation, its spread, over how many chains."""
    if found.empty:
        return
    out = console()
    out.print("\nrank correlation with test accuracy along a chain (Spearman)", soft_wrap=True)
    for _, row in found.iterrows():
        spread = "" if row["std"] != row["std"] else f" ±{row['std']:.2f}"
        told = [str(name) for name in found if name not in ("measure", "mean", "std", "n")]
        setting = ", ".join(f"{name} {row[name]}" for name in told if row[name] != "")
        where = f" ({setting})" if setting else ""
        said = f"  {row['measure'].replace('_', ' ')}{where}: {row['mean']:+.2f}{spread}, {row['n']} chains"
        out.print(said, soft_wrap=True, highlight=False)


def _bar(share: float, width: int = 14) -> str:
    eighths = round(share * width * 8)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def listing(chains: "pd.DataFrame", told: Sequence[str], title: str) -> None:
    """One line a chain: its id, the fields that tell chains apart, its levels, its accuracy at both ends."""
    console().print(title, style="bold", soft_wrap=True)
    table = _table("chain", *told, "seed", "levels", "test: first", "last")
    table.columns[0].no_wrap, table.columns[0].justify = True, "left"
    for _, row in chains.iterrows():
        first, last, count = row["first_level"], row["last_level"], row["levels"]
        gaps = "" if count == last - first + 1 else f" ({count} of them)"
        levels = f"{first}-{last}{gaps}" if count > 1 else f"{first}"
        ends = [f"{row[f'{end}_test_accuracy']:.1%}" for end in ("first", "last")]
        table.add_row(row["chain"], *(f"{row[name]}" for name in (*told, "seed")), levels, *ends)
    console().print(table)


def history(rows: Sequence[dict[str, str]]) -> None:
    """The last evaluations of a run: epoch, accuracies, losses."""
    shown = ("train_accuracy", "test_accuracy", "memorized", "train_loss", "test_loss")
    table = _table("epoch", *shown)
    for row in rows[-10:]:
        table.add_row(row["epoch"], *(f"{float(row[name]):.4f}" if row.get(name) else "-" for name in shown))
    console().print(table)


def verdicts(
    found: "pd.DataFrame",
    sentences: Callable[[Mapping[Any, Any]], Iterable[str]],
    note: str,
    varied: Sequence[str],
    title: str,
) -> None:
    """What the curves of each setting say, in the words of a verdict, and below all of them its note."""
    out = console()
    for _, row in found.iterrows():
        label = ", ".join(f"{name} {row[name]}" for name in varied if row[name] != "")
        out.print(f"{title}: {label}" if label else title, style="bold", soft_wrap=True)
        for sentence in sentences(row.to_dict()):
            lines = fill(sentence, 78, initial_indent="  ", subsequent_indent="    ")
            out.print(lines, soft_wrap=True, highlight=False)
    if not found.empty and note:
        out.print(fill(note, 78), soft_wrap=True, highlight=False)


def listed(names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table of words, a line a row; the last column, which may be long, is wrapped."""
    table = _table(*names)
    for column in table.columns:
        column.justify, column.no_wrap = "left", column is not table.columns[-1]
    for row in rows:
        table.add_row(*row)
    console().print(table)
