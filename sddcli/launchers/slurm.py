"""Slurm: array jobs that make a sweep's runs as every sweep of a shared folder does: by claiming them.

Submitting returns at once. A job that reaches its time limit or is preempted saves what it trains and is queued again
by itself (submitit does that); what a lost node trained, another job goes on with.
"""

import hashlib
import math
import multiprocessing
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from sddcli import sources, sweeps
from sddcli.core import own
from sddcli.core.words import UsageError, unknown
from sddcli.events import Event, Failed, Noted, Report, Saved
from sddcli.launchers import local, machine
from sddcli.launchers.agenda import width
from sddcli.launchers.sweep import Policy
from sddcli.launchers.worker import Orders, check, orders_for
from sddcli.spec import Run
from sddcli.store import Store

MOST_JOBS = 8
"""Jobs of a sweep unless --workers asks for others."""
SAVE_SECONDS = 90
"""Before its time limit a job is told to save; of a short one at most a quarter of its time."""
REQUEUES = 1000
"""How often a job may reach its time limit: each time it has gone on."""
ASK_SECONDS = 20
"""Within which Slurm must answer, or a node be free that can be asked what it sees."""


class Wanted(NamedTuple):
    """What each job asks Slurm for: partition "" is Slurm's default; minutes, whole GPUs, and cores for its threads."""

    partition: str = ""
    minutes: int = 60
    gpus: int = 0
    threads: int = 1


def minutes_of(text: str) -> int:
    """Minutes, as Slurm writes times: 90, 1:30:00, 2-12 (days and hours), 2-12:30; rounded up. Raises UsageError."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    days, *numbers = match.groups() if match else (None,)
    given = [int(number) for number in numbers if number is not None]
    places = given if days or len(given) == 3 else [0, *given]  # hours, minutes, seconds
    seconds = int(days or 0) * 86400 + sum(number * unit for number, unit in zip(places, (3600, 60, 1), strict=False))
    if not seconds:
        raise UsageError(f"--time takes minutes, HOURS:MINUTES:SECONDS or DAYS-HOURS, got {text!r}")
    return math.ceil(seconds / 60)


def jobs_for(runs: Sequence[Run], workers: int) -> int:
    """How many jobs make these runs: as many as are asked for (0: MOST_JOBS), no more than chains side by side."""
    return min(workers or MOST_JOBS, width(runs))


def submit(
    store: Store,
    runs: Sequence[Run],
    facts: Mapping[str, Any],
    jobs: int,
    wanted: Wanted,
    report: Report,
    policy: Policy,
) -> str:
    """Submits jobs that finish `runs`, all that are left of `policy.plan`; returns the number of their array.

    Raises UsageError, before anything is written, for words that no table knows, where submitit or Slurm is missing,
    where Slurm refuses such jobs, or a node does not see the runs folder or has another sdd; StoreError where the
    folder cannot be written to.
    """
    try:
        submitit: Any = import_module("submitit")
    except ModuleNotFoundError:
        raise UsageError("--on slurm needs submitit, which is not installed: pip install 'sddcli[slurm]'") from None
    _must_be_taken(wanted)
    orders = orders_for(store, runs, facts, wanted.threads, policy.checkpoint_seconds)
    orders = orders._replace(root=str(store.root.absolute()))
    check(runs, ["cpu"], report)
    store.prepare()
    mark = store.root.absolute() / f".probe-{uuid4().hex}"
    try:
        mark.write_bytes(b"")
        if note := _look_at_node(mark, wanted):
            report(Noted(note))
    finally:
        mark.unlink(missing_ok=True)
    sources.keep(store, runs)
    command, tables = policy.plan or ("", [])
    store.save_plan(command, tables)
    for run in runs if policy.retry_failed else ():
        store.forget_failure(run)
    machine.use_safe_path()  # jobs inherit it
    executor = submitit.SlurmExecutor(folder=store.root.absolute() / ".jobs" / "%j", max_num_timeout=REQUEUES)
    executor.update_parameters(**_parameters(store, jobs, wanted))
    with executor.batch():  # they become one array
        several = [executor.submit(Job(orders, list(tables), k, jobs, wanted.gpus, policy.keep)) for k in range(jobs)]
    return str(several[0].job_id).partition("_")[0]


def name_of(store: Store) -> str:
    """What jobs of a runs folder are called."""
    return f"sdd-{hashlib.sha256(str(store.root.resolve()).encode()).hexdigest()[:12]}"


def cancel(store: Store) -> list[str]:
    """Ends all jobs of a runs folder, waiting or running, which save what they train; returns their numbers.

    Raises UsageError where Slurm does not answer.
    """
    listed = _asked("squeue", "--me", "--noheader", "--name", name_of(store), "--format", "%A")
    jobs = list(dict.fromkeys(listed.split()))
    if jobs:
        _asked("scancel", *jobs)
    return jobs


def _parameters(store: Store, jobs: int, wanted: Wanted) -> dict[str, Any]:
    words: dict[str, Any] = {
        "job_name": name_of(store),
        "time": wanted.minutes,
        "cpus_per_task": wanted.threads,
        "array_parallelism": jobs,
        "signal_delay_s": min(SAVE_SECONDS, 15 * wanted.minutes),
        "additional_parameters": {"requeue": True},  # also where a node is lost
        "stderr_to_stdout": True,
    }
    words |= {"partition": wanted.partition} if wanted.partition else {}
    return words | ({"gpus_per_node": wanted.gpus} if wanted.gpus else {})


def _must_be_taken(wanted: Wanted) -> None:
    """Raises UsageError where there is no Slurm, no such partition, or no job like these would ever start."""
    known = _asked("sinfo", "--noheader", "--format", "%R").split()
    if wanted.partition and wanted.partition not in known:
        raise unknown("partition", wanted.partition, sorted(set(known)))
    gpus = [f"--gpus-per-node={wanted.gpus}"] if wanted.gpus else []
    _asked("sbatch", "--test-only", *_limits(wanted), *gpus, "--wrap", "true")


def _limits(wanted: Wanted) -> list[str]:
    partition = [f"--partition={wanted.partition}"] if wanted.partition else []
    return [*partition, f"--time={wanted.minutes}", f"--cpus-per-task={wanted.threads}"]


def _look_at_node(mark: Path, wanted: Wanted) -> str:
    """Has a node, if one is free, look for a file; returns a note where none was.

    Raises UsageError where the node does not see it, or has no sdd or another one.
    """
    code = (
        "import os, socket, sys\nsees = os.path.exists(sys.argv[1])\ntry:\n"
        "    from sddcli.launchers import machine\n    engine = machine.engine()\n"
        "except ModuleNotFoundError:\n    engine = 'none'\nprint(socket.gethostname(), sees, engine)"
    )
    look = ["srun", "--quiet", "--ntasks=1", f"--immediate={ASK_SECONDS}", *_limits(wanted._replace(minutes=1))]
    # Not where we are: a folder that the node lacks would end it before it can answer.
    words = [*look, "--chdir=/", sys.executable, "-c", code, str(mark)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=3 * ASK_SECONDS)
        answer = done.stdout.split() if done.returncode == 0 else []
    except subprocess.TimeoutExpired:
        answer = []
    if len(answer) != 3:
        return f"no node was free to be asked whether it sees {mark.parent}: all nodes must share it"
    host, sees, engine = answer
    if sees != "True":
        raise UsageError(f"node {host} does not see {mark.parent}: --runs must be a folder that all nodes share")
    if engine != machine.engine():
        other = "no sdd" if engine == "none" else f"another sdd (engine {engine}, here {machine.engine()})"
        raise UsageError(f"node {host} has {other} in {sys.executable}: install the same there")
    return ""


def _asked(program: str, *words: str) -> str:
    """What a command of Slurm prints. Raises UsageError where it is missing, does not answer or refuses."""
    if not shutil.which(program):
        raise UsageError(f"no Slurm here: {program} is not on the PATH; use a machine that submits to the cluster")
    try:
        done = subprocess.run([program, *words], capture_output=True, text=True, timeout=ASK_SECONDS)
    except subprocess.TimeoutExpired:
        raise UsageError(f"Slurm does not answer: {program} said nothing for {ASK_SECONDS} s") from None
    if done.returncode:
        raise UsageError(f"Slurm refuses: {' '.join(done.stderr.split()) or f'{program} failed'}")
    return done.stdout


class Job:
    """One job of an array: it makes what is left of a sweep, beginning with its share, until nothing is.

    Pickled by submitit, which calls it, and `checkpoint` when its time is over.
    """

    def __init__(self, orders: Orders, tables: Sequence[Any], number: int, jobs: int, gpus: int, keep: str) -> None:
        """number: which of the `jobs`; gpus: of this job; keep: of store.KEEPS."""
        self.words = (orders, tables, number, jobs, gpus, keep)
        self.process: BaseProcess | None = None

    def __call__(self) -> int:
        """Works in a process of its own, which can be told to save and end; returns its exit code."""
        self.process = multiprocessing.get_context("spawn").Process(target=_work, args=self.words)
        self.process.start()
        self.process.join()
        return self.process.exitcode or 0

    def checkpoint(self, *_: Any) -> Any:
        """Has all that is in training saved; returns what is to be queued: the same job."""
        if self.process is not None:
            self.process.terminate()
            self.process.join()
        orders, tables, number, jobs, gpus, keep = self.words
        submitit: Any = import_module("submitit")
        return submitit.helpers.DelayedSubmission(Job(orders, tables, number, jobs, gpus, keep))


def _work(orders: Orders, tables: Sequence[Any], number: int, jobs: int, gpus: int, keep: str) -> None:
    """Makes what is left of a sweep: exit code 3 where runs failed, 143 where it was told to stop."""
    signal.signal(signal.SIGTERM, _terminated)
    own.SOURCES.update(orders.code)
    store, failed = Store(orders.root), set[Run]()
    policy = Policy(orders.pause, sweeps=jobs, keep=keep)

    def report(event: Event) -> None:
        if isinstance(event, Failed):
            failed.add(event.run)
        if isinstance(event, (Saved, Failed, Noted)):
            print(_line(event), flush=True)

    while todo := _own_first(sweeps.progress(store, tables, failed.__contains__).to_make, number, jobs):
        device = "cuda" if gpus else "cpu"
        local.sweep(store, todo, orders.facts, max(gpus, 1), orders.threads, device, report, policy)
    raise SystemExit(3 if failed else 0)


def _own_first(runs: Sequence[Run], number: int, jobs: int) -> list[Run]:
    """`runs`, level by level in another order for each job, so that those that start together want different chains."""
    levels: dict[int, list[Run]] = {}
    for run in runs:
        levels.setdefault(run.level, []).append(run)
    shares = {level: number * len(levels[level]) // jobs for level in sorted(levels)}
    return [run for level, first in shares.items() for run in (*levels[level][first:], *levels[level][:first])]


def _line(event: Saved | Failed | Noted) -> str:
    if isinstance(event, Noted):
        return event.sentence
    name = f"{event.run.slug} level {event.run.level}"
    return f"{name} failed: {event.reason}" if isinstance(event, Failed) else f"{name} is finished"


def _terminated(*_: Any) -> None:
    raise SystemExit(143)
