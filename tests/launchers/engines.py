"""Engines: Ray and Slurm for tests, started on this machine, of two nodes each, and gone at the end."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import gettempdir
from typing import Any, NoReturn

import pytest

LOOPBACK = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # every listener is on 127.0.0.1
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # else a token is written into the user's home
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
SlurmdTimeout=30
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=1000 State=UNKNOWN
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP
"""
"""Two nodes of a core each, that are this machine; all that listens is on 127.0.0.1."""


@contextmanager
def slurm_cluster(base: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
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
    monkeypatch.setenv("SLURM_CONF", str(base / "slurm.conf"))
    files = {"socket": "munge.socket", "key-file": "munge.key", "log-file": "munged.log", "pid-file": "munged.pid"}
    words = [f"--{option}={base / 'm' / name}" for option, name in files.items()]
    commands = [
        ["munged", "--foreground", *words, f"--seed-file={base / 'm' / 'munge.seed'}", "--num-threads=2"],
        ["slurmctld", "-D"],
        *(["slurmd", "-N", node, "-D"] for node in ("node1", "node2")),
    ]
    daemons = list[subprocess.Popen[bytes]]()
    try:
        for command in commands:
            with (base / "log" / f"out-{len(daemons)}").open("wb") as log:
                daemons.append(subprocess.Popen(command, stdout=log, stderr=log))
            if command[0] == "munged":
                _until((base / "m" / "munge.socket").exists, base)
        _until(lambda: slurm("sinfo", "-h", "-N", "-o", "%T").split() == ["idle", "idle"], base)
        yield
    finally:
        slurm("scancel", "--me")
        _until(lambda: not slurm("squeue", "-h").strip(), base)
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
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
