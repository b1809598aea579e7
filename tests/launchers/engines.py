"""Engines: Ray and Slurm for tests, started on this machine, of two nodes each, and gone at the end."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import gettempdir
from typing import Any, NoReturn

import pytest

PRIVATE = """
mount -t tmpfs none "$0" && echo > "$0/lacking.py" && exec "$@"
"""


def alone_with(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """A command that alone sees what lies in `folder`, an empty one with a module `lacking`, as on another machine."""
    command = ["unshare", "--mount", "sh", "-c", PRIVATE, str(folder)]
    if not shutil.which("unshare") or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("a folder that others do not see needs unshare, and the rights to mount")
    return subprocess.run([*command, *words], capture_output=True, text=True)


NET = """
import lacking
from torch import nn

class Net(nn.Sequential):
    def __init__(self, shape, classes):
        super().__init__(nn.Flatten(), nn.Linear(64, classes))
"""
"""Code of a user's own that needs a module."""


def what_nodes_lack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *on: str) -> None:
    """A sweep `on` a cluster is refused, in a line, whose nodes do not see its folder or lack a module of its code."""
    private, net = tmp_path / "private", tmp_path / "net.py"
    private.mkdir()
    net.write_text(NET)
    monkeypatch.setenv("PYTHONPATH", str(private))
    start = [sys.executable, "-m", "sddcli", "sweep", "--levels", "0", "--seeds", "0", "--epochs", "1", *on]
    shared = tmp_path / "shared"
    for words, what in (
        (["--runs", str(private / "runs")], f"does not see {private}: --runs must be a folder that all nodes share"),
        (["--runs", str(shared), "--model", f"{net}:Net"], "No module named 'lacking' (on node "),
    ):
        ended = alone_with(private, *start, *words)
        assert ended.returncode == 2 and what in refusal(ended.stderr), ended.stderr
        assert not shared.exists()


def refusal(err: str) -> str:
    """The one line by which a sweep is refused; before it comes at most that the cluster is waited for."""
    *notes, line = err.splitlines()
    assert all("waiting up to" in note for note in notes), err
    return line


LOOPBACK = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # every listener is on 127.0.0.1
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # else a token is written into the user's home
    "RAY_worker_register_timeout_seconds": "600",  # else a worker that imports for a minute is killed and begun anew
}


def missing(why: str) -> NoReturn:
    """Skips a test for want of an engine; in CI, which installs all, it fails."""
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@contextmanager
def ray_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any, Any]]:
    """A cluster whose head does no work, and its two nodes of a core each."""
    if not find_spec("ray"):
        missing("Ray is not installed: pip install 'sddcli[ray]'")
    for name, value in LOOPBACK.items():
        monkeypatch.setenv(name, value)
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **small})
    try:
        yield cluster, *(cluster.add_node(num_cpus=1, **small) for _ in range(2))
    finally:
        cluster.shutdown()


SLURM = """ClusterName=t
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={base}/m/munge.socket,cred_expire=5
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool/%n
SlurmctldPidFile={base}/slurmctld.pid
SlurmdPidFile={base}/slurmd-%n.pid
SlurmctldLogFile={base}/log/slurmctld.log
SlurmdLogFile={base}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
SwitchType=switch/none
MailProg=/bin/true
JobRequeue=1
KillWait=15
SlurmdTimeout=10
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=1000 Gres=gpu:1 State=UNKNOWN
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=1000 Gres=gpu:1 State=UNKNOWN
GresTypes=gpu
PartitionName=main Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=15
PartitionName=urgent Nodes=node1,node2 MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""
"""Two nodes of a core and a pretended GPU each, that are this machine; jobs of `urgent` take the place of those of
`main`, which are queued again. All that listens is on 127.0.0.1."""


@dataclass(frozen=True)
class Slurm:
    """base: the folder of all that belongs to it; daemons: by what they are, the nodes by their names."""

    base: Path
    daemons: "dict[str, subprocess.Popen[bytes]]"

    def begin(self, name: str, *command: str) -> None:
        """Starts a daemon."""
        with (self.base / "log" / f"out-{name}").open("ab") as log:
            self.daemons[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def begin_node(self, name: str) -> None:
        """Starts a node, or starts it again after it was lost."""
        self.begin(name, "slurmd", "-N", name, "-D")

    def lose(self, node: str, processes: bool) -> None:
        """A node answers no more, at once; with `processes` those of its jobs are gone too, as when it has no power."""
        self.daemons[node].kill()
        self.daemons[node].wait()
        for number in _processes_of(node, self.base) if processes else ():
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)

    def wait(self) -> None:
        """Until both nodes are there and have nothing to do."""
        _until(lambda: slurm("sinfo", "-h", "-N", "-p", "main", "-o", "%T").split() == ["idle", "idle"], self.base)


def _processes_of(node: str, base: Path) -> list[int]:
    """The processes of a node's jobs, each after the one that watches over it and would tell that it ended."""
    numbers, settings = list[int](), (f"SLURMD_NODENAME={node}".encode(), f"SLURM_CONF={base}/slurm.conf".encode())
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):  # it has just ended
            if not {*settings} - {*(folder / "environ").read_bytes().split(b"\0")}:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                watching = b"slurmstepd" in Path(f"/proc/{parent}/cmdline").read_bytes()
                numbers += [parent, int(folder.name)] if watching else [int(folder.name)]
    return numbers


@contextmanager
def slurm_cluster(base: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    """A Slurm of two nodes; for the commands in this environment it is the only one."""
    lacking = [name for name in ("munged", "slurmctld", "slurmd") if not shutil.which(name)]
    if lacking or os.getuid():
        missing(f"Slurm cannot start: {', '.join(lacking) or 'its daemons need root'}; apt-get install slurm-wlm munge")
    for folder in ("m", "state", "log", "spool/node1", "spool/node2"):
        (base / folder).mkdir(parents=True, mode=0o755)
    for folder in (base, *base.parents[:-1]):  # munge asks that all may pass; they are pytest's own
        if str(folder).startswith(gettempdir()) and folder != Path(gettempdir()):
            folder.chmod(0o755)
    key = base / "m" / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    (base / "slurm.conf").write_text(SLURM.format(base=base, host=socket.gethostname().split(".")[0], ports=_ports(3)))
    (base / "gres.conf").write_text("NodeName=node1,node2 Name=gpu File=/dev/null\n")
    monkeypatch.setenv("SLURM_CONF", str(base / "slurm.conf"))
    files = {"socket": "munge.socket", "key-file": "munge.key", "log-file": "munged.log", "pid-file": "munged.pid"}
    words = [f"--{option}={base / 'm' / name}" for option, name in files.items()]
    cluster = Slurm(base, {})
    try:
        cluster.begin(
            "munged", "munged", "--foreground", *words, f"--seed-file={base / 'm' / 'munge.seed'}", "--num-threads=2"
        )
        _until((base / "m" / "munge.socket").exists, base)
        cluster.begin("slurmctld", "slurmctld", "-D")
        for node in ("node1", "node2"):
            cluster.begin_node(node)
        cluster.wait()
        yield cluster
    finally:
        slurm("scancel", "--me")
        _until(lambda: not slurm("squeue", "-h").strip(), base)
        for daemon in reversed(cluster.daemons.values()):
            daemon.terminate()
        for daemon in cluster.daemons.values():
            daemon.wait(timeout=60)


def slurm(*words: str) -> str:
    """What a command of Slurm prints."""
    return subprocess.run(words, capture_output=True, text=True).stdout


def _ports(count: int) -> list[int]:
    """So many free ports."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def _until(what: Callable[[], bool], base: Path) -> None:
    deadline = time.monotonic() + 60
    while not what():
        if time.monotonic() > deadline:
            logs = {path.name: path.read_text(errors="replace")[-500:] for path in (base / "log").iterdir()}
            missing(f"Slurm does not start: {logs}")
        time.sleep(0.1)
