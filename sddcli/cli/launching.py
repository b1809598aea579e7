"""Launching: who makes runs, this machine or a cluster, and what is said when they are stopped; the command cancel."""

import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from sddcli import resolve
from sddcli.cli import screen
from sddcli.cli.options import DEFAULT_RUNS, Debug, Folder
from sddcli.cli.progress import Display
from sddcli.core.words import UsageError, printable
from sddcli.spec import Run
from sddcli.store import Store

if TYPE_CHECKING:
    from sddcli.launchers.sweep import Policy


class Cluster(NamedTuple):
    """Where runs are made, on="" for this machine: the options of `sdd sweep` of these names."""

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
    record: Path | None = None

    def crew(self, todo: Sequence[Run]) -> int:
        """How many workers make these runs."""
        from sddcli.launchers import agenda, machine

        return min(self.workers or machine.crew(self.device), agenda.width(todo))

    @property
    def gpus(self) -> float | None:
        """GPUs of each worker of a cluster; None for one where it has any."""
        return {"cpu": 0.0, "cuda": self.cluster.gpus_per_task or 1.0}.get(self.device, self.cluster.gpus_per_task)


OPTIONS_OF = {"address": ("ray",), "gpus_per_task": ("ray", "slurm"), "partition": ("slurm",), "time": ("slurm",)}
"""The options of a cluster, and of which."""
NOT_OF_SLURM = ("fail_fast", "skip_busy", "track", "record")
"""Options for a sweep that stays and hears of its runs, which one on Slurm does not."""

DEVICES_OF_CLUSTERS = ("auto", "cpu", "cuda")
"""Which of its GPUs a worker gets, the cluster decides."""


def must_fit(how: How) -> None:
    """Raises UsageError for options that would change nothing where the runs are made, though the user expects it."""
    on = how.cluster.on
    usual = Cluster._field_defaults | How._field_defaults
    for name, launchers in OPTIONS_OF.items():
        if on not in launchers and getattr(how.cluster, name) != usual[name]:
            raise UsageError(f"--{name.replace('_', '-')} goes with --on {' or --on '.join(launchers)}")
    for name in NOT_OF_SLURM if on == "slurm" else ():
        if getattr(how, name) != usual[name]:
            raise UsageError(f"--{name.replace('_', '-')} does not go with --on slurm, which returns at once")
    if on and how.device not in DEVICES_OF_CLUSTERS:
        raise UsageError(f"--device takes {', '.join(DEVICES_OF_CLUSTERS)} with --on {on}, got {how.device!r}")


def make(store: Store, todo: Sequence[Run], display: Display, how: How, policy: "Policy") -> bool:
    """Has workers make the runs, on show; True where the first failure ended it, as --fail-fast asks.

    Raises SystemExit where it is stopped, after saying how to go on.
    """
    signal.signal(signal.SIGTERM, _terminated)
    try:
        with display:
            LAUNCHERS[how.cluster.on](store, todo, how, display, policy)
    except (KeyboardInterrupt, typer.Abort, SystemExit) as stop:
        code = stop.code if isinstance(stop, SystemExit) else 130
        if code == 3:  # --fail-fast
            return True
        print(f"sdd: stopped; what is done is saved, go on with: {command()}", file=sys.stderr)
        raise SystemExit(code) from None
    return False


def _here(store: Store, todo: Sequence[Run], how: How, display: Display, policy: "Policy") -> None:
    from sddcli.launchers import local

    local.sweep(store, todo, _facts(), how.crew(todo), how.threads, how.device, display, policy)


def _on_ray(store: Store, todo: Sequence[Run], how: How, display: Display, policy: "Policy") -> None:
    from sddcli.launchers import ray

    cluster = ray.Cluster(how.cluster.address, how.workers or 0, how.gpus, how.threads)
    ray.sweep(store, todo, _facts(), cluster, display, policy)


LAUNCHERS: "dict[str, Callable[[Store, Sequence[Run], How, Display, Policy], None]]" = {"": _here, "ray": _on_ray}


def submit(store: Store, plan: Sequence[resolve.Table], how: How) -> None:
    """Submits what is missing of these tables to Slurm, and says how to follow and how to end it.

    Raises UsageError for a share of a GPU, and for what slurm.submit refuses.
    """
    from sddcli import sweeps
    from sddcli.launchers import slurm
    from sddcli.launchers.sweep import Policy

    cluster = how.cluster
    todo = sweeps.progress(store, plan, set[Run]().__contains__).left
    if not todo:
        print("all runs are finished")
        return
    gpus = how.gpus or 0.0
    if gpus != int(gpus):
        raise UsageError(f"--gpus-per-task of Slurm takes whole GPUs, got {gpus:g}: the runs of a job share theirs")
    wanted = slurm.Wanted(cluster.partition, slurm.minutes_of(cluster.time), int(gpus), how.threads)
    policy = Policy(how.checkpoint_every, how.retry_failed, plan=(command(), list(plan)), keep=how.keep)
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
    return {"command": printable(command())}


def _terminated(*_: Any) -> None:
    raise SystemExit(143)


def command() -> str:
    """The command line that this process was started with."""
    return shlex.join(["sdd", *sys.argv[1:]])
