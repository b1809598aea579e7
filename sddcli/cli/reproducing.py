"""The command that makes figures and claims of papers by name: reproduce."""

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from sddcli import resolve
from sddcli.cli import screen
from sddcli.cli.kinds import View, kind_of, summarized
from sddcli.cli.making import How, complain, end, made, price
from sddcli.cli.options import (
    DEFAULT_RUNS,
    DataDir,
    Debug,
    Device,
    Json,
    Threads,
    Workers,
    Writes,
    data_in,
    leaving_out,
)
from sddcli.cli.progress import spoken_time
from sddcli.cli.seeing import drawn
from sddcli.core.words import UsageError, unknown
from sddcli.families import members
from sddcli.figures import FIGURES, SCALES, Sweeps
from sddcli.spec import FIELDS, Run, unfold
from sddcli.store import Store, StoreError, stem_of, write

if TYPE_CHECKING:
    import pandas as pd

    from sddcli.claims.deciding.terms import Verdict

What = Annotated[
    str, typer.Argument(metavar="NAME", help="A figure of the paper (figure-4), a claim (C3), or all. Without: a list.")
]
Scale = Annotated[
    str,
    typer.Option(
        "--scale",
        metavar="|".join(SCALES),
        help="Minutes on two cores, hours on them, or the paper's own settings on a GPU.",
    ),
]
Recorded = Annotated[
    Path | None,
    typer.Option("--recorded", metavar="DIR", help="Train nothing: decide from the results.csv files in this folder."),
]
Record = Annotated[
    Path | None,
    typer.Option(
        "--record", metavar="FILE.csv", help="Also save the results, and where they are from, for --recorded."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="File of the figure; of all: of the page, which ends in .md."),
]
ORIGINS = "origins.json"
"""Beside recorded results: file -> the commit, date, engine and command that they come from."""


class Target(NamedTuple):
    """What can be asked for by name: a figure of the paper or, with `decide`, a claim."""

    name: str
    about: str
    source: str
    sweeps: Sweeps
    plot: str
    analyses: tuple[str, ...]
    decide: "Callable[[pd.DataFrame], Verdict] | None" = None

    def asked(self, scale: str) -> tuple[Run, ...]:
        """The runs of one scale."""
        return tuple(dict.fromkeys(run for table in plan([self], scale) for run in unfold(table)))


class Result(NamedTuple):
    """What came of a target: the rows it stands on, where they are from, and of a claim the verdict."""

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
    device: Device = "auto",
    workers: Workers = None,
    threads: Threads = 1,
    data_dir: DataDir = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be trained, and what it costs.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make a figure of the paper, or test a claim, by name.

    Trains what is missing, as sdd sweep does, draws the figure, and says whether the claim holds: by a rule in its
    file, from these runs. A second call trains nothing. all does so for each claim, and writes a page.

    Example: sdd reproduce figure-4
    """
    data_in(data_dir)
    if scale not in SCALES:
        raise unknown("scale", scale, SCALES)
    if what == "all" and output and output.suffix != ".md":
        raise UsageError(f"cannot write {output}: the page of all claims ends in .md")
    targets, store = _targets(what, scale), Store(runs)
    if not what:
        _list(targets, scale, store)
        return
    how = How(device, workers, threads)
    if dry_run:
        with leaving_out() as damaged:
            price(store, plan(targets, scale), how, as_json, damaged)
        return
    if recorded:
        results = [result for target in targets for result in _from_records(recorded, target, scale, what != "all")]
        _finish(what, scale, results, recorded, output, as_json)
        return
    _, display = made(store, plan(targets, scale), how)
    complain(display, debug)
    if display.failures:
        end(display)
    results = [_from_runs(store, target, scale, how) for target in targets]
    if record:
        _save(record, results)
    _finish(what, scale, results, runs, output, as_json)


def claims() -> dict[str, Target]:
    """Each claim by its name, as its file in `sddcli/claims` has it; loads pandas."""
    found = {}
    for word in sorted(members("claims"), key=_order):
        claim = import_module(f"sddcli.claims.{word}")
        name, sentence = word[0].upper() + word[1:], str(claim.__doc__).strip()
        analyses = getattr(claim, "ANALYSES", ())
        found[name] = Target(name, sentence, claim.SOURCE, claim.SWEEPS, claim.FIGURE, analyses, claim.decide)
    return found


def _order(word: str) -> tuple[int, str]:
    return int(re.sub(r"\D", "", word) or 0), word


def figures() -> dict[str, Target]:
    """Each figure of the paper by its name."""
    source = "He et al. 2022"
    return {
        name: Target(name, each.shows, source, each.sweeps, each.plot, each.analyses) for name, each in FIGURES.items()
    }


def _targets(what: str, scale: str) -> list[Target]:
    """What a name asks for: one figure, one claim, the parts of one (C1 is C1a, C1b and C1c), or all claims.

    Raises UsageError for a name that nothing has, and for a scale that what it means lacks.
    """
    known = claims() | figures()
    if what in ("", "all"):
        return [each for each in known.values() if not what or (each.decide and scale in each.sweeps)]
    exact = [each for name, each in known.items() if name.lower() == what.lower()]
    parts = [each for name, each in known.items() if re.fullmatch(rf"{re.escape(what)}[a-z]", name, re.IGNORECASE)]
    if not exact and not parts:
        names = {name.lower(): name for name in (*known, "all")}
        nearest = [names[word] for word in get_close_matches(what.lower(), names, 1, 0.0)]
        raise UsageError(f"unknown figure or claim {what!r}; did you mean {nearest[0]!r}? sdd reproduce lists them all")
    for each in exact or parts:
        if scale not in each.sweeps:
            raise UsageError(f"{each.name} has no scale {scale}; it has: {', '.join(each.sweeps)}")
    return exact or parts


def plan(targets: Sequence[Target], scale: str) -> list[resolve.Table]:
    """The tables of values that these targets ask for, each once."""
    sweeps = {sweep.command(): sweep for target in targets for sweep in target.sweeps.get(scale, ())}
    tables = [table for each in sweeps.values() for table in resolve.plan(each.words, protocol=each.protocol)]
    return [table for k, table in enumerate(tables) if table not in tables[:k]]


def _from_runs(store: Store, target: Target, scale: str, how: How) -> Result:
    """The rows of a target's runs, after the analyses it needs, and what follows from them."""
    from sddcli import table
    from sddcli.launchers import looking, machine

    asked = target.asked(scale)
    ids = {run.id for run in asked}
    finished = looking.runs(store, ids)
    for word in ("learning-distance", *target.analyses):
        subjects = kind_of(word).subjects
        chosen = subjects(finished, "") if subjects else ()
        crew = how.workers or machine.crew(how.device)
        for failure in looking.analyze(store, [word], chosen, crew, how.device, lambda *_: None, {}):
            print(f"sdd: {failure.reason}", file=sys.stderr)
    frame = table.of_runs(table.export(store, ids), asked)
    for word in target.analyses:
        subjects = kind_of(word).subjects
        kind_of(word).values(store, View(frame), word, subjects(finished, "") if subjects else (), None)
    when = max((store.folder(run) / "manifest.json").stat().st_mtime for run in finished)
    made_by = [manifest for run, manifest in store.manifests() if run.id in ids]
    commits = {str(manifest.get("commit") or "")[:12] for manifest in made_by}
    engines = {str(manifest.get("engine") or "unknown") for manifest in made_by}
    origin = {"commit": ", ".join(sorted(commits)), "date": f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d}"}
    return _result(target, scale, frame, {**origin, "engine": ", ".join(sorted(engines)), "file": str(store.root)})


def _result(target: Target, scale: str, frame: "pd.DataFrame", origin: Mapping[str, str]) -> Result:
    return Result(target, scale, frame, origin, target.decide(frame) if target.decide else None)


def _from_records(folder: Path, target: Target, scale: str, one: bool) -> Iterator[Result]:
    """What follows for a target from recorded results; nothing where they lack runs of it.

    one: whether it is asked for alone: then that is a StoreError, as is a record that cannot be read.
    """
    import pandas as pd

    from sddcli import table

    asked = target.asked(scale)
    ids = {run.id for run in asked}
    files = {path: table.read(path) for path in sorted(folder.glob("*.csv"))}
    if not files:
        raise StoreError(f"no recorded results in {folder}; a folder of them has .csv files, which --record writes")
    origins = _origins(folder)
    held = {path: len(ids.intersection(frame["run"])) for path, frame in files.items()}
    # The record that has most of the runs comes first; of the same runs, made twice, the later one counts.
    dates = {path: origins.get(path.name, {}).get("date", "") for path in files}
    order = sorted((path for path in files if held[path]), key=lambda path: (held[path], dates[path]), reverse=True)
    used, left = list[Path](), set(ids)
    for path in order:
        if left.intersection(files[path]["run"]):
            used.append(path)
            left -= set(files[path]["run"])
    if left and one:
        raise StoreError(_lacking(target, scale, asked, left, folder, pd.concat(files.values())))
    if not left:
        frame = table.of_runs(pd.concat([files[path] for path in used]), asked).drop_duplicates(["chain", "level"])
        yield _result(
            target, scale, frame, _joined([{"file": path.name} | origins.get(path.name, {}) for path in used])
        )


def _origins(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / ORIGINS
    try:
        found: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {path}: {error}") from None
    return found


def _joined(origins: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """One origin of results that come from several: each fact with its values, each once."""
    names = dict.fromkeys(name for origin in origins for name in origin)
    return {name: ", ".join(dict.fromkeys(origin.get(name, "unknown") for origin in origins)) for name in names}


def _lacking(
    target: Target, scale: str, asked: Sequence[Run], left: set[str], folder: Path, frame: "pd.DataFrame"
) -> str:
    """Why recorded results do not do: how many runs they lack, and in which fields those they have differ."""
    make = f"to make them: sdd reproduce {target.name} --scale {scale}"
    kin = frame[frame["dataset"].isin({run.dataset for run in asked}) & (frame["level"] > 0)]
    names = [name for name in FIELDS if name not in ("level", "seed", "init_seed", "order_seed", "noise_seed")]
    pairs = [(name, set(kin[name]), {getattr(run, name) for run in asked if run.level}) for name in names]
    other = [f"{name} {_listed(there)} and not {_listed(mine)}" for name, there, mine in pairs if not there & mine]
    why = f"; those of another protocol have {', '.join(other)}" if not kin.empty and other else ""
    return f"{folder} lacks {len(left)} of the {len(asked)} runs of {target.name} at scale {scale}{why}; {make}"


def _listed(values: set[Any]) -> str:
    return "/".join(sorted(map(str, values)))


def _save(path: Path, results: Sequence[Result]) -> None:
    """Writes the rows of all results, each once, and their origin beside them."""
    import pandas as pd

    if path.suffix != ".csv":
        raise UsageError(f"cannot record in {path}: a record ends in .csv")
    rows = pd.concat([result.rows for result in results]).drop_duplicates(["chain", "level"])
    write(path, rows.to_csv(index=False, lineterminator="\n").encode())
    origin = _joined([{name: text for name, text in result.origin.items() if name != "file"} for result in results])
    names = [result.target.name for result in results]
    origin["command"] = shlex.join(["sdd", "reproduce", names[0], "--scale", results[0].scale]) if names else ""
    write(path.parent / ORIGINS, json.dumps(_origins(path.parent) | {path.name: origin}, indent=1).encode() + b"\n")


def _finish(what: str, scale: str, results: Sequence[Result], root: Path, output: Path | None, as_json: bool) -> None:
    """Says the verdicts and draws the figures; of all, writes the page instead."""
    if what == "all":
        from sddcli.cli import claimpage

        path = output or Path("claims.md")
        claimpage.write_page(path, results, figures(), scale, root)
        print(path)
        return
    for result in results:
        if as_json:
            print(json.dumps(facts(result), indent=1))
            continue
        _say(result)
        path = output if output and len(results) == 1 else Path(f"{stem_of(result.target.name)}.png")
        draw(result, root, path)
        print(path)


def facts(result: Result) -> dict[str, Any]:
    """A result as names and values, for programs."""
    verdict = result.verdict
    said = (
        {}
        if verdict is None
        else {
            "verdict": verdict.word,
            "findings": [finding._asdict() for finding in verdict.findings],
            "seeds": verdict.seeds,
            "detectable_dip": verdict.smallest,
        }
    )
    return {"name": result.target.name, "scale": result.scale, "about": result.target.about, **said}


def _say(result: Result) -> None:
    from sddcli.claims.deciding import terms

    out = screen.console()
    out.print(f"{result.target.name}: {result.target.about}", style="bold", soft_wrap=True, highlight=False)
    if result.verdict:
        out.print(f"  {result.verdict.word}", soft_wrap=True, highlight=False)
        for line in terms.sentences(result.verdict):
            out.print(f"  {line}", soft_wrap=True, highlight=False)


def draw(result: Result, root: Path, path: Path) -> None:
    """Draws the picture of a result into a file. Raises StoreError for what it needs and lacks, else as `sdd plot`."""
    from sddcli import table
    from sddcli.plots import style

    if path.suffix not in (".png", ".pdf", ".svg"):
        raise UsageError(f"cannot draw {path}: a figure ends in .png, .pdf or .svg")
    frame = _plainly(table.grown(result.rows))
    picture = drawn(root, frame, summarized(frame), result.target.plot)
    write(path, style.rendered(picture, path.suffix, {"claim": result.target.name, "scale": result.scale}))


TITLED = ("dataset", "model", "noise", "noise_kind", "criterion", "retraining")
"""The fields that the title of a figure names."""


def _plainly(frame: "pd.DataFrame") -> "pd.DataFrame":
    """`frame` without the differences that others tell as well: a data set comes with its own batch size."""
    from sddcli import table

    names, told = table.varied(frame), list[str]()

    def settings(fields: list[str]) -> int:
        return len(frame[fields].drop_duplicates()) if fields else 1

    for name in names:
        if settings([*told, name]) > settings(told):
            told.append(name)
    rest = [name for name in names if name not in told and name not in TITLED]
    return frame.assign(**{name: frame[name].iloc[0] for name in rest})


def _list(targets: Sequence[Target], scale: str, store: Store) -> None:
    """A line for each figure and claim: its scales, its runs at this one, how many are to be made, and how long."""
    from sddcli import sweeps

    with leaving_out() as damaged:
        finished = dict(store.manifests(damaged)) if store.root.is_dir() else {}
    rows, costs = [], dict[str, list[str]]()
    for target in targets:
        cells = ["-", "-", "-"]
        if scale in target.sweeps:
            if (sweeps_of := str(target.sweeps[scale])) not in costs:  # figures share them
                now = sweeps.progress(store, plan([target], scale), set[Run]().__contains__, finished)
                costs[sweeps_of] = [str(len(now.runs)), str(len(now.left)), _cost(now.left, finished)]
            cells = costs[sweeps_of]
        rows.append([target.name, _initials(target), *cells, target.about])
    screen.listed(["name", "scales", "runs", "to make", "cost", "what it is about"], rows)
    print(f"\nRuns and cost at scale {scale}. Scales: laptop, standard, paper. To make one: sdd reproduce figure-4")


def _cost(left: Sequence[Run], finished: "Mapping[Run, Any]") -> str:
    """What making these runs costs: time on one core where runs of their kind have been timed, else epochs."""
    from sddcli import sweeps

    seconds = sweeps.seconds(left, finished)
    epochs = f"{sum(run.epochs for run in left)} epochs"
    return "-" if not left else epochs if seconds is None else spoken_time(seconds)


def _initials(target: Target) -> str:
    return "".join(scale[0] if scale in target.sweeps else "-" for scale in SCALES)
