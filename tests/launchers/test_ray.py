"""Ray: a sweep on a cluster is the sweep of this machine, and a node that is lost costs nothing."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sddcli.core.words import UsageError
from sddcli.launchers import ray
from tests.conftest import Sdd
from tests.launchers import engines
from tests.launchers.engines import ray_cluster
from tests.launchers.test_local import everything

SWEEP = ["--levels", "0-3", "--seeds", "0-1", "--epochs", "200", "--set", "eval_every=100"]


def start(root: Path, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "sddcli", "sweep", *SWEEP, "--runs", str(root), *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def until(what: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 900
    while not what():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def lock_holders(root: Path) -> set[int]:
    """The processes of this machine that hold the lock of a run."""
    files = set[int]()
    for file in root.rglob(".lock"):
        with suppress(OSError):  # that of a run which is finished now
            files.add(file.stat().st_ino)
    locks = [line.split() for line in Path("/proc/locks").read_text().splitlines() if " FLOCK " in line]
    return {int(words[4]) for words in locks if int(words[5].rpartition(":")[2]) in files}


def training_on(node: Any, root: Path) -> list[int]:
    """The processes of a Ray node that hold the lock of a run; its raylet starts all others of it."""
    raylets = {each.process.pid for each in node.all_processes["raylet"]}
    return [pid for pid in lock_holders(root) if parent(pid) in raylets]


def parent(pid: int) -> int:
    """The process that started another one; 0 where that has ended."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


@pytest.mark.ray
def test_a_node_lost_in_mid_sweep_changes_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both nodes train a chain when one is killed; another Ray worker goes on with its chain where it was saved."""
    local, shared = tmp_path / "local", tmp_path / "shared"
    longer = ("--levels", "0-5")
    assert start(local, *longer).wait() == 0
    with ray_cluster(monkeypatch) as (cluster, kept, lost):
        on_ray = ("--on", "ray", "--address", cluster.address, "--checkpoint-every", "0.2")
        sweeping = start(shared, *longer, *on_ray)
        # Where one node's worker starts much later than the other's, that one trains both chains for a level.
        until(lambda: all(training_on(node, shared) for node in (kept, lost)), sweeping)
        until(lambda: len(list(shared.rglob("checkpoint.json"))) == 2, sweeping)
        cut_off = training_on(lost, shared)
        cluster.remove_node(lost, allow_graceful=False)
        for pid in cut_off:  # they may outlive their node by seconds, within which a chain could be finished
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _, err = sweeping.communicate(timeout=900)
    assert sweeping.returncode == 0 and "a worker was lost" in err, err
    assert (shared / "results.csv").read_bytes() == (local / "results.csv").read_bytes()
    assert everything(shared) == everything(local)
    assert not list(shared.rglob(".lock")) and not list(shared.rglob("checkpoint*"))


@pytest.mark.ray
def test_what_a_cluster_cannot_do_is_said_before_anything_is_written(
    sdd: Sdd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ray_cluster(monkeypatch) as (cluster, *_):
        on_it = ("sweep", *SWEEP, "--runs", tmp_path / "runs", "--on", "ray", "--address", cluster.address)
        ended = sdd(*on_it, "--gpus-per-task", 1)
        assert ended.code == 2 and "no node of the cluster has 1 core and 1 GPUs for a worker" in ended.err
        for words, what in (
            (("--device", "cuda"), "no node of the cluster has 1 core and 1 GPUs for a worker"),
            (("--device", "cuda:0"), "--device takes auto, cpu, cuda with --on ray, got 'cuda:0'"),
            (("--model", "nosuch"), "unknown model"),
            (("--partition", "main"), "--partition goes with --on slurm"),
        ):
            ended = sdd(*on_it, *words)
            assert ended.code == 2 and what in engines.refusal(ended.err), ended.err
        engines.what_nodes_lack(tmp_path, monkeypatch, "--on", "ray", "--address", cluster.address)
        cluster.add_node(num_cpus=1, num_gpus=1)  # as one says whose driver is broken
        ended = sdd(*on_it)
        line = engines.refusal(ended.err)
        assert ended.code == 2 and "no device cuda here: torch" in line and "(on node " in line, ended.err
    assert not (tmp_path / "runs").exists()


def test_a_slow_cluster_is_waited_for_and_one_that_never_answers_is_not() -> None:
    """Time that passes is pretended: its answers come after so many seconds."""

    class Slow:
        def __init__(self, *seconds: float) -> None:
            self.seconds, self.passed = seconds, 0.0

        def wait(self, questions: list[int], num_returns: int, timeout: float) -> tuple[list[int], list[int]]:
            self.passed = min(self.passed + timeout, max(self.passed, sorted(self.seconds)[num_returns - 1]))
            done = [each for each in questions if self.seconds[each] <= self.passed]
            return done[:num_returns], [each for each in questions if each not in done]

    heard: list[Any] = []

    def ask(cluster: Slow, least: int) -> list[Any]:
        heard.clear()
        questions = list(range(len(cluster.seconds)))
        return ray._answered_in_time(cluster, questions, least, "the cluster has no news", heard.append)

    assert ask(Slow(1.0, 500.0), 1) == [0] and not heard
    assert ask(Slow(1.0, 250.0), 2) == [0, 1] and len(heard) == 1
    assert "no news yet: waiting up to 300 s;" in heard[0].sentence
    with pytest.raises(UsageError, match="the cluster has no news within 300 s; `ray status`"):
        ask(Slow(1.0, 301.0), 2)
    assert len(heard) == 1


def test_a_cluster_that_does_not_answer_is_said_at_once(sdd: Sdd, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    began = time.monotonic()
    for address, what in (
        (f"127.0.0.1:{port}", f"no Ray cluster answers at 127.0.0.1:{port} (Connection refused)"),
        ("head", "--address takes auto or HOST:PORT of a cluster's head"),
        ("ray://127.0.0.1:1", "--address takes auto or HOST:PORT"),
    ):
        ended = sdd("sweep", *SWEEP, "--runs", tmp_path / "runs", "--on", "ray", "--address", address)
        assert ended.code == 2 and what in ended.err and ended.err.count("\n") == 1, ended.err
    assert time.monotonic() - began < 30 and not (tmp_path / "runs").exists()


def test_what_to_install_is_said(sdd: Sdd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # importing it fails
    ended = sdd("sweep", *SWEEP, "--runs", tmp_path / "runs", "--on", "ray")
    assert (ended.code, ended.err) == (
        2,
        "sdd: --on ray needs Ray, which is not installed: pip install 'sddcli[ray]'\n",
    )
