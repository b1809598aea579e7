"""Commands that look at finished runs: analyze, plot."""

import json
import shlex
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from sddcli.cli import screen
from sddcli.cli.options import DEFAULT_RUNS, Debug, Json, Reads, Where, members, names_in, where_of
from sddcli.core.words import unknown
from sddcli.spec import Value
from sddcli.store import Store, StoreError

MEASURES = sorted([*members("analyses"), *members("analyses/curves")])
X_AXES = names_in("plots.style.X_AXES")
XAxis = Annotated[str, typer.Option("--x", metavar="AXIS", help=f"Along what: {', '.join(X_AXES)}.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Figure: .png, .pdf or .svg.")]


def analyze(
    measure: Annotated[str, typer.Argument(help=f"What to measure: {', '.join(MEASURES)}.")],
    runs: Annotated[Path, typer.Argument(metavar="[RUNS]", help="Folder of runs.")] = DEFAULT_RUNS,
    where: Where = [],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure finished runs; what was measured before is not computed again.

    Example: sdd analyze learning-distance runs/
    """
    if measure not in MEASURES:
        raise unknown("measure", measure, MEASURES)
    from sddcli import table
    from sddcli.launchers import inline

    store = Store(runs)
    if measure in members("analyses/curves"):
        _judge(store, measure, where_of(where), as_json)
        return
    wanted = table.select(table.results(store), where_of(where))
    failures = inline.analyze(store, measure, set(wanted["run"]))
    for line in failures:
        print(f"sdd: {line}", file=sys.stderr)
    frame = table.grown(table.select(table.export(store), where_of(where)))
    values = table.measured(store, measure, set(frame["run"]))
    if as_json:
        print(json.dumps(values.to_dict(orient="records"), indent=1))
    else:
        columns = [str(name) for name in values if name not in ("run", "level")]
        screen.curves(table.summary(frame), table.varied(frame), table.title(frame), columns)
        print(f"\n{store.root / 'measures' / measure}.csv. See it: sdd plot {measure} {store.root}")
    if failures:
        raise SystemExit(4)


def _judge(store: Store, measure: str, where: dict[str, list[Value]], as_json: bool) -> None:
    """Has a measure of whole curves look at those of each setting, over seeds."""
    from sddcli import table
    from sddcli.launchers import inline

    frame = table.grown(table.select(table.results(store), where))
    verdicts = table.judged(frame, inline.judge(measure))
    path = table.save(verdicts, store.root, measure)
    if as_json:
        print(verdicts.to_json(orient="records", indent=1))
        return
    screen.verdicts(verdicts, table.varied(frame), table.title(frame))
    print(f"\n{path}. See it: sdd plot {measure} {store.root}")


def plot(
    figure: Annotated[str, typer.Argument(help=f"What to draw: {', '.join(members('plots'))}.")],
    runs: Reads = DEFAULT_RUNS,
    where: Where = [],
    x: XAxis = "sparsity",
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Draw a figure from finished runs, or from a results.csv.

    Curves are told apart by every field in which the runs differ; --where narrows them.

    Example: sdd plot double-descent runs/ --where noise=0.4 -o figure.pdf
    """
    if figure not in members("plots"):
        raise unknown("figure", figure, members("plots"))
    if x not in X_AXES:
        raise unknown("axis", x, X_AXES)
    path = output or Path(f"{figure}.png")
    if path.suffix not in (".png", ".pdf", ".svg"):
        raise ValueError(f"cannot draw {path}: a figure ends in .png, .pdf or .svg")
    from sddcli import table
    from sddcli.launchers import inline, machine
    from sddcli.plots import style

    frame = table.grown(table.select(table.read(runs), where_of(where)))
    drawn = import_module(f"sddcli.plots.{figure.replace('-', '_')}")
    summary = table.summary(frame).merge(table.phases(frame, inline.judge("double-descent")), how="left")
    if missing := [name for name in drawn.NEEDS if name not in summary]:
        raise StoreError(f"{runs} has no {missing[0]} yet; first: sdd analyze {figure} {runs}")
    if x != "sparsity" and frame[["weights", "examples"]].isna().any(axis=None):
        raise StoreError(f"{runs} does not say how many weights some runs kept: an older sdd wrote them")
    picture = drawn.draw(summary, table.varied(frame), table.title(frame), x)
    evidence = {"runs": list(frame["run"].unique()), **machine.describe(shlex.join(["sdd", *sys.argv[1:]]))}
    style.save(picture, path, evidence)
    print(path)
