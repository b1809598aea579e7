"""Commands that make runs: sweep, and its three stages by hand."""

import json
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from sddcli import resolve, sources
from sddcli.cli import screen
from sddcli.cli.options import (
    DEFAULT_RUNS,
    Address,
    Checkpoints,
    DataDir,
    Debug,
    Device,
    Devices,
    FailFast,
    Folder,
    GpusPerTask,
    Json,
    Keep,
    On,
    Partition,
    Protocol,
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
    with_fields,
)
from sddcli.cli.progress import Display, spoken_time
from sddcli.cli.tracking import listener
from sddcli.core import own
from sddcli.core.words import UsageError, printable, unknown
from sddcli.events import Event, Failed, Report
from sddcli.metrics import metric_of
from sddcli.spec import BRANCH, CHAINED, FIELDS, Run, last_level, unfold
from sddcli.store import KEEPS, Store, StoreError, Unwritable

if TYPE_CHECKING:
    from sddcli.auto import Landmarks
    from sddcli.launchers.sweep import Policy
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
    how = How(device, workers, threads, checkpoint_every, retry_failed, fail_fast, skip_busy, keep, cluster, track)
    if dry_run:
        with leaving_out() as damaged:
            price(store, plan, how, as_json, damaged)
        return
    if on == "slurm":
        _submit(store, plan, how)
        return
    now, display = made(store, plan, how)
    complain(display, debug)
    with leaving_out() as damaged:
        try:
            if not set(now.asked) <= set(now.left):
                _show(store, now.asked, as_json, damaged)
            failed = {failure.run for failure in display.failures}
            _print_places([each for table in plan for each in auto.landmarks(store, table, failed.__contains__)])
        finally:  # also where nobody reads what is shown
            complained = {failure.reason for failure in display.failures}
            damaged[:] = [error for error in damaged if str(error) not in complained]
            if all(isinstance(error, Unwritable) for error in damaged):
                end(display)


class Cluster(NamedTuple):
    """Where runs are made but on this machine: the options of `sdd sweep` of these names."""

    on: str = ""
    address: str = ""
    gpus_per_task: float | None = None
    partition: str = ""
    time: str = "60"


class How(NamedTuple):
    """How runs are made, none of which changes a number: the options of `sdd sweep` of these names."""

    device: str = "auto"
    workers: int | None = None
    threads: int = 1
    checkpoint_every: float = 60.0
    retry_failed: bool = False
    fail_fast: bool = False
    skip_busy: bool = False
    keep: str = "all"
    cluster: Cluster = Cluster()
    track: str = ""

    def crew(self, todo: Sequence[Run]) -> int:
        """How many workers make these runs."""
        from sddcli.launchers import agenda, machine

        return min(self.workers or machine.crew(self.device), agenda.width(todo))


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
    record = (_command(), list(plan))
    policy = Policy(how.checkpoint_every, how.retry_failed, how.fail_fast, how.skip_busy, record, meanwhile)
    while todo:
        stopped = _make(store, todo, display, how, policy)
        failed.update(failure.run for failure in display.failures)
        now = sweeps.progress(store, plan, failed.__contains__)
        todo = () if stopped else now.to_make
        display.more(todo)
    if chosen:
        sweeps.collect(store, how.keep, of=set(now.runs))
    return now, display


def _patient(hear: Report) -> Report:
    """A tracker that takes no run along when it fails: that is said once."""
    said = list[str]()

    def patient(event: Event) -> None:
        try:
            hear(event)
        except Exception as error:  # a library of others, which may fail in any way
            if not said:
                said.append(str(error))
                _hint(f"the tracker failed ({' '.join(str(error).split())}); the sweep goes on, later: sdd track")

    return patient


def price(store: Store, plan: Sequence[resolve.Table], how: How, as_json: bool, damaged: list[StoreError]) -> None:
    """Says what making the missing runs of these tables costs."""
    from sddcli import sweeps

    chosen = any(last_level(table) for table in plan)
    sweep = sweeps.progress(store, plan, set[Run]().__contains__, at_most=True)
    _estimate(store, sweep, how, as_json, chosen, damaged)


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
    _make(store, todo, display, how, Policy(checkpoint_every, retry_failed))
    complain(display, debug)
    for run in asked:
        if store.finished(run):
            print(store.folder(run))
    end(display)


@with_fields({"level", *CHAINED}, "VALUE")
def prune(
    fields: dict[str, str],
    parent: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the trained run to prune.")],
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
        from sddcli.recipes import prune_retrain

        machine.one_thread()
        prune_retrain.prune(store, child, machine.describe(_command()), prune_retrain.device_of(device))
    print(store.folder(child))


def retrain(
    child: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that sdd prune printed.")],
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
        _make(store, [run], display, How(device, 1, threads), Policy(checkpoint_every, retry_failed))
    complain(display, debug)
    if store.finished(run):
        print(store.folder(run))
    end(display)


def _hint(line: str) -> None:
    print(f"sdd: {line}", file=sys.stderr)


def _training_examples(dataset: str, train_size: int, validation: float) -> int:
    """How many examples of a data set are trained on; loads torch. Raises UsageError, OSError."""
    from sddcli.recipes import prune_retrain

    return prune_retrain.training_examples(dataset, train_size, validation)


def _command() -> str:
    return shlex.join(["sdd", *sys.argv[1:]])


def _make(store: Store, todo: Sequence[Run], display: Display, how: How, policy: "Policy") -> bool:
    """Has workers make the runs, on show; where it is stopped, says how to go on. Tells whether a failure ended it."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        with display:
            LAUNCHERS[how.cluster.on](store, todo, how, display, policy)
    except (KeyboardInterrupt, typer.Abort, SystemExit) as stop:
        code = stop.code if isinstance(stop, SystemExit) else 130
        if code == 3:  # --fail-fast
            return True
        print(f"sdd: stopped; what is done is saved, go on with: {_command()}", file=sys.stderr)
        raise SystemExit(code) from None
    return False


def _here(store: Store, todo: Sequence[Run], how: How, display: Display, policy: "Policy") -> None:
    from sddcli.launchers import local

    local.sweep(store, todo, _facts(), how.crew(todo), how.threads, how.device, display, policy)


def _on_ray(store: Store, todo: Sequence[Run], how: How, display: Display, policy: "Policy") -> None:
    from sddcli.launchers import ray

    cluster = ray.Cluster(how.cluster.address, how.workers or 0, _gpus(how), how.threads)
    ray.sweep(store, todo, _facts(), cluster, display, policy)


LAUNCHERS: "dict[str, Callable[[Store, Sequence[Run], How, Display, Policy], None]]" = {"": _here, "ray": _on_ray}


def _submit(store: Store, plan: Sequence[resolve.Table], how: How) -> None:
    """Submits what is missing of these tables to Slurm, and says how to follow and how to end it."""
    from sddcli import sweeps
    from sddcli.launchers import slurm
    from sddcli.launchers.sweep import Policy

    cluster = how.cluster
    todo = sweeps.progress(store, plan, set[Run]().__contains__).left
    if not todo:
        print("all runs are finished")
        return
    gpus = _gpus(how) or 0.0
    if gpus != int(gpus):
        raise UsageError(f"--gpus-per-task of Slurm takes whole GPUs, got {gpus:g}: the runs of a job share theirs")
    wanted = slurm.Wanted(cluster.partition, slurm.minutes_of(cluster.time), int(gpus), how.threads)
    policy = Policy(how.checkpoint_every, how.retry_failed, plan=(_command(), list(plan)), keep=how.keep)
    jobs = slurm.jobs_for(todo, how.workers or 0)
    with Display(todo, screen.errors()) as display:
        array = slurm.submit(store, todo, _facts(), jobs, wanted, display, policy)
    where = shlex.quote(str(store.root))
    print(f"submitted {jobs} job{'s' * (jobs > 1)} to Slurm, array {array}, for {len(todo)} runs")
    print(f"to follow them: sdd status {where} --watch; to end them: sdd cancel {where}")


def cancel(runs: Folder = DEFAULT_RUNS, debug: Debug = False) -> None:
    """End the Slurm jobs of a folder, which save what they train.

    Works for jobs that wait and jobs that run. The same sdd sweep --on slurm goes on later.

    Example: sdd cancel runs/
    """
    from sddcli.launchers import slurm

    store = Store(runs)
    store.must_exist()
    jobs = slurm.cancel(store)
    print(f"ended {len(jobs)} job{'s' * (len(jobs) != 1)} of {runs}" if jobs else f"no job of {runs} waits or runs")


def _facts() -> dict[str, Any]:
    return {"command": printable(_command())}


def _terminated(*_: Any) -> None:
    raise SystemExit(143)


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


def _show(store: Store, asked: Sequence[Run], as_json: bool, damaged: list[StoreError]) -> None:
    """Writes the tables of the folder and shows what is in them of this sweep. damaged: takes what cannot be read."""
    from sddcli import table
    from sddcli.launchers import looking

    ids = {run.id for run in asked}
    finished = looking.runs(store, ids)
    for failure in looking.analyze(store, ["learning-distance"], finished, 1, "cpu", lambda *_: None, {}):
        print(f"sdd: {failure.reason}", file=sys.stderr)
    frame = table.of_runs(table.export(store, ids, damaged), asked)
    if as_json:
        print(frame.to_json(orient="records", indent=1))
        return
    columns = {name: metric_of(name) for name in ("test_accuracy", "train_accuracy", "learning_distance")}
    screen.curves(table.summary(frame), table.varied(frame), table.title(frame), columns)
    print(f"\nAll runs of this folder: {store.root / 'results.csv'}", end="; ")
    print(f"to plot them: sdd plot double-descent {shlex.quote(str(store.root))}")


def _print_places(settings: Sequence["Landmarks"]) -> None:
    """Where valley and peak seem to be in settings whose levels were chosen, and what that took: a line each."""
    differing = [name for name in FIELDS if len({getattr(each.setting, name) for each in settings}) > 1]
    for each in settings:
        label = ", ".join(f"{name} {getattr(each.setting, name)}" for name in differing)
        valley, peak = each.places or (0, 0)
        places = f"valley near level {valley}, peak near level {peak}" if valley < peak else "no rise"
        cost = f"from {each.seeds} of {each.of_seeds} seeds and {each.trainings} of {each.of_trainings} trainings"
        print(f"{label}: {places}, {cost}" if label else f"{places}, {cost}", file=sys.stderr)


def _estimate(
    store: Store, sweep: "Progress", how: How, as_json: bool, chosen: bool, damaged: list[StoreError]
) -> None:
    """What a sweep would do: its runs, epochs, disk, and where runs of its kind are in this folder time and power."""
    from sddcli import sweeps
    from sddcli.recipes import prune_retrain

    runs, todo, asked = len(sweep.runs), sweep.left, sweep.asked
    epochs, size, files = prune_retrain.epochs(todo), prune_retrain.disk(todo), prune_retrain.files(todo)
    workers, split = _split(todo, how)
    notes = [*prune_retrain.notes(todo), *_faster(todo, how.device)]
    alone = sweeps.seconds(todo, dict(store.manifests(damaged)) if store.root.is_dir() else {})
    seconds = None if alone is None else alone / workers
    if as_json:
        dip, _, _ = _power(store, asked)
        facts: dict[str, Any] = {
            "runs": runs,
            "done": runs - len(todo),
            "to do": len(todo),
            "epochs": epochs,
            "bytes": size,
        }
        facts |= {"files": files, "seconds": seconds, "workers": workers, "split": split}
        more = {"detectable_dip": dip, "notes": notes}
        print(json.dumps(facts | more, indent=1))
        return
    most = "at most " if chosen else ""
    print(f"{most}{runs} runs: {runs - len(todo)} done, {most}{len(todo)} to do")
    for note in notes:
        print(note)
    print(f"epochs to train: {epochs}")
    print(f"disk: about {size / 1e6:.1f} MB in {files} files in {store.root}")
    print(f"split: {split}")
    when = "unknown until runs of this kind are timed here" if seconds is None else f"about {spoken_time(seconds)}"
    print(f"time on {workers} worker{'s' if workers > 1 else ''}: {when}")
    dip, seeds, basis = _power(store, asked)
    if dip is None:
        print("smallest dip that this sweep can detect: unknown until two seeds of this kind are here")
    else:
        print(
            f"with {seeds} seed{'s' * (seeds != 1)}, 4 of 5 such sweeps detect a dip of {100 * dip:.1f} points{basis}"
        )


def _split(todo: Sequence[Run], how: How) -> tuple[int, str]:
    """How many workers make these runs side by side, and in words how the runs are split among them."""
    from sddcli.launchers import agenda, machine, ray, slurm

    cluster, chains, gpus = how.cluster, agenda.width(todo), _gpus(how)
    if cluster.on == "slurm":
        jobs = slurm.jobs_for(todo, how.workers or 0)
        workers, device = jobs * max(int(gpus or 0), 1), "cuda" if gpus else "cpu"
        of = f"of {_counted(jobs, 'Slurm job')} of at most {spoken_time(60 * slurm.minutes_of(cluster.time))} each"
    elif cluster.on == "ray":
        share, places = ray.room(ray.Cluster(cluster.address, how.workers or 0, gpus, how.threads))
        workers, device, of = min(places, chains), "cuda" if share else "cpu", f"of a Ray cluster, {share:g} GPUs each"
    else:
        workers, device, of = how.crew(todo), how.device, f"of this machine, on {' '.join(machine.devices(how.device))}"
    together = min(machine.most_side_by_side(device), -(-chains // workers))
    return workers, f"{_counted(chains, 'chain')} over {_counted(workers, 'worker')} {of}, {together} at once in each"


def _gpus(how: How) -> float | None:
    return 0.0 if how.device == "cpu" else how.cluster.gpus_per_task


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _faster(todo: Sequence[Run], device: str) -> list[str]:
    """That convolutional networks among these runs would train faster in bf16, where this processor multiplies it."""
    from sddcli.launchers import machine

    models = {run.model for run in todo if run.precision != "bf16"}
    slow = [word for word in sorted(models) if not machine.fully_connected(word) and not own.key_of(word)]
    if not slow or not machine.convolves_faster_in_bf16(device):
        return []
    return [f"--precision bf16 is faster for {', '.join(slow)} on this processor: see docs/performance.md"]


KIN, CLOSER = ("dataset", "model"), ("noise", "train_size")  # whose scatter a sweep's is taken to be


def _power(store: Store, asked: Sequence[Run]) -> tuple[float | None, int, str]:
    """The dip that the sweep would detect, by how runs of its data and model in the folder scatter; its seeds.

    And what these runs are, in words, where they have other labels or examples than it.
    """
    from sddcli import table
    from sddcli.verdicts import double_descent

    seeds, levels = len({run.seed for run in asked}), len({run.level for run in asked})
    try:
        frame = table.grown(table.results(store, damaged=[]))  # what cannot be read was named before
    except StoreError:
        return None, seeds, ""
    values = {name: {getattr(run, name) for run in asked} for name in (*KIN, *CLOSER)}
    values["dataset"] = {printable(str(word)) for word in values["dataset"]}
    alike = {name: frame[name].isin(values[name]) for name in values}
    kin = frame[alike["dataset"] & alike["model"]]
    close = frame[alike["dataset"] & alike["model"] & alike["noise"] & alike["train_size"]]
    scatter = [curves.test for curves in table.curves(kin if close.empty else close)]
    dip = double_descent.detectable_by(scatter, seeds, levels)
    return dip, seeds, " (by runs of other noise or size)" if close.empty and dip is not None else ""
