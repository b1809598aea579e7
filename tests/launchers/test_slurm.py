"""Slurm: jobs of an array make what a sweep of this machine makes, whichever of them is requeued or cancelled."""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sddcli.core.words import UsageError
from sddcli.launchers import slurm
from sddcli.resolve import runs
from sddcli.spec import with_parents
from tests.conftest import Sdd
from tests.launchers import engines
from tests.launchers.test_local import everything
from tests.launchers.test_ray import SWEEP, start

SLOW = """
import os, time
os.fsync = lambda _: time.sleep({seconds})
"""
"""A disk that takes its time, so that a sweep that saves after each epoch lasts without keeping the cores busy."""


def until(what: Callable[[], bool], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, engines.slurm("squeue")
        time.sleep(0.05)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engines.Slurm]:
    """One Slurm for all tests of this file."""
    base = tmp_path_factory.mktemp("slurm")
    with pytest.MonkeyPatch.context() as patch, engines.slurm_cluster(base / "base", patch) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep, made on this machine."""
    root = tmp_path_factory.mktemp("local") / "runs"
    assert start(root).wait() == 0
    return root


def submitted(sdd: Sdd, shared: Path, *words: object) -> str:
    """The number of the array of jobs that make the sweep."""
    ended = sdd("sweep", *SWEEP, "--runs", shared, "--on", "slurm", *words)
    array = re.search(r"to Slurm, array (\d+)", ended.out)
    assert ended.code == 0 and array, ended.err
    return array[1]


def slowly(seconds: float, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Jobs that begin from now on wait for so long with each file and folder that they save, 2000 in all.

    Until the file is removed whose path is returned.
    """
    (folder / "sitecustomize.py").write_text(SLOW.format(seconds=seconds))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder / "sitecustomize.py"


def must_be_made_alike(sdd: Sdd, shared: Path, local: Path) -> str:
    """Waits for the jobs; what they made has to be what this machine makes. Returns what they said."""
    until(lambda: not engines.slurm("squeue", "-h").strip())
    logs = "".join(path.read_text() for path in sorted((shared / ".jobs").rglob("*.out")))
    assert sdd("status", shared).out.startswith("8 runs: 8 done, 0 running, 0 waiting"), logs
    ended = sdd("sweep", *SWEEP, "--runs", shared, "--on", "slurm")
    assert ended.out == "all runs are finished\n"
    assert sdd("sweep", *SWEEP, "--runs", shared).code == 0  # writes the table
    assert (shared / "results.csv").read_bytes() == (local / "results.csv").read_bytes()
    made = {name: content for name, content in everything(shared).items() if not name.startswith(".jobs")}
    assert made == everything(local)
    assert not list(shared.rglob(".lock")) and not list(shared.rglob("checkpoint*"))
    return logs


@pytest.mark.slurm
def test_jobs_requeued_and_cancelled_in_mid_chain_change_no_number(
    sdd: Sdd, tmp_path: Path, cluster: engines.Slurm, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is requeued and goes on where it was saved, one is cancelled: the other has its chain at the end."""
    shared, slow = tmp_path / "shared", slowly(0.01, tmp_path, monkeypatch)
    array = submitted(sdd, shared, "--partition", "main", "--time", 5, "--checkpoint-every", 0)
    assert not list(shared.rglob("level-03"))
    until(lambda: len(list(shared.rglob("level-01/checkpoint.json"))) == 2)
    slow.unlink()
    engines.slurm("scancel", "--signal=USR2", f"{array}_0")  # as before its time limit
    engines.slurm("scancel", f"{array}_1")
    assert sdd("status", shared, "--watch").out.endswith("8 runs: 8 done, 0 running, 0 waiting\n")
    logs = must_be_made_alike(sdd, shared, local)
    assert logs.count("is finished") >= 8 and "Requeued job" in logs, logs


@pytest.mark.slurm
def test_a_job_that_reaches_its_time_limit_goes_on_where_it_was_saved(
    sdd: Sdd, tmp_path: Path, cluster: engines.Slurm, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is a minute, the shortest; Slurm looks for those that reach it twice a minute, and is early."""
    shared, slow = tmp_path / "shared", slowly(0.03, tmp_path, monkeypatch)
    array = submitted(sdd, shared, "--time", 1, "--workers", 1, "--checkpoint-every", 0)
    until(lambda: bool(list(shared.rglob("checkpoint.json"))))
    before = restarts(array)  # on a busy machine it is over before anything is in training
    until(lambda: restarts(array) > before)
    slow.unlink()
    engines.slurm("scontrol", "update", f"JobId={array}", "TimeLimit=60")  # it was seen to be queued again
    assert len(list(shared.rglob("level-03/manifest.json"))) < 2
    logs = must_be_made_alike(sdd, shared, local)
    assert "Requeued job" in logs and logs.count("is finished") == 8, logs


@pytest.mark.slurm
def test_a_job_that_a_more_urgent_one_takes_the_place_of_goes_on_afterwards(
    sdd: Sdd, tmp_path: Path, cluster: engines.Slurm, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As most clusters preempt: it is told to end, killed a little later, and queued again by Slurm itself."""
    shared, slow = tmp_path / "shared", slowly(0.005, tmp_path, monkeypatch)
    array = submitted(sdd, shared, "--partition", "main", "--workers", 1, "--checkpoint-every", 0)
    until(lambda: bool(list(shared.rglob("level-01/checkpoint.json"))))
    engines.slurm("sbatch", "--partition=urgent", "--nodes=2", "--output=/dev/null", "--wrap", "sleep 1")
    until(lambda: restarts(array) == 1)
    slow.unlink()
    assert len(list(shared.rglob("level-03/manifest.json"))) < 2
    must_be_made_alike(sdd, shared, local)


@pytest.mark.slurm
@pytest.mark.parametrize("processes", [True, False], ids=["without power", "cut off"])
def test_a_node_lost_in_mid_chain_changes_no_number(
    sdd: Sdd, tmp_path: Path, cluster: engines.Slurm, local: Path, monkeypatch: pytest.MonkeyPatch, processes: bool
) -> None:
    """Slurm queues its job again, on the other node; one that is cut off goes on with it, and both want its runs."""
    shared, slow = tmp_path / "shared", slowly(0.005 if processes else 0.05, tmp_path, monkeypatch)
    array = submitted(sdd, shared, "--workers", 1, "--checkpoint-every", 0)
    until(lambda: bool(list(shared.rglob("level-01/checkpoint.json"))))
    node = engines.slurm("squeue", "-h", "-o", "%N").strip()
    cluster.lose(node, processes)
    until(lambda: restarts(array) == 1)
    slow.unlink()
    try:
        assert len(list(shared.rglob("level-03/manifest.json"))) < 2
        must_be_made_alike(sdd, shared, local)
    finally:
        cluster.begin_node(node)
        cluster.wait()


def restarts(array: str) -> int:
    """How often a job was queued again."""
    answer = re.search(r"Restarts=(\d+)", engines.slurm("scontrol", "show", "job", array))
    assert answer, engines.slurm("squeue")
    return int(answer[1])


@pytest.mark.slurm
def test_what_slurm_cannot_do_is_said_before_anything_is_submitted(
    sdd: Sdd, tmp_path: Path, cluster: engines.Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_it = ("sweep", *SWEEP, "--runs", tmp_path / "runs", "--on", "slurm")
    for words, what in (
        (("--partition", "mian"), "unknown partition 'mian'; did you mean 'main'?"),
        (("--gpus-per-task", 2), "Slurm refuses: "),
        (("--gpus-per-task", 1), "sees 0 GPUs (on node "),
        (("--device", "cuda"), "sees 0 GPUs (on node "),
        (("--device", "cuda:0"), "--device takes auto, cpu, cuda with --on slurm, got 'cuda:0'"),
        (("--fail-fast",), "--fail-fast does not go with --on slurm, which returns at once"),
        (("--gpus-per-task", 0.5), "--gpus-per-task of Slurm takes whole GPUs, got 0.5"),
        (("--threads", 64), "Slurm refuses: "),
        (("--time", "soon"), "--time takes minutes, HOURS:MINUTES:SECONDS or DAYS-HOURS, got 'soon'"),
        (("--model", "nosuch"), "unknown model"),
    ):
        ended = sdd(*on_it, *words)
        assert ended.code == 2 and what in ended.err and ended.err.count("\n") == 1, (words, ended.err)
    assert not (tmp_path / "runs").exists() and not engines.slurm("squeue", "-h").strip()
    (tmp_path / "runs").mkdir()
    assert sdd("cancel", tmp_path / "runs").out == f"no job of {tmp_path / 'runs'} waits or runs\n"
    engines.what_nodes_lack(tmp_path, monkeypatch, "--on", "slurm")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    ended = sdd(*on_it)
    assert ended.code == 2 and "a node has no /nowhere/python: install sdd " in ended.err, ended.err


def test_without_slurm_or_submitit_it_is_said_what_is_missing(
    sdd: Sdd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_it = ("sweep", *SWEEP, "--runs", tmp_path / "runs", "--on", "slurm")
    monkeypatch.setitem(sys.modules, "submitit", None)
    ended = sdd(*on_it)
    assert (ended.code, ended.err) == (
        2,
        "sdd: --on slurm needs submitit, which is not installed: pip install 'sddcli[slurm]'\n",
    )
    monkeypatch.setitem(sys.modules, "submitit", os)  # any module: it is not used before Slurm is seen
    monkeypatch.setattr(slurm.shutil, "which", lambda program: None)
    ended = sdd(*on_it)
    assert ended.code == 2 and "no Slurm here: sinfo is not on the PATH" in ended.err
    assert sdd("sweep", *SWEEP, "--on", "slrum").err.startswith("sdd: unknown launcher 'slrum'; did you mean 'slurm'?")


TIMES = {"90": 90, "1:30:00": 90, "90:30": 91, "2-12": 3600, "1-0:30": 1470, "1-00:00:01": 1441}


@pytest.mark.parametrize("text", TIMES)
def test_times_are_written_as_slurm_writes_them(text: str) -> None:
    assert slurm.minutes_of(text) == TIMES[text]


@pytest.mark.parametrize("text", ["", "0", "soon", "1-", "-5", "1.5"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--time takes"):
        slurm.minutes_of(text)


def test_jobs_begin_with_different_chains_and_parents_come_first() -> None:
    todo = with_parents(runs({"seed": "0-5", "level": "0-3"}))
    orders = [slurm._own_first(todo, number, 3) for number in range(3)]
    assert len({order[0] for order in orders}) == 3
    for order in orders:
        assert sorted(run.id for run in order) == sorted(run.id for run in todo)
        assert all(order.index(parent) < order.index(run) for run in order for parent in run.parents)
