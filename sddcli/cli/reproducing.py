"""The command that makes figures and claims of papers by name: reproduce."""

import json
import shlex
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from sddcli.cli import screen, targets
from sddcli.cli.completing import among, of_targets
from sddcli.cli.kinds import ENDS, View, kind_of, summarized, viewed
from sddcli.cli.launching import How
from sddcli.cli.making import complain, end, made
from sddcli.cli.options import (
    DEFAULT_RUNS,
    DataDir,
    Debug,
    Devices,
    Json,
    Record,
    Threads,
    Workers,
    Writes,
    data_in,
    leaving_out,
    must_be_record,
)
from sddcli.cli.pricing import price
from sddcli.cli.progress import spoken_time
from sddcli.cli.seeing import drawn, must_be_picture
from sddcli.cli.targets import Target
from sddcli.core.words import UsageError, unknown
from sddcli.figures import SCALES
from sddcli.files import write
from sddcli.metrics import METRICS
from sddcli.pairs import Pair
from sddcli.spec import KINDS, Run
from sddcli.store import Manifest, Store, StoreError, stem_of

if TYPE_CHECKING:
    import pandas as pd

    from sddcli.claims.deciding.terms import Verdict
    from sddcli.studies import regression

What = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A figure of the paper (figure-4), a claim (C3), several (C3,C4), all claims (all) or figures. "
        "Without: a list.",
        autocompletion=of_targets,
    ),
]
Scale = Annotated[
    str,
    typer.Option(
        "--scale",
        metavar="|".join(SCALES),
        help="Minutes on two cores, hours on them, or the paper's own settings on a GPU.",
        autocompletion=among(SCALES),
    ),
]
Recorded = Annotated[
    Path | None,
    typer.Option("--recorded", metavar="DIR", help="Train nothing: decide from the results.csv files in this folder."),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="File of the figure, or of a page of all that is asked for, which ends in .md.",
    ),
]


PAGES = {"all": "claims.md", "figures": "figures.md"}
"""What is written to a page -> the file where none is named."""


class Result(NamedTuple):
    """What came of a target: the rows it stands on, where they are from, and the verdict of a claim, or on curves."""

    target: Target
    scale: str
    rows: "pd.DataFrame"
    origin: Mapping[str, str]
    verdict: "Verdict | None"


def reproduce(
    what: What = "",
    scale: Scale = "laptop",
    recorded: Recorded = None,
    record: Record = None,
    output: Output = None,
    runs: Writes = DEFAULT_RUNS,
    device: Devices = "auto",
    workers: Workers = None,
    threads: Threads = 1,
    data_dir: DataDir = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be trained, and what it costs.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make a figure of the paper, or test a claim, by name.

    Trains what is missing, as sdd sweep does, draws the figure, and says whether the claim holds: by a rule in its
    file, from these runs. A second call trains nothing. all does so for each claim and figures for each figure, and
    writes a page.

    Example: sdd reproduce figure-4
    """
    data_in(data_dir)
    if scale not in SCALES:
        raise unknown("scale", scale, SCALES)
    _must_be_writable_as(what, output, record)
    wanted, store = targets.named(what, scale), Store(runs)
    if not what:
        _list(wanted, scale, store, recorded)
        return
    how, plan = How(device, workers, threads), targets.plan(wanted, scale)
    if dry_run:
        with leaving_out() as damaged:
            price(store, plan, how, as_json, damaged)
        return
    if recorded:
        results = list(from_records(recorded, wanted, scale, leave_out=what in PAGES))
        _finish(what, scale, results, recorded, output, as_json)
        return
    if plan:
        _, display = made(store, plan, how)
        complain(display, debug)
        if display.failures:
            end(display)
    results = list(_from_runs(store, wanted, scale, how, leave_out=what in PAGES))
    if record and results:
        from sddcli import records

        command = shlex.join(["sdd", "reproduce", what, "--scale", scale])
        records.save(record, [each.rows for each in results], [each.origin for each in results], command)
        print(f"recorded in {record}", file=sys.stderr)
    _finish(what, scale, results, runs, output, as_json)
    if len(results) < len(wanted):
        raise SystemExit(3)


def _must_be_writable_as(what: str, output: Path | None, record: Path | None) -> None:
    """Raises UsageError for files whose names end in what is not written, before anything is trained for them."""
    if what in PAGES and output and output.suffix != ".md":
        raise UsageError(f"cannot write {output}: a page ends in .md")
    if output and output.suffix != ".md":
        must_be_picture(output)
    must_be_record(record)


def _from_runs(store: Store, wanted: Sequence[Target], scale: str, how: How, leave_out: bool) -> Iterator[Result]:
    """What follows for targets from their runs, after the analyses they need, and from their studies.

    leave_out: targets of which numbers cannot be measured are left out, and that is said. Raises StoreError for them
    otherwise.
    """
    import pandas as pd

    from sddcli import records

    for target in wanted:
        asked = target.asked(scale)
        parts = [_of_runs(store, target, asked, how)] if asked else []
        parts += [_of_study(study) for study in target.studies(scale)]
        frame = pd.concat([rows for rows, _ in parts])
        if not (why := unmeasured(target, asked, frame)):
            yield _result(target, scale, frame, records.joined([origin for _, origin in parts]))
        elif leave_out:
            print(f"sdd: {target.name} is left out: {store.root} has all runs, but {why}", file=sys.stderr)
        else:
            raise StoreError(f"{store.root} has all runs, but {why}, and {target.name} is decided by all of them")


def _of_runs(store: Store, target: Target, asked: Sequence[Run], how: How) -> "tuple[pd.DataFrame, Mapping[str, str]]":
    """The rows of a target's runs, after the analyses it needs, and where they are from."""
    from sddcli import records, table
    from sddcli.launchers import looking, machine

    ids = {run.id for run in asked}
    finished = looking.runs(store, ids)
    chosen = {
        word: subjects(finished, target.pairs) if (subjects := kind_of(word).subjects) else ()
        for word in ("learning-distance", *target.analyses)
    }
    crew = how.workers or machine.crew(how.device)
    for word, runs_or_pairs in chosen.items():
        for failure in looking.analyze(store, [word], runs_or_pairs, crew, how.device, lambda *_: None, {}):
            print(f"sdd: {failure.reason}", file=sys.stderr)
    frame = table.of_runs(table.export(store, ids), asked)
    for word in target.analyses:
        frame = _beside(frame, word, kind_of(word).values(store, View(frame), word, chosen[word], None))
    return frame, records.origin_of(store, ids)


def _of_study(study: "regression.Study") -> "tuple[pd.DataFrame, dict[str, str]]":
    """The rows of a study, and where they are from: this code, now."""
    import pandas as pd

    from sddcli import table
    from sddcli.launchers import machine
    from sddcli.studies import regression

    origin = {"commit": str(machine.here()["commit"] or "unknown")[:12], "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    rows = table.completed(pd.DataFrame(regression.rows(study)))
    return rows, {**origin, "engine": machine.UNTRAINED, "file": "sdd theory"}


def _beside(frame: "pd.DataFrame", word: str, values: "pd.DataFrame") -> "pd.DataFrame":
    """`frame` with what an analysis says of each run, or of the pair that ends at it, a column each number.

    What analyses of runs say with their usual parameters is there already; with others they say it instead.
    """
    kept = () if ":" in word else frame.columns
    numbers = [name for name in values if name not in kept and name not in (*ENDS, "run", "level")]
    return frame.drop(columns=numbers, errors="ignore").merge(values[["run", *numbers]], on="run", how="left")


def _result(target: Target, scale: str, frame: "pd.DataFrame", origin: Mapping[str, str]) -> Result:
    from sddcli.claims.deciding import terms

    verdict = target.decide(frame) if target.decide else terms.curves(_plainly(frame))
    return Result(target, scale, frame, origin, verdict)


def from_records(folder: Path, wanted: Sequence[Target], scale: str, leave_out: bool) -> Iterator[Result]:
    """What follows for targets from recorded results.

    leave_out: targets of which runs, or numbers of them, are not recorded are left out. Raises StoreError for them
    otherwise, and for records that cannot be read.
    """
    from sddcli import records
    from sddcli.studies import regression

    kept = records.read(folder)
    for target in wanted:
        asked = target.asked(scale)
        studied = {run for study in target.studies(scale) for run in regression.ids(study)}
        why = records.missing(kept, asked, studied)
        rows = None if why else records.rows(kept, asked, target.needs, studied)
        if rows and (lacking := unmeasured(target, asked, rows[0])):
            why = f"{rows[1]['file']} in {folder} has all runs, but {lacking}"
        if not why and rows:
            yield _result(target, scale, *rows)
        elif not leave_out:
            command = shlex.join(["sdd", "reproduce", target.name, "--scale", scale])
            raise StoreError(f"{why}; to make those of {target.name}: {command}")


def unmeasured(target: Target, asked: Sequence[Run], frame: "pd.DataFrame") -> str:
    """The first number that a claim needs and that some rows lack, of the runs it is measured of; "" where none does.

    A verdict on the other rows would be one on a part of the runs that the claim names.
    """
    for name in target.needs:
        measuring = "training" if name in METRICS else " and ".join(target.analyses) or "learning-distance"
        rows = frame[frame["run"].isin(_measured_of(target, name, asked))]
        lacking = int(rows[name].isna().sum()) if name in rows else len(rows)
        if lacking:
            return f"{lacking} of {len(rows)} rows lack {name}, which {measuring} measures"
    return ""


def _measured_of(target: Target, name: str, asked: Sequence[Run]) -> set[str]:
    """The ids of the runs that have a number: all that an analysis looks at, of a pair the second one.

    Of numbers of training these are the pruned runs: what dense ones have too, no claim has to ask for.
    """
    if name in METRICS:
        return {run.id for run in asked if run.level}
    kinds = [kind_of(word) for word in target.analyses or ("learning-distance",)]
    subjects = [each for kind in kinds if kind.subjects for each in kind.subjects(asked, target.pairs)]
    return {(each.b if isinstance(each, Pair) else each).id for each in subjects}


def _finish(what: str, scale: str, results: Sequence[Result], root: Path, output: Path | None, as_json: bool) -> None:
    """Says the verdicts and draws the figures; of all claims or figures, writes the page instead."""
    if what in PAGES or (output and output.suffix == ".md"):
        from sddcli.cli import markdown

        path = output or Path(PAGES[what])
        decided = [result for result in results if result.target.decide]
        if decided or what == "all":
            markdown.write_claims(path, decided, scale, root)
        else:
            markdown.write_figures(path, results, scale, root)
        print(path)
        return
    if as_json:
        rows = [facts(result) for result in results]
        print(json.dumps(rows if len(rows) > 1 else rows[0], indent=1))
        return
    for result in results:
        _say(result)
        path = output if output and len(results) == 1 else Path(f"{stem_of(result.target.name)}.png")
        draw(result, root, path)
        print(path)


def facts(result: Result) -> dict[str, Any]:
    """A result as names and values, for programs."""
    verdict = result.verdict
    about = {"name": result.target.name, "scale": result.scale, "about": result.target.about}
    if verdict is None:
        return about
    findings = [finding._asdict() for finding in verdict.findings]
    return about | {
        "verdict": verdict.word,
        "findings": findings,
        "seeds": verdict.seeds,
        "detectable_dip": verdict.smallest,
    }


def _say(result: Result) -> None:
    from sddcli.claims.deciding import terms

    out = screen.console()
    out.print(f"{result.target.name}: {result.target.about}", style="bold", soft_wrap=True, highlight=False)
    if result.verdict:
        out.print(f"  {result.verdict.word}", soft_wrap=True, highlight=False)
        for line in terms.sentences(result.verdict):
            out.print(f"  {line}", soft_wrap=True, highlight=False)


def panels_of(result: Result) -> str:
    """The field whose values have a panel each here: at a scale of one data set there are no panels of several."""
    panels = result.target.panels
    return panels if panels in result.rows and result.rows[panels].nunique() > 1 else ""


def draw(result: Result, root: Path, path: Path) -> None:
    """Draws the picture of a result into a file. Raises StoreError for what it needs and lacks, else as `sdd plot`."""
    from sddcli import table
    from sddcli.plots import style

    must_be_picture(path)
    frame = _plainly(table.grown(table.select(result.rows, result.target.shown)))
    view = viewed(frame, result.target.along) if result.target.along else View(frame, "sparsity")
    panels = panels_of(result)
    summary = summarized(view.curves, view.column)
    picture = drawn(root, view.curves, summary, result.target.plot, view.axis, view.column, panels=panels)
    write(path, style.rendered(picture, path.suffix, {"claim": result.target.name, "scale": result.scale}))


TITLED = ("dataset", "model", "noise", "noise_kind", "criterion", "retraining")
"""The fields that the title of a figure names."""


def _plainly(frame: "pd.DataFrame") -> "pd.DataFrame":
    """`frame` without differences that follow from others, numbers rather than words: each data set comes with its own
    batch size."""
    from sddcli import table

    needed = table.varied(frame)
    many = len(frame[needed].drop_duplicates())
    for name in sorted((each for each in needed if each not in TITLED), key=lambda each: KINDS[each] is str):
        others = [each for each in needed if each != name]
        if others and len(frame[others].drop_duplicates()) == many:
            needed = others
    rest = [name for name in table.varied(frame) if name not in needed]
    return frame.assign(**{name: frame[name].iloc[0] for name in rest})


def _list(wanted: Sequence[Target], scale: str, store: Store, recorded: Path | None) -> None:
    """A line for each figure and claim: its state, what making the rest of it costs, what it is about.

    Its state is the verdict that follows from recorded results, where it has one, else how many of its runs are made.
    """
    verdicts: dict[str, str] = {}
    if recorded:
        decided = [each for each in wanted if each.decide and scale in each.sweeps]
        results = from_records(recorded, decided, scale, leave_out=True)
        verdicts = {each.target.name: each.verdict.word for each in results if each.verdict}
    with leaving_out() as damaged:
        finished = dict(store.manifests(damaged)) if store.root.is_dir() else {}
    costs = dict[str, list[str]]()
    for target in wanted:  # figures share sweeps
        if str(target.sweeps.get(scale)) not in costs:
            costs[str(target.sweeps.get(scale))] = _state(target, scale, store, finished)
    rows = [[each.name, *costs[str(each.sweeps.get(scale))], each.about] for each in wanted]
    rows = [[name, verdicts.get(name, state), cost, about] for name, state, cost, about in rows]
    screen.listed(["name", "state", "to make", "what it is about"], rows)
    print(f"\nScale: {scale}, of {', '.join(SCALES)}. To make one: sdd reproduce figure-4")
    if not recorded:
        print("With the verdicts of recorded results: sdd reproduce --recorded docs/evidence")


def _state(target: Target, scale: str, store: Store, finished: Mapping[Run, Manifest]) -> list[str]:
    """How many of a target's runs are made, in words, and what the others cost."""
    from sddcli import sweeps

    if scale not in target.sweeps:
        return ["not at this scale", "-"]
    plan = targets.plan([target], scale)
    if not plan:
        return ["trains nothing", "seconds"]
    now = sweeps.progress(store, plan, set[Run]().__contains__, finished)
    some = f"{len(now.runs) - len(now.left)} of {len(now.runs)} runs"
    state = "made" if not now.left else "to make" if len(now.left) == len(now.runs) else some
    return [state, _cost(now.left, finished)]


def _cost(left: Collection[Run], finished: Mapping[Run, Manifest]) -> str:
    """What making these runs costs: time on one core where runs of their kind have been timed, else epochs."""
    from sddcli import sweeps

    seconds = sweeps.seconds(left, finished)
    lengths = {"epochs": sum(run.epochs for run in left), "steps": sum(run.steps for run in left)}
    words = " and ".join(f"{number} {unit}" for unit, number in lengths.items() if number)
    return "-" if not left else words if seconds is None else spoken_time(seconds)
