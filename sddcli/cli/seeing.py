"""Commands that look at finished runs: analyze, plot."""

import json
import shlex
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from sddcli.cli import screen
from sddcli.cli.options import (
    DEFAULT_RUNS,
    DataDir,
    Debug,
    Device,
    Json,
    Reads,
    Where,
    Workers,
    data_in,
    members,
    names_in,
    where_of,
)
from sddcli.core.words import unknown
from sddcli.events import Failed
from sddcli.spec import FIELDS, Value
from sddcli.store import Store, StoreError, stem_of

if TYPE_CHECKING:
    from types import ModuleType

    import pandas as pd
    from matplotlib.figure import Figure

MEASURES = sorted([*members("analyses"), *members("analyses/curves")])
X_AXES = names_in("plots.style.X_AXES")
XAxis = Annotated[str, typer.Option("--x", metavar="AXIS", help=f"Along what: {', '.join(X_AXES)}.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Figure: .png, .pdf or .svg.")]


def analyze(
    measure: Annotated[str, typer.Argument(help=f"What to measure, a list too: {', '.join(MEASURES)}, or all.")],
    runs: Annotated[Path, typer.Argument(metavar="[RUNS]", help="Folder of runs.")] = DEFAULT_RUNS,
    where: Where = [],
    device: Device = "auto",
    workers: Workers = None,
    data_dir: DataDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure finished runs; what was measured before is not computed again.

    Example: sdd analyze learning-distance runs/
    """
    data_in(data_dir)
    words = [*members("analyses"), *members("analyses/curves")] if measure == "all" else measure.split(",")
    for word in words:
        if word.split(":")[0] not in MEASURES:
            raise unknown("measure", word, MEASURES)
    store, asked = Store(runs), where_of(where)
    of_runs = [word for word in words if word not in members("analyses/curves")]
    failures = _look(store, of_runs, asked, workers, device) if of_runs else []
    from sddcli import table

    frame = table.grown(table.select(table.export(store), asked))
    shown = {
        word: _judged(store, frame, word) if word not in of_runs else _measured(store, frame, word) for word in words
    }
    shown = {word: values for word, values in shown.items() if not values.empty}
    if as_json:
        found = {word: json.loads(values.to_json(orient="records")) for word, values in shown.items()}
        print(json.dumps(found if len(words) > 1 else found.get(words[0], []), indent=1))
    else:
        for word, values in shown.items():
            _show(store, frame, word, values)
    if failures:
        raise SystemExit(4 if any(failure.damaged for failure in failures) else 3)


def _look(
    store: Store, words: list[str], asked: dict[str, list[Value]], workers: int | None, device: str
) -> list[Failed]:
    """Has analyses look at the runs that are asked for, and complains of those that they cannot measure."""
    from sddcli import table
    from sddcli.launchers import looking, machine

    ids = set(table.select(table.results(store), asked)["run"])
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("measuring runs", total=None)
        failures = looking.analyze(
            store,
            words,
            ids,
            workers or machine.crew(device),
            device,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    for failure in failures:
        print(f"sdd: {failure.run.slug} level {failure.run.level}: {failure.reason}", file=sys.stderr)
    return failures


def _measured(store: Store, frame: "pd.DataFrame", word: str) -> "pd.DataFrame":
    """What an analysis found about the runs of `frame`, and how that goes with their test accuracy, saved beside it."""
    from sddcli import table

    values = table.measured(store, word, set(frame["run"]))
    if not values.empty:
        table.save(table.correlations(frame, values), store.root, f"{word}-correlations")
    return values


def _judged(store: Store, frame: "pd.DataFrame", word: str) -> "pd.DataFrame":
    """What a measure of whole curves says of each setting, over seeds, saved."""
    from sddcli import table
    from sddcli.launchers import inline

    verdicts = table.judged(frame, inline.judge(word))
    table.save(verdicts, store.root, word)
    return verdicts


def _show(store: Store, frame: "pd.DataFrame", word: str, values: "pd.DataFrame") -> None:
    from sddcli import table

    varied, title = table.varied(frame), table.title(frame)
    if word in members("analyses/curves"):
        screen.verdicts(values, varied, title)
    else:
        columns = [str(name) for name in values if name not in ("run", "level")]
        wide = frame[[*FIELDS, "chain", "run", "sparsity", "test_accuracy"]].merge(
            values, on=["run", "level"], how="left"
        )
        screen.curves(table.summary(wide), varied, title, columns)
        screen.correlations(table.correlations(frame, values))
    print(f"\n{store.root / 'measures' / stem_of(word)}.csv. See it: sdd plot {word} {store.root}")


def plot(
    figure: Annotated[str, typer.Argument(help=f"What to draw: {', '.join(members('plots'))}.")],
    runs: Reads = DEFAULT_RUNS,
    where: Where = [],
    x: XAxis = "sparsity",
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Draw a figure from finished runs, or from a results.csv.

    Curves are told apart by every field in which the runs differ; --where narrows them. A figure of what an
    analysis found takes that one's parameters: flatness:points=51.

    Example: sdd plot double-descent runs/ --where noise=0.4 -o figure.pdf
    """
    name = figure.split(":")[0]
    if name not in members("plots"):
        raise unknown("figure", figure, members("plots"))
    if x not in X_AXES:
        raise unknown("axis", x, X_AXES)
    path = output or Path(f"{stem_of(figure)}.png")
    if path.suffix not in (".png", ".pdf", ".svg"):
        raise ValueError(f"cannot draw {path}: a figure ends in .png, .pdf or .svg")
    from sddcli import table
    from sddcli.launchers import machine
    from sddcli.plots import style

    frame = table.grown(table.select(table.read(runs), where_of(where)))
    if x != "sparsity" and frame[["weights", "examples"]].isna().any(axis=None):
        raise StoreError(f"{runs} does not say how many weights some runs kept: an older sdd wrote them")
    picture = drawn(runs, frame, summarized(frame), figure, x)
    evidence = {"runs": list(frame["run"].unique()), **machine.describe(shlex.join(["sdd", *sys.argv[1:]]))}
    style.save(picture, path, evidence)
    print(path)


def summarized(frame: "pd.DataFrame") -> "pd.DataFrame":
    """What figures are drawn from: means over seeds, the phase of each level, and the difference of two settings."""
    from sddcli import table
    from sddcli.launchers import inline

    found = table.summary(frame).merge(table.phases(frame, inline.judge("double-descent")), how="left")
    return found.merge(table.compared(frame), how="left")


def module_of(figure: str) -> "ModuleType":
    """The room of a figure, by its word."""
    return import_module(f"sddcli.plots.{figure.split(':')[0].replace('-', '_')}")


def drawn(runs: Path, frame: "pd.DataFrame", summary: "pd.DataFrame", figure: str, x: str = "sparsity") -> "Figure":
    """A figure of the rows of `frame`, which `summary` summarizes. Raises StoreError for what it needs and lacks."""
    from sddcli import table

    module = module_of(figure)
    if missing := [name for name in module.NEEDS if name not in summary]:
        raise StoreError(f"{runs} has no {missing[0]} yet; first: sdd analyze {figure} {runs}")
    rows = (table.details(runs, figure, frame, module.KEYS),) if hasattr(module, "KEYS") else ()
    picture: Figure = module.draw(summary, table.varied(frame), table.title(frame), x, *rows)
    return picture
