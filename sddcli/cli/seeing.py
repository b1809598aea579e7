"""Commands that look at finished runs: analyze, plot."""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from sddcli import sources
from sddcli.axes import AXES, axis_of
from sddcli.cli import screen
from sddcli.cli.completing import among, of_runs
from sddcli.cli.kinds import (
    KINDS,
    MEASURES,
    PAIR_KINDS,
    Kind,
    Line,
    Subjects,
    View,
    kind_of,
    module_of,
    nothing_for,
    summarized,
    viewed,
)
from sddcli.cli.options import (
    DEFAULT_RUNS,
    DataDir,
    Debug,
    Device,
    Folder,
    Json,
    Reads,
    Trust,
    Where,
    Workers,
    data_in,
    leaving_out,
    where_of,
)
from sddcli.core.own import key_of
from sddcli.core.words import UsageError, in_words, unknown
from sddcli.events import Failed
from sddcli.families import members
from sddcli.files import write
from sddcli.pairs import Pair
from sddcli.spec import FIELDS, Run, differing, named
from sddcli.store import Store, StoreError, Unwritable, stem_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MADE_BY = {"learning-order": "sdd analyze memorization {}", "risk": "sdd theory"}
"""The command that makes the numbers of a figure, where no analysis has its name; {} is the folder."""
Along = Annotated[
    str,
    typer.Option(
        "--along", metavar="AXIS", help=f"What curves run along: {', '.join(AXES)}.", autocompletion=among(AXES)
    ),
]
Panels = Annotated[
    str,
    typer.Option(
        "--panels",
        metavar="FIELD",
        help="A panel for each value of this field, beside each other, instead of a colour.",
        autocompletion=among(FIELDS),
    ),
]
Pairs = Annotated[
    str,
    typer.Option(
        "--pairs",
        metavar="|".join(PAIR_KINDS),
        help="Which runs to compare; by default redense, if there are such runs, else levels.",
        autocompletion=among(PAIR_KINDS),
    ),
]
Between = Annotated[
    list[Path],
    typer.Option(
        "--between",
        metavar="RUN",
        help="Compare this run; give the option twice, once for each of the two.",
        autocompletion=of_runs,
    ),
]
Beside = Annotated[
    list[Path],
    typer.Option("--beside", metavar="RUNS", help="Draw these runs too: another folder or table; as often as needed."),
]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="File of the figure: .png, .pdf or .svg.")
]


def analyze(
    measure: Annotated[
        str,
        typer.Argument(
            metavar="ANALYSIS",
            help=f"One or several of {', '.join(sorted(MEASURES))}; or all.",
            autocompletion=among((*sorted(MEASURES), "all")),
        ),
    ],
    runs: Folder = DEFAULT_RUNS,
    where: Where = [],
    pairs: Pairs = "",
    between: Between = [],
    along: Along = "level",
    device: Device = "auto",
    workers: Workers = None,
    data_dir: DataDir = None,
    trust: Trust = False,
    full: Annotated[bool, typer.Option("--full", help="With all: whole tables, not a line for each analysis.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure finished runs, test for double descent.

    Results of earlier calls are kept and not computed again. Some analyses take parameters: flatness:points=51.
    Curves run along pruning levels, or along any other axis in which the runs differ.

    Example: sdd analyze learning-distance runs/
    """
    data_in(data_dir)
    words = list(MEASURES) if measure == "all" else [sources.identified(word) for word in measure.split(",")]
    kinds, _ = {word: kind_of(word) for word in words}, axis_of(along)
    if (pairs or between) and KINDS["pair"] not in kinds.values():
        raise UsageError(f"--pairs and --between are for {', '.join(members(KINDS['pair'].folder))}")
    from sddcli import table
    from sddcli.launchers import looking

    asked = where_of(where)
    store, compared = _between(between) if between else (Store(runs), [])
    if trust:
        sources.trust(store)
    if store.root.is_dir():
        sources.keep(store, words=words)
    looks = {kind: kind.subjects for kind in kinds.values() if kind.subjects}
    failures, subjects = list[Failed](), dict[Kind, Subjects]()
    unsaved: dict[tuple[Run | Pair, str], Mapping[str, float | None]] = {}
    with leaving_out() as damaged:
        frame = table.select(table.results(store, damaged=damaged), asked)
        if along == "epoch" and looks:
            raise UsageError(f"{measure} looks at trained networks; along epoch there are accuracies and losses alone")
        if along not in ("level", "epoch"):
            viewed(frame, along)  # where there are no such curves, that is said before anything is measured
        ids = set(frame["run"]) if looks else set()
        finished = looking.runs(store, ids) if looks else []
        for kind, choose in looks.items():
            subjects[kind] = compared if compared and kind is KINDS["pair"] else choose(finished, pairs)
            of_kind = [word for word in kinds if kinds[word] is kind]
            if not subjects[kind] and measure != "all" and (error := nothing_for(of_kind[0], pairs)):
                raise error
            failures += _look(store, of_kind, subjects[kind], workers, device, unsaved)
        frame = table.select(table.export(store, damaged=damaged), asked)
        kept = None if not any(isinstance(error, Unwritable) for error in damaged) else unsaved
        frame = table.at_epochs(frame, store.root) if along == "epoch" else frame
        view = View(frame) if along == "level" else viewed(frame, along)
        shown = {word: kind.values(store, view, word, subjects.get(kind, ()), kept) for word, kind in kinds.items()}
        shown = {word: values for word, values in shown.items() if not values.empty}
        if not shown and len(kinds) == 1 and (error := nothing_for(words[0], pairs)):
            raise error
        if as_json:
            rows = {word: json.loads(values.to_json(orient="records")) for word, values in shown.items()}
            print(json.dumps(rows if len(words) > 1 else rows.get(words[0], []), indent=1))
        elif measure == "all" and not full:
            lines = [(word, line) for word, values in shown.items() for line in kinds[word].digest(view, word, values)]
            _digest(store.root, view, lines)
        else:
            _print_tables(store.root, view, kinds, shown, kept is None)
    if failures:
        raise SystemExit(4 if any(failure.damaged for failure in failures) else 3)


def _print_tables(
    root: Path, view: View, kinds: Mapping[str, Kind], shown: "Mapping[str, pd.DataFrame]", saved: bool
) -> None:
    """The whole table of each measure, and below it where it is saved, if it is, and the command that plots it."""
    for k, (word, values) in enumerate(shown.items()):
        print("\n" * min(k, 1), end="")
        kinds[word].show(view, word, values)
        name = stem_of(word if kinds[word].subjects else view.file(word))
        hints = [f"{root / 'measures' / name}.csv"] if saved else []
        if word.split(":")[0] in members("plots"):
            hints.append(f"to plot it: {shlex.join(['sdd', 'plot', word, str(root), *view.words])}")
        print(f"\n{'; '.join(hints)}")


def _digest(root: Path, view: View, lines: Sequence[tuple[str, Line]]) -> None:
    """A table of lines for each setting, and where the whole tables are."""
    of_settings: dict[str, list[tuple[str, str, str]]] = {}
    for word, line in lines:
        of_settings.setdefault(in_words(line.setting), []).append((word, line.says, line.correlation))
    for label, rows in of_settings.items():
        screen.digest(sorted(rows, key=lambda row: bool(row[-1])), f"{view.title}: {label}" if label else view.title)
    of, along = ("level", "a chain") if view.column == "level" else (f"value of {view.axis}", view.axis)
    print(f"\nNumbers: means over seeds at the first {of} and at the last. Correlation: of")
    print(f"ranks with those of test accuracy along {along}, mean ± spread over chains.")
    print(f"Tables: {root / 'measures'}/MEASURE.csv")
    print(f"All of them on the screen: {shlex.join(['sdd', 'analyze', 'all', str(root), *view.words, '--full'])}")


def _between(folders: list[Path]) -> tuple[Store, list[Pair]]:
    """The store of two runs' folders, and their pair."""
    if len(folders) != 2:
        raise UsageError(f"--between is given twice, once for each of two runs; here it is given {len(folders)} times")
    (store, a), (other, b) = map(Store.holding, folders)
    if store.root.resolve() != other.root.resolve():
        raise UsageError(f"two runs of one folder can be compared, and these are in {store.root} and {other.root}")
    for run in (a, b):
        if not store.finished(run):
            raise UsageError(f"{store.folder(run)} is not finished; first: sdd retrain {store.folder(run)}")
    return store, [Pair(a, b)]


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

    progress = Progress(console=screen.errors(), transient=True)
    with progress if sys.stderr.isatty() else nullcontext():  # one that is not shown has rich write an empty line
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


def plot(
    figure: Annotated[
        str,
        typer.Argument(
            metavar="FIGURE", help=f"One of {', '.join(members('plots'))}.", autocompletion=among(members("plots"))
        ),
    ],
    runs: Reads = DEFAULT_RUNS,
    where: Where = [],
    along: Along = "",
    panels: Panels = "",
    beside: Beside = [],
    output: Output = None,
    debug: Debug = False,
) -> None:
    """Draw a figure from finished runs.

    There is one curve for each setting in which the runs differ; --where selects some of them. Curves run along
    sparsity unless --along says otherwise. A figure of an analysis takes the same parameters as the analysis:
    flatness:points=51.

    Example: sdd plot double-descent runs/ --where noise=0.4 -o figure.pdf
    """
    path = output or Path(f"{stem_of(figure)}.png".replace(".py,", "-"))
    figure = sources.identified(figure)
    if figure.split(":")[0] not in members("plots") and not key_of(figure):
        raise unknown("figure", figure, members("plots"))
    axis_of(along or "sparsity")
    must_be_picture(path)
    asked = where_of(where)
    if panels and panels not in FIELDS:
        raise unknown("field", panels, FIELDS)
    from sddcli import table
    from sddcli.launchers import machine
    from sddcli.plots import style

    module = module_of("plots", figure)
    runs, *beside = [_table_of(figure, module, each) for each in (runs, *beside)]
    with leaving_out() as damaged:
        frames = {each: table.read(each, damaged) for each in (runs, *beside)}
        if along == "epoch":
            frames = {each: table.at_epochs(frame, each) for each, frame in frames.items()}
        frame = table.select(table.beside(list(frames.values())), asked)
        usual = getattr(module, "ALONG", "")
        if usual and axis_of(usual).values(frame).nunique() > 1:
            along = along or usual
        # Runs of one level are drawn as points, unless curves along it are asked for.
        view = viewed(frame, along) if along else View(table.grown(frame), "sparsity")
        missing = bool(along) and axis_of(along).values(view.frame).isna().any()
        if missing and (analysis := axis_of(along).analysis):
            raise StoreError(f"{runs} has no {axis_of(along).label} yet; first: sdd analyze {analysis} {runs}")
        if missing:
            raise StoreError(f"{runs} does not say the {axis_of(along).label} of some runs: an older sdd wrote them")
        frame = view.curves
        picture = drawn(runs, frame, summarized(frame, view.column), figure, view.axis, view.column, panels)
        evidence = {"runs": list(frame["run"].unique()), **machine.describe(shlex.join(["sdd", *sys.argv[1:]]))}
        whole = path.resolve() if path.is_symlink() else path  # a link stays one
        write(whole, style.rendered(picture, path.suffix, evidence))
        print(path)


def _table_of(figure: str, module: ModuleType, runs: Path) -> Path:
    """What a figure draws of `runs`: the table in this folder that is its own, where it has one, else all of it.

    Raises StoreError where the folder lacks that table.
    """
    if not hasattr(module, "FILE") or runs.suffix == ".csv":
        return runs
    table = runs / str(module.FILE)
    if not table.exists():
        raise StoreError(f"no {table}, which {figure} shows; first: {MADE_BY[figure]} -o {shlex.quote(str(table))}")
    return table


def must_be_picture(path: Path) -> None:
    """Raises UsageError for a file whose name does not end as that of a figure."""
    if path.suffix not in (".png", ".pdf", ".svg"):
        raise UsageError(f"cannot draw {path}: a figure ends in .png, .pdf or .svg")


def drawn(
    runs: Path,
    frame: "pd.DataFrame",
    summary: "pd.DataFrame",
    figure: str,
    x: str = "sparsity",
    column: str = "level",
    panels: str = "",
) -> "Figure":
    """A figure of the rows of `frame`, which `summary` summarizes, along the axis `x`, which is `column` of theirs.

    panels: the field whose values have a panel each. Raises StoreError for what it needs and lacks, and UsageError for
    a figure that knows levels alone along another column, and for panels that it cannot have.
    """
    from sddcli import table

    module = module_of("plots", figure)
    missing = [name for name in module.NEEDS if name not in summary]
    if missing and MEASURES.get(figure.split(":")[0]) == "sizes" and (error := nothing_for(figure)):
        raise error
    if missing:
        made_by = MADE_BY.get(figure.split(":")[0], f"sdd analyze {figure} {{}}").format(runs)
        raise StoreError(f"{runs} has no {missing[0]} yet; first: {made_by}")
    if (hasattr(module, "KEYS") or hasattr(module, "EQUAL_WEIGHTS")) and column != "level":
        axes = [name for name, axis in AXES.items() if "level" in axis.columns]
        raise UsageError(f"{figure} shows single levels, and is drawn along {', '.join(axes)} of them, not along {x}")
    name = getattr(module, "TABLE", figure)
    rows = (table.details(runs, name, frame, module.KEYS, column),) if hasattr(module, "KEYS") else ()
    rows = (table.at_equal_weights(frame),) if hasattr(module, "EQUAL_WEIGHTS") else rows
    summary = table.counted(summary, frame, [name for name in module.NEEDS if name in frame], column)
    varied = table.varied(frame, column)
    split = {"panels": _split(figure, panels, varied)} if panels else {}
    picture: Figure = module.draw(summary, varied, table.title(frame, column), x, *rows, **split)
    return picture


def _split(figure: str, panels: str, varied: Sequence[str]) -> str:
    """The field whose values have a panel each. Raises UsageError where runs or figure know no such panels."""
    able = [name for name in members("plots") if "panels" in signature(module_of("plots", name).draw).parameters]
    if figure.split(":")[0] not in able:
        raise UsageError(f"--panels is for {', '.join(able)}, and not for {figure}")
    if panels not in varied:
        raise UsageError(
            f"cannot draw a panel for each {panels!r}; these runs differ in {', '.join(varied) or 'nothing'}"
        )
    return panels
