"""Commands that look at finished runs: analyze, plot."""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sddcli.cli import screen
from sddcli.cli.options import (
    DEFAULT_RUNS,
    DataDir,
    Debug,
    Device,
    Folder,
    Json,
    Reads,
    Where,
    Workers,
    data_in,
    leaving_out,
    members,
    names_in,
    where_of,
)
from sddcli.core.words import UsageError, unknown
from sddcli.events import Failed
from sddcli.pairs import Pair, natural
from sddcli.spec import FIELDS, Run, differing, named
from sddcli.store import Store, StoreError, Unwritable, stem_of, write

if TYPE_CHECKING:
    from types import ModuleType

    import pandas as pd
    from matplotlib.figure import Figure

    from sddcli.table import Unsaved

FOLDERS = ("analyses", "verdicts", "analyses/pairs", "verdicts/sizes")
MEASURES = {name: folder for folder in FOLDERS for name in members(folder)}
"""Each analysis, and the folder that says what it looks at: a run, whole curves, a pair of runs, or several sizes."""
MADE_BY = {"learning-order": "memorization"}
"""The analysis whose numbers a figure shows, where that has another name."""
PAIR_KINDS = names_in("pairs.PAIRS")
ENDS = ("other", "other_level", "kind")  # what tells pairs apart, of which run and level are one end
X_AXES = names_in("plots.style.X_AXES")
XAxis = Annotated[str, typer.Option("--x", metavar="AXIS", help=f"Horizontal axis: {', '.join(X_AXES)}.")]
Pairs = Annotated[
    str,
    typer.Option(
        "--pairs",
        metavar="|".join(PAIR_KINDS),
        help="Which runs to compare; by default redense, if there are such runs, else levels.",
    ),
]
Between = Annotated[
    list[Path],
    typer.Option("--between", metavar="RUN", help="Compare this run; give the option twice, once for each of the two."),
]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="File of the figure: .png, .pdf or .svg.")
]


def analyze(
    measure: Annotated[
        str, typer.Argument(metavar="ANALYSIS", help=f"One or several of {', '.join(sorted(MEASURES))}; or all.")
    ],
    runs: Folder = DEFAULT_RUNS,
    where: Where = [],
    pairs: Pairs = "",
    between: Between = [],
    device: Device = "auto",
    workers: Workers = None,
    data_dir: DataDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure finished runs, test for double descent.

    Results of earlier calls are kept and not computed again. Some analyses take parameters: flatness:points=51.

    Example: sdd analyze learning-distance runs/
    """
    data_in(data_dir)
    words = list(MEASURES) if measure == "all" else measure.split(",")
    for word in words:
        if word.split(":")[0] not in MEASURES:
            raise unknown("measure", word, MEASURES)
    of = {folder: [word for word in words if MEASURES[word.split(":")[0]] == folder] for folder in FOLDERS}
    if (pairs or between) and not of["analyses/pairs"]:
        raise UsageError(f"--pairs and --between are for {', '.join(members('analyses/pairs'))}")
    from sddcli import table
    from sddcli.launchers import looking

    asked = where_of(where)
    store, compared = _between(between) if between else (Store(runs), [])
    failures: list[Failed] = []
    unsaved: dict[tuple[Run | Pair, str], Mapping[str, float | None]] = {}
    with leaving_out() as damaged:
        if of["analyses"] or of["analyses/pairs"]:
            finished = looking.runs(store, set(table.select(table.results(store, damaged=damaged), asked)["run"]))
            failures += _look(store, of["analyses"], finished, workers, device, unsaved)
        if of["analyses/pairs"]:
            compared = compared or (natural(finished, pairs) if measure == "all" else _natural(finished, pairs))
            failures += _look(store, of["analyses/pairs"], compared, workers, device, unsaved)
        frame = table.select(table.export(store, damaged=damaged), asked)
        kept = None if not any(isinstance(error, Unwritable) for error in damaged) else unsaved
        shown = {word: _found(store, frame, word, compared, kept) for word in words}
        shown = {word: values for word, values in shown.items() if not values.empty}
        if of["verdicts/sizes"] == words and not shown:
            raise UsageError(
                f"{words[0]} needs runs that differ in train_size; first: sdd sweep --train-size 400,800,0"
            )
        if as_json:
            found = {word: json.loads(values.to_json(orient="records")) for word, values in shown.items()}
            print(json.dumps(found if len(words) > 1 else found.get(words[0], []), indent=1))
        else:
            for word, values in shown.items():
                _show(store, frame, word, values)
    if failures:
        raise SystemExit(4 if any(failure.damaged for failure in failures) else 3)


def _between(folders: list[Path]) -> tuple[Store, list[Pair]]:
    """The store of two runs' folders, and their pair."""
    if len(folders) != 2:
        raise UsageError(f"--between is said twice, once for each of two runs, and here {len(folders)} times")
    (store, a), (other, b) = map(Store.holding, folders)
    if store.root.resolve() != other.root.resolve():
        raise UsageError(f"two runs of one folder can be compared, and these are in {store.root} and {other.root}")
    for run in (a, b):
        if not store.finished(run):
            raise UsageError(f"{store.folder(run)} is not finished; first: sdd retrain {store.folder(run)}")
    return store, [Pair(a, b)]


def _natural(finished: list[Run], kind: str) -> list[Pair]:
    if kind and kind not in PAIR_KINDS:
        raise unknown("kind of pairs", kind, PAIR_KINDS)
    if not (found := natural(finished, kind)):
        raise UsageError(f"no two of these runs are a pair of {kind or 'levels'}; any two: --between RUN --between RUN")
    return found


def _look(
    store: Store,
    words: list[str],
    subjects: Sequence[Run | Pair],
    workers: int | None,
    device: str,
    unsaved: dict[tuple[Run | Pair, str], Mapping[str, float | None]],
) -> list[Failed]:
    """Has analyses look at runs, or at pairs of them, and complains of those that they cannot measure."""
    from rich.progress import Progress

    from sddcli.launchers import looking, machine

    with Progress(console=screen.errors(), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("measuring", total=None)
        failures = looking.analyze(
            store,
            words,
            subjects,
            workers or machine.crew(device),
            device,
            lambda done, total: progress.update(task, completed=done, total=total),
            unsaved,
        )
    names = differing(run for each in subjects for run in (each if isinstance(each, Pair) else (each,)))
    for failure in failures:
        print(f"sdd: {named(failure.run, names)}: {failure.reason}", file=sys.stderr)
    return failures


def _found(
    store: Store, frame: "pd.DataFrame", word: str, compared: list[Pair], unsaved: "Unsaved | None"
) -> "pd.DataFrame":
    """What a measure says of the runs of `frame`, or of the pairs that are compared, saved."""
    from sddcli import table

    folder = MEASURES[word.split(":")[0]]
    if folder == "analyses":
        return _measured(store, table.grown(frame), word, unsaved)
    if folder == "verdicts":
        return _judged(store, table.grown(frame), word)
    if folder == "verdicts/sizes":
        return _sized(store, table.grown(frame), word)
    values = table.paired(store, word, unsaved, [])
    asked = {(pair.a.id, pair.b.id) for pair in compared}
    return values.loc[[ends in asked for ends in zip(values["other"], values["run"], strict=True)]]


def _measured(store: Store, frame: "pd.DataFrame", word: str, unsaved: "Unsaved | None") -> "pd.DataFrame":
    """What an analysis found about the runs of `frame`, and how that goes with their test accuracy, saved beside it."""
    from sddcli import table

    values = table.measured(store, word, set(frame["run"]), unsaved)
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


def _sized(store: Store, frame: "pd.DataFrame", word: str) -> "pd.DataFrame":
    """What a measure says of settings that differ in their number of training examples, saved."""
    from sddcli import table
    from sddcli.launchers import inline

    values = table.sized(frame, inline.judge(word, "verdicts/sizes"))
    if not values.empty:
        table.save(values, store.root, word)
    return values


def _show(store: Store, frame: "pd.DataFrame", word: str, values: "pd.DataFrame") -> None:
    from sddcli import table

    folder = MEASURES[word.split(":")[0]]
    frame = frame if folder == "analyses/pairs" else table.grown(frame)
    if folder == "verdicts":
        screen.verdicts(values, table.varied(frame), table.title(frame))
    elif folder == "verdicts/sizes":
        screen.sizes(values, table.title(frame))
    else:
        columns = [str(name) for name in values if name not in ("run", "level", *ENDS)]
        wide = frame[[*FIELDS, "chain", "run", "sparsity", "test_accuracy"]].merge(
            values, on=["run", "level"], how="left" if folder == "analyses" else "inner"
        )
        if not wide.empty:
            wide = wide.drop(columns=list(ENDS), errors="ignore")
            screen.curves(table.summary(wide), table.varied(wide), table.title(wide), columns)
    if folder == "analyses":
        screen.correlations(table.correlations(frame, values))
    see = shlex.join(["sdd", "plot", word, str(store.root)])
    print(f"\n{store.root / 'measures' / stem_of(word)}.csv; to plot it: {see}")


def plot(
    figure: Annotated[str, typer.Argument(metavar="FIGURE", help=f"One of {', '.join(members('plots'))}.")],
    runs: Reads = DEFAULT_RUNS,
    where: Where = [],
    x: XAxis = "sparsity",
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Draw a figure from finished runs.

    There is one curve for each setting in which the runs differ; --where selects some of them. A figure of an analysis
    takes the same parameters as the analysis: flatness:points=51.

    Example: sdd plot double-descent runs/ --where noise=0.4 -o figure.pdf
    """
    name = figure.split(":")[0]
    if name not in members("plots"):
        raise unknown("figure", figure, members("plots"))
    if x not in X_AXES:
        raise unknown("axis", x, X_AXES)
    path = output or Path(f"{stem_of(figure)}.png")
    if path.suffix not in (".png", ".pdf", ".svg"):
        raise UsageError(f"cannot draw {path}: a figure ends in .png, .pdf or .svg")
    from sddcli import table
    from sddcli.launchers import machine
    from sddcli.plots import style

    with leaving_out() as damaged:
        frame = table.grown(table.select(table.read(runs, damaged), where_of(where)))
        if x != "sparsity" and frame[["weights", "examples"]].isna().any(axis=None):
            raise StoreError(f"{runs} does not say how many weights some runs kept: an older sdd wrote them")
        picture = drawn(runs, frame, summarized(frame), figure, x)
        evidence = {"runs": list(frame["run"].unique()), **machine.describe(shlex.join(["sdd", *sys.argv[1:]]))}
        whole = path.resolve() if path.is_symlink() else path  # a link stays one
        write(whole, style.rendered(picture, path.suffix, evidence))
        print(path)


def summarized(frame: "pd.DataFrame") -> "pd.DataFrame":
    """What figures are drawn from: means over seeds, phases, what two settings differ by, how much levels fit."""
    from sddcli import table
    from sddcli.launchers import inline

    found = table.summary(frame).merge(table.phases(frame, inline.judge("double-descent")), how="left")
    found = found.merge(table.compared(frame), how="left")
    sizes = table.sized(frame, inline.judge("effective-complexity", "verdicts/sizes"))
    return found if sizes.empty else found.merge(sizes.drop(columns="sparsity"), how="left")


def module_of(figure: str) -> "ModuleType":
    """The room of a figure, by its word."""
    return import_module(f"sddcli.plots.{figure.split(':')[0].replace('-', '_')}")


def drawn(runs: Path, frame: "pd.DataFrame", summary: "pd.DataFrame", figure: str, x: str = "sparsity") -> "Figure":
    """A figure of the rows of `frame`, which `summary` summarizes. Raises StoreError for what it needs and lacks."""
    from sddcli import table

    module = module_of(figure)
    missing = [name for name in module.NEEDS if name not in summary]
    if missing and figure.split(":")[0] in members("verdicts/sizes"):
        raise UsageError(f"{figure} cannot be drawn: {runs} has no runs that differ in train_size")
    if missing:
        analysis = MADE_BY.get(figure.split(":")[0], figure)
        raise StoreError(f"{runs} has no {missing[0]} yet; first: sdd analyze {analysis} {runs}")
    rows = (table.details(runs, figure, frame, module.KEYS),) if hasattr(module, "KEYS") else ()
    summary = table.counted(summary, frame, [name for name in module.NEEDS if name in frame])
    picture: Figure = module.draw(summary, table.varied(frame), table.title(frame), x, *rows)
    return picture
