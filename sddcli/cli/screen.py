"""Screen: tables for people, 80 columns wide, and JSON for programs. To stdout."""

import sys
from collections.abc import Iterator, Sequence
from math import floor, log10
from textwrap import fill
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a help text shall not wait for what draws tables
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

MOST_COLUMNS = 4  # of numbers with their spreads fit into 80 letters
SHARES = ("accuracy", "memorized", "share")
"""How the names of numbers end that are printed in percent."""
EIGHTHS = " ▏▎▍▌▋▊▉█"


def console() -> "Console":
    """Stdout, at least 80 columns wide where it is no terminal."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=max(80, Console().width))


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


def curves(summary: "pd.DataFrame", varied: Sequence[str], title: str, columns: Sequence[str]) -> None:
    """One table a curve: level, sparsity, then mean and spread over seeds of each column, and n."""
    out, columns = console(), columns[:MOST_COLUMNS]
    groups = summary.groupby(list(varied), sort=True) if varied else [((), summary)]
    low, high = summary["test_accuracy"].min(), summary["test_accuracy"].max()
    for values, curve in groups:
        label = ", ".join(f"{name} {value}" for name, value in zip(varied, values, strict=True))
        out.print(f"{title}: {label}" if label else title, style="bold", soft_wrap=True)
        table = _table("level", "sparsity", *(name.replace("_accuracy", "") for name in columns), "n")
        if "test_accuracy" in columns:
            table.add_column("test curve", no_wrap=True)
        for _, row in curve.iterrows():
            cells = [cell(row[name], row[f"{name}_std"], name.endswith(SHARES)) for name in columns]
            bar = [_bar((row["test_accuracy"] - low) / ((high - low) or 1))] if "test_accuracy" in columns else []
            table.add_row(f"{row['level']:.0f}", f"{row['sparsity']:.2%}", *cells, f"{row['n']:.0f}", *bar)
        out.print(table)


def cell(mean: float, std: float, share: bool) -> str:
    """A mean and its spread: shares in percent, other numbers to three digits."""
    if mean != mean:
        return "-"
    if share:
        return f"{100 * mean:.1f}" + ("" if std != std else f" ±{100 * std:.1f}")
    places = max(0, 2 - floor(log10(abs(mean)))) if 1e-3 <= abs(mean) < 1e6 else None
    told = f"{mean:.2g}" if places is None and mean else f"{mean:.{places or 0}f}"
    return told + ("" if std != std else f" ±{std:.2g}" if places is None else f" ±{std:.{places}f}")


def sizes(found: "pd.DataFrame", title: str) -> None:
    """How many training examples each level can fit, a line a level and setting."""
    console().print(title, style="bold", soft_wrap=True)
    told = [str(name) for name in found if name not in ("level", "sparsity", "effective_complexity", "at_least")]
    table = _table(*told, "level", "sparsity", "examples fitted")
    for _, row in found.iterrows():
        n = row["effective_complexity"]
        fitted = "none" if n is None or n != n else f"{'at least ' if row['at_least'] else ''}{n:.0f}"
        table.add_row(*(str(row[name]) for name in told), f"{row['level']}", f"{row['sparsity']:.2%}", fitted)
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
        setting = ", ".join(f"{name} {row[name]}" for name in told)
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


BRACKETS = (
    "In brackets: 95% confidence intervals over seeds. Levels are read from the smoothed mean curve; differences are "
    "measured on the same curve, which makes them too large on average."
)


def verdicts(found: "pd.DataFrame", varied: Sequence[str], title: str) -> None:
    """What the curves of each setting say about double descent, in words."""
    out = console()
    for _, row in found.iterrows():
        label = ", ".join(f"{name} {row[name]}" for name in varied)
        out.print(f"{title}: {label}" if label else title, style="bold", soft_wrap=True)
        for sentence in verdict(row):
            told = fill(sentence, 78, initial_indent="  ", subsequent_indent="    ")
            out.print(told, soft_wrap=True, highlight=False)
    if not found.empty:
        out.print(fill(BRACKETS, 78), soft_wrap=True, highlight=False)


def verdict(row: "pd.Series[Any]") -> Iterator[str]:
    """What is said of double descent in one setting, sentence by sentence; row: one of `table.judged`."""
    n = f"{row['n']} seeds" if row["n"] > 1 else "1 seed"
    if row["p"] is None or row["p"] != row["p"]:
        few = "one seed, and noise is estimated from two or more" if row["n"] < 2 else "fewer than four levels"
        yield f"not tested: {few}"
    else:
        dips = row["p"] < 0.05
        found = "the curve turns more than once, but smoothed it has no dip" if dips else "the dip could be chance"
        yield f"{'double descent' if row['found'] else f'no double descent: {found}'} (p = {row['p']:.2g}, {n})"
        if row["n"] < 3:
            yield "fewer than 3 seeds are too few to trust"
    if row["fitted"] == row["fitted"] and row["fitted"] is not None:
        yield f"the last level with 99% train accuracy is {row['fitted']:.0f} ({row['fitted_sparsity']:.2%} sparse)"
    else:
        yield "train accuracy is below 99% at every level"
    if row["valley"] != row["peak"]:
        valley, peak = (
            f"{at} at level {row[at]}{_between(row, at, '.0f')} ({row[f'{at}_sparsity']:.2%})"
            for at in ("valley", "peak")
        )
        yield f"{valley}, {_points(row, 'dip')} below the best before it" if row["dip"] > 0 else valley
        yield f"{peak}, {_points(row, 'rise')} above the valley, {_points(row, 'gain')} above the dense network"
    if row["judged_to"] < row["last_level"]:
        yield f"judged up to level {row['judged_to']}, which all chains have; some go on to {row['last_level']}"
    if row["valley"] != row["peak"] and row["peak_high"] == row["judged_to"]:
        yield f"the peak may lie beyond level {row['judged_to']}, where the curve ends"
    if 1 < row["seed_values"] < row["n"]:
        shared = f"its {row['n']} chains share seeds, {row['seed_values']} of a kind"
        yield f"{shared}: p is too small, and intervals are too narrow"
    if row["phases"]:
        yield f"phases: {row['phases']}"


def _points(row: "pd.Series[Any]", name: str) -> str:
    """A difference of accuracies in percentage points, with its 95 % t-interval over seeds."""
    return f"{100 * row[name]:.1f} points{_between(row, name, '.1f', 100)}"


def _between(row: "pd.Series[Any]", name: str, form: str, times: float = 1) -> str:
    """The 95 % interval of what `row` says under a name, where it has one."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f" [{times * low:{form}}, {times * high:{form}}]" if low is not None and low == low else ""
