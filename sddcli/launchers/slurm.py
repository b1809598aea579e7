"""Slurm: array jobs that make a sweep's runs as every sweep of a shared folder does: by claiming them.

Submitting returns at once. A job that reaches its time limit or is preempted saves what it trains and is queued again
by itself (submitit does that); what a lost node trained, another job goes on with.
"""

import hashlib
import json
import math
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from sddcli import sources, sweeps
from sddcli.core import own
from sddcli.core.words import UsageError, unknown
from sddcli.events import Event, Failed, Noted, Report, Saved
from sddcli.launchers import local, machine
from sddcli.launchers.agenda import width
from sddcli.launchers.sweep import Policy
from sddcli.launchers.worker import Orders, check, mark, orders_for
from sddcli.spec import OWN, Run, from_dict, to_dict
from sddcli.store import Store

MOST_JOBS = 8
"""Jobs of a sweep unless --workers asks for others."""
SAVE_SECONDS = 90
"""Before its time limit a job is told to save; of a short one at most a quarter of its time."""
REQUEUES = 1000
"""How often a job may reach its time limit: each time it has gone on."""
ASK_SECONDS = 20
"""Within which Slurm must answer, or a node be free that can be asked what it sees."""

STOPPED = 143
"""The exit code of a job that ended because it was asked to, after saving what it trained."""


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
    fields = given if days or len(given) == 3 else [0, *given]  # hours, minutes, seconds
    seconds = int(days or 0) * 86400 + sum(number * unit for number, unit in zip(fields, (3600, 60, 1), strict=False))
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
    where Slurm refuses such jobs, or a node does not see the runs folder, has another sdd or lacks what makes the runs,
    StoreError where the folder cannot be written to.
    """
    try:
        submitit: Any = import_module("submitit")
    except ModuleNotFoundError:
        raise UsageError("--on slurm needs submitit, which is not installed: pip install 'sddcli[slurm]'") from None
    _must_be_taken(wanted)
    orders = orders_for(store, runs, facts, wanted.threads, policy.checkpoint_seconds)
    orders = orders._replace(root=str(store.root.absolute()))
    check(runs, ["cpu"], report)
    kinds = {tuple(getattr(run, name) for name in OWN): run for run in runs}  # all that may differ on a node
    with mark(store) as file:
        if note := _look_at_node(file, wanted, orders.code, [*kinds.values()]):
            report(Noted(note))
    store.prepare()
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
    _asked("sbatch", "--test-only", *_limits(wanted), "--wrap", "true")


def _limits(wanted: Wanted) -> list[str]:
    partition = [f"--partition={wanted.partition}"] if wanted.partition else []
    gpus = [f"--gpus-per-node={wanted.gpus}"] if wanted.gpus else []
    return [*partition, *gpus, f"--time={wanted.minutes}", f"--cpus-per-task={wanted.threads}"]


LOOK = """
import json, os, socket, sys
answer = {"host": socket.gethostname(), "sees": os.path.exists(sys.argv[1]), "engine": "none", "problem": ""}
try:
    from sddcli.launchers import machine
    answer["engine"] = machine.engine()
except ModuleNotFoundError:
    pass
if answer["engine"] == sys.argv[2]:
    from sddcli.launchers.slurm import problem
    answer["problem"] = problem(**json.load(sys.stdin))
print(json.dumps(answer))
"""
"""What a node runs that is asked: it may have no sdd, or another one."""


def _look_at_node(file: Path, wanted: Wanted, code: Mapping[str, bytes], runs: Sequence[Run]) -> str:
    """Has a node, if one is free, look for a file and for what makes `runs`; returns a note where none was.

    Raises UsageError where the node does not see the file, has no sdd or another one, or lacks a device or a module.
    """
    look = ["srun", "--quiet", "--ntasks=1", f"--immediate={ASK_SECONDS}", *_limits(wanted._replace(minutes=1))]
    # Not where we are: a folder that the node lacks would end it before it can answer.
    words = [*look, "--chdir=/", sys.executable, "-c", LOOK, str(file), machine.engine()]
    letters = {key: content.decode("latin-1") for key, content in code.items()}  # one for each byte
    asked = json.dumps({"code": letters, "runs": [to_dict(run) for run in runs], "gpus": wanted.gpus})
    try:
        done = subprocess.run(words, input=asked, capture_output=True, text=True, timeout=3 * ASK_SECONDS)
    except subprocess.TimeoutExpired:
        done = None
    if done and "execve" in done.stderr:
        raise UsageError(f"a node has no {sys.executable}: install sdd {machine.release()} there, in the same place")
    if done is None or done.returncode:
        return f"no node was free to be asked whether it sees {file.parent}: all nodes must share it"
    answer = json.loads(done.stdout.splitlines()[-1])
    host, engine = answer["host"], answer["engine"]
    if not answer["sees"]:
        raise UsageError(f"node {host} does not see {file.parent}: --runs must be a folder that all nodes share")
    if engine != machine.engine():
        other = "no sdd" if engine == "none" else f"another sdd (engine {engine}, here {machine.engine()})"
        raise UsageError(f"node {host} has {other} in {sys.executable}: install the same there")
    if answer["problem"]:
        raise UsageError(f"{answer['problem']} (on node {host})")
    return ""


def problem(code: Mapping[str, str], runs: Sequence[Mapping[str, Any]], gpus: int) -> str:
    """Asked on a node: why it cannot make these runs, "" where it can; their data is not read.

    code: the user's own, a letter each byte; runs: their fields.
    """
    from sddcli.recipes import planning

    sources.received({key: content.encode("latin-1") for key, content in code.items()})
    try:
        planning.device_of("cuda" if gpus else "cpu")
        planning.check_outline([from_dict(fields) for fields in runs])
    except (UsageError, OSError) as error:
        return str(error)
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
        # Slurm sends the signal for `checkpoint` to all processes of a job: it would end those that are to save.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGUSR2})
        try:
            self.process = multiprocessing.get_context("spawn").Process(target=_work, args=self.words)
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.process.join()
        if self.process.exitcode in (STOPPED, -signal.SIGTERM):
            _queue_again()
        return self.process.exitcode or 0

    def checkpoint(self, *_: Any) -> Any:
        """Has all that is in training saved; returns what is to be queued: the same job."""
        if self.process is not None:
            self.process.terminate()
            self.process.join()
        orders, tables, number, jobs, gpus, keep = self.words
        submitit: Any = import_module("submitit")
        return submitit.helpers.DelayedSubmission(Job(orders, tables, number, jobs, gpus, keep))


def _queue_again() -> None:
    """Where a job that was told to end is not cancelled, Slurm wants its place for another: it is queued again.

    Slurm would do so only if it had to kill it, and takes one that ends by itself for done.
    """
    job = os.environ["SLURM_JOB_ID"]
    if _asked("squeue", "--noheader", "--jobs", job, "--format", "%T").strip() == "RUNNING":
        _asked("scontrol", "requeue", job)
        time.sleep(ASK_SECONDS)  # within which Slurm ends this process


def _work(orders: Orders, tables: Sequence[Any], number: int, jobs: int, gpus: int, keep: str) -> None:
    """Makes what is left of a sweep: exit code 3 where runs failed, STOPPED where it was told to stop."""
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
    raise SystemExit(STOPPED)
