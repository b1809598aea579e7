"""Commands that make runs: sweep, and its three stages by hand."""

import shlex
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sddcli import resolve, sources
from sddcli.cli import screen
from sddcli.cli.completing import of_runs
from sddcli.cli.launching import LAUNCHERS, Cluster, How, command, make, must_fit, submit
from sddcli.cli.options import (
    DEFAULT_RUNS,
    Address,
    Checkpoints,
    DataDir,
    Debug,
    Device,
    Devices,
    FailFast,
    GpusPerTask,
    Json,
    Keep,
    On,
    Partition,
    Protocol,
    Record,
    RetryFailed,
    Sets,
    SkipBusy,
    Threads,
    Time,
    Track,
    Trust,
    Workers,
    Writes,
    data_in,
    leaving_out,
    must_be_record,
    with_fields,
)
from sddcli.cli.pricing import price
from sddcli.cli.progress import Display
from sddcli.cli.tracking import listener
from sddcli.core.words import unknown
from sddcli.events import Event, Failed, Report
from sddcli.metrics import metric_of
from sddcli.spec import BRANCH, CHAINED, FIELDS, Run, last_level, unfold
from sddcli.store import KEEPS, Store, StoreError, Unwritable

if TYPE_CHECKING:
    import pandas as pd

    from sddcli.auto import Landmarks
    from sddcli.sweeps import Progress


@with_fields()
def sweep(
    fields: dict[str, str],
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE.toml", help="The settings of a sweep in a file, see examples/.")
    ] = None,
    sets: Sets = [],
    runs: Writes = DEFAULT_RUNS,
    protocol: Protocol = "paper",
    device: Devices = "auto",
    workers: Workers = None,
    threads: Threads = 1,
    data_dir: DataDir = None,
    checkpoint_every: Checkpoints = 60.0,
    retry_failed: RetryFailed = False,
    fail_fast: FailFast = False,
    skip_busy: SkipBusy = False,
    keep: Keep = "all",
    trust: Trust = False,
    track: Track = "",
    record: Record = None,
    on: On = "",
    address: Address = "",
    gpus_per_task: GpusPerTask = None,
    partition: Partition = "",
    time: Time = "60",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be trained, and what it costs; train nothing.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train, prune and retrain networks, level by level.

    A sweep runs every combination of the values given: LIST is one value, or several as in 0,0.2,0.4 or 0-4.
    Settings that are not given have defaults for each data set (--protocol). Finished runs are kept: the same
    command continues where it stopped, and another one adds to them.

    --levels auto finds the valley and the peak of the curve with at most 40 % of the trainings: with fewer seeds
    if pruning is iterative, with fewer levels if it is one-shot. A full sweep continues from these runs.

    Example: sdd sweep --noise 0,0.4 --criterion magnitude,random --seeds 0-2
    """
    from sddcli import auto
    from sddcli.launchers import looking

    data_in(data_dir)
    must_be_record(record)
    if keep not in KEEPS:
        raise unknown("way to keep", keep, KEEPS)
    if on not in (launchers := [*filter(None, LAUNCHERS), "slurm"]) and on:
        raise unknown("launcher", on, launchers)
    store = Store(runs)
    if trust:
        sources.trust(store)
    if track:
        listener(store, track)
    looking.find_images(store)
    plan = _spelled(store, resolve.plan(fields, sets, file, protocol, _training_examples, _hint, trust))
    _say_changed(store, (run for table in plan for run in auto.runs_at_most(store, table)))
    cluster = Cluster(on, address, gpus_per_task, partition, time)
    how = How(
        device, workers, threads, checkpoint_every, retry_failed, fail_fast, skip_busy, keep, cluster, track, record
    )
    must_fit(how)
    if dry_run:
        with leaving_out() as damaged:
            price(store, plan, how, as_json, damaged)
        return
    if on == "slurm":
        submit(store, plan, how)
        return
    now, display = made(store, plan, how)
    complain(display, debug)
    keeping = (record, _asked_for(file, fields, sets, protocol)) if record else None
    _conclude(store, plan, now, display, as_json, keeping)


def _asked_for(file: Path | None, fields: dict[str, str], sets: Sequence[str], protocol: str) -> str:
    """The command of a sweep without what changes no number of it: folders, workers, devices."""
    words = ["sdd", "sweep", *([str(file)] if file else [])]
    words += [word for name, text in fields.items() for word in (f"--{name.replace('_', '-')}", text)]
    words += [word for text in sets for word in ("--set", text)]
    return shlex.join([*words, *(("--protocol", protocol) if protocol != "paper" else ())])


def _conclude(
    store: Store,
    plan: Sequence[resolve.Table],
    now: "Progress",
    display: Display,
    as_json: bool,
    keeping: tuple[Path, str] | None,
) -> None:
    """Shows and records what came of a sweep, and ends as its failures ask for. keeping: record and command."""
    from sddcli import auto, records

    with leaving_out() as damaged:
        try:
            if not set(now.asked) <= set(now.left):
                frame = _results(store, now.asked, damaged)
                if keeping:
                    path, asked_for = keeping
                    records.save(path, [frame], [records.origin_of(store, set(frame["run"]), damaged)], asked_for)
                    print(f"recorded in {path}", file=sys.stderr)
                _show(store, frame, as_json)
            failed = {failure.run for failure in display.failures}
            _print_landmarks([each for table in plan for each in auto.landmarks(store, table, failed.__contains__)])
        finally:  # also where nobody reads what is shown
            complained = {failure.reason for failure in display.failures}
            damaged[:] = [error for error in damaged if str(error) not in complained]
            if all(isinstance(error, Unwritable) for error in damaged):
                end(display)


def made(store: Store, plan: Sequence[resolve.Table], how: How) -> "tuple[Progress, Display]":
    """Makes what is missing of the runs of these tables; how far they are then, and the display, with its failures."""
    from sddcli import sweeps
    from sddcli.launchers.sweep import Policy

    failed = set[Run]()
    chosen = any(last_level(table) for table in plan)  # then a later round may grow from any run of an earlier one
    now = sweeps.progress(store, plan, failed.__contains__)
    todo = now.left
    listeners = [_patient(listener(store, how.track))] if how.track else []
    display = Display(todo, screen.errors(), family=now.runs, listeners=listeners)
    _look_over(store, set(now.runs).difference(todo), display)
    meanwhile = "all" if chosen else how.keep
    record = (command(), list(plan))
    policy = Policy(how.checkpoint_every, how.retry_failed, how.fail_fast, how.skip_busy, record, meanwhile)
    while todo:
        stopped = make(store, todo, display, how, policy)
        failed.update(failure.run for failure in display.failures)
        now = sweeps.progress(store, plan, failed.__contains__)
        todo = () if stopped else now.to_make
        display.more(todo)
    if chosen:
        sweeps.collect(store, how.keep, of=set(now.runs))
    return now, display


def _patient(hear: Report) -> Report:
    """A tracker that takes no run along when it fails: that is said once."""
    failures = list[str]()

    def patient(event: Event) -> None:
        try:
            hear(event)
        except Exception as error:  # a library of others, which may fail in any way
            failures.append(str(error))
            if len(failures) == 1:
                _hint(f"the tracker failed ({' '.join(str(error).split())}); the sweep goes on, later: sdd track")

    return patient


def _spelled(store: Store, plan: Sequence[resolve.Table]) -> list[resolve.Table]:
    """`plan` with each folder of images spelled as the runs of `store` spell it, and each table once."""
    from sddcli.launchers import looking

    own = looking.spellings(store, [str(word) for table in plan for word in table["dataset"]])
    tables = [table | {"dataset": list(dict.fromkeys(own[str(word)] for word in table["dataset"]))} for table in plan]
    return [table for number, table in enumerate(tables) if table not in tables[:number]]


def _say_changed(store: Store, runs: Iterable[Run]) -> None:
    """Says which files of the user's own code are others than those that runs of the folder were made with."""
    for line in sources.changed(store, runs):
        _hint(line)


def _look_over(store: Store, finished: Iterable[Run], display: Display) -> None:
    """Says which of these runs are damaged, and tidies the others."""
    for run in finished:
        try:
            store.verify(run)
            with suppress(PermissionError):  # of another's runs one may only look
                store.tidy(run)  # where a process was killed between its last two deeds
        except StoreError as error:
            display(Failed(run, str(error), damaged=True))


@with_fields(set(FIELDS).difference(("level", *BRANCH)))
def train_dense(
    fields: dict[str, str],
    sets: Sets = [],
    runs: Writes = DEFAULT_RUNS,
    protocol: Protocol = "paper",
    device: Devices = "auto",
    workers: Workers = None,
    threads: Threads = 1,
    data_dir: DataDir = None,
    checkpoint_every: Checkpoints = 60.0,
    retry_failed: RetryFailed = False,
    debug: Debug = False,
) -> None:
    """Train dense networks only: the first stage of a sweep.

    Prints the folders of the runs. Settings that are not given have defaults for each data set (--protocol);
    the seed is 0.

    Example: sdd train-dense --dataset digits --noise 0.4 --seed 1
    """
    from sddcli.launchers import looking
    from sddcli.launchers.sweep import Policy

    data_in(data_dir)
    store = Store(runs)
    looking.find_images(store)
    plan = resolve.plan({"seed": "0"} | fields | {"level": "0"}, sets, None, protocol)
    asked = tuple(dict.fromkeys(run for table in _spelled(store, plan) for run in unfold(table)))
    _say_changed(store, asked)
    todo = [run for run in asked if not store.finished(run)]
    display = Display(todo, screen.errors(), family=asked)
    how = How(device, workers, threads)
    make(store, todo, display, how, Policy(checkpoint_every, retry_failed))
    complain(display, debug)
    for run in asked:
        if store.finished(run):
            print(store.folder(run))
    end(display)


@with_fields({"level", *CHAINED}, "VALUE")
def prune(
    fields: dict[str, str],
    parent: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of the trained run to prune.", autocompletion=of_runs)
    ],
    sets: Sets = [],
    device: Device = "auto",
    data_dir: DataDir = None,
    trust: Trust = False,
    debug: Debug = False,
) -> None:
    """Prune a trained network: the second stage of a sweep.

    Prints the folder of the pruned run, which sdd retrain takes. The pruned run has the settings of the trained one,
    one level further (reinit and redense: the same level as a lottery run), except for those given. Its
    manifest holds the accuracy right after pruning.

    Example: sdd prune runs/RUN --criterion magnitude --retraining lottery
    """
    from sddcli.launchers import looking, machine

    data_in(data_dir)
    store, run = Store.holding(parent)
    if trust:
        sources.trust(store)
    looking.find_images(store)
    child = resolve.child(run, fields, sets, _training_examples, _hint)
    if store.manifest(child) is None:
        from sddcli.recipes import planning, prune_retrain

        machine.one_thread()
        prune_retrain.prune(store, child, machine.describe(command()), planning.device_of(device))
    print(store.folder(child))


def retrain(
    child: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder that sdd prune printed.", autocompletion=of_runs)
    ],
    device: Device = "auto",
    threads: Threads = 1,
    data_dir: DataDir = None,
    checkpoint_every: Checkpoints = 60.0,
    retry_failed: RetryFailed = False,
    trust: Trust = False,
    debug: Debug = False,
) -> None:
    """Retrain a pruned network: the third stage of a sweep.

    Prints the folder of the run.

    Example: sdd retrain runs/RUN/level-01
    """
    from sddcli.launchers import looking
    from sddcli.launchers.sweep import Policy

    data_in(data_dir)
    store, run = Store.holding(child)
    if trust:
        sources.trust(store)
    looking.find_images(store)
    display = Display([run], screen.errors())
    if not store.finished(run):
        make(store, [run], display, How(device, 1, threads), Policy(checkpoint_every, retry_failed))
    complain(display, debug)
    if store.finished(run):
        print(store.folder(run))
    end(display)


def _hint(line: str) -> None:
    print(f"sdd: {line}", file=sys.stderr)


def _training_examples(dataset: str, train_size: int, validation: float) -> int:
    """How many examples of a data set are trained on; loads torch. Raises UsageError, OSError."""
    from sddcli.recipes import planning

    return planning.training_examples(dataset, train_size, validation)


def complain(display: Display, debug: bool) -> None:
    """Says on stderr which runs failed, and why."""
    for failure in display.failures:
        print(f"sdd: {display.named(failure.run)} failed: {failure.reason}", file=sys.stderr)
        if debug and failure.trace:
            print(failure.trace, file=sys.stderr)


def end(display: Display) -> None:
    """Raises SystemExit where runs failed: 4 where files are damaged, else 3."""
    if display.failures:
        raise SystemExit(4 if any(failure.damaged for failure in display.failures) else 3)


def _results(store: Store, asked: Sequence[Run], damaged: list[StoreError]) -> "pd.DataFrame":
    """Writes the tables of the folder; what is in them of this sweep. damaged: takes what cannot be read."""
    from sddcli import table
    from sddcli.launchers import looking

    ids = {run.id for run in asked}
    finished = looking.runs(store, ids)
    for failure in looking.analyze(store, ["learning-distance"], finished, 1, "cpu", lambda *_: None, {}):
        print(f"sdd: {failure.reason}", file=sys.stderr)
    return table.of_runs(table.export(store, ids, damaged), asked)


def _show(store: Store, frame: "pd.DataFrame", as_json: bool) -> None:
    """Shows the results of this sweep, and where those of the folder are."""
    from sddcli import table

    if as_json:
        print(frame.to_json(orient="records", indent=1))
        return
    columns = {name: metric_of(name) for name in ("test_accuracy", "train_accuracy", "learning_distance")}
    screen.curves(table.summary(frame), table.varied(frame), table.title(frame), columns)
    print(f"\nAll runs of this folder: {store.root / 'results.csv'}", end="; ")
    print(f"to plot them: sdd plot double-descent {shlex.quote(str(store.root))}")


def _print_landmarks(settings: Sequence["Landmarks"]) -> None:
    """Where valley and peak seem to be in settings whose levels were chosen, and what that took: a line each."""
    differing = [name for name in FIELDS if len({getattr(each.setting, name) for each in settings}) > 1]
    for each in settings:
        label = ", ".join(f"{name} {getattr(each.setting, name)}" for name in differing)
        valley, peak = each.valley_and_peak or (0, 0)
        levels = f"valley near level {valley}, peak near level {peak}" if valley < peak else "no rise"
        cost = f"from {each.seeds} of {each.of_seeds} seeds and {each.trainings} of {each.of_trainings} trainings"
        print(f"{label}: {levels}, {cost}" if label else f"{levels}, {cost}", file=sys.stderr)
