"""Slurm: jobs of an array make what a sweep of this machine makes, whichever of them is requeued or cancelled."""

import os
import re
import sys
import time
from collections.abc import Callable
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


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not what():
        assert time.monotonic() < deadline, engines.slurm("squeue")
        time.sleep(0.05)


@pytest.mark.slurm
def test_jobs_requeued_and_cancelled_in_mid_chain_change_no_number(
    sdd: Sdd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is requeued and goes on where it was saved, one is cancelled: the other has its chain at the end."""
    local, shared = tmp_path / "local", tmp_path / "shared"
    assert start(local).wait() == 0
    with engines.slurm_cluster(tmp_path / "slurm", monkeypatch):
        ended = sdd("sweep", *SWEEP, "--runs", shared, "--on", "slurm", "--partition", "main", "--time", 5)
        assert ended.code == 0 and "submitted 2 jobs to Slurm, array" in ended.out, ended.err
        array = re.search(r"array (\d+)", ended.out)
        assert array and not list(shared.rglob("level-03"))
        until(lambda: len(list(shared.rglob("level-01/checkpoint.json"))) == 2)
        engines.slurm("scancel", "--signal=USR2", f"{array[1]}_0")  # as before its time limit, or where it is preempted
        engines.slurm("scancel", f"{array[1]}_1")
        until(lambda: len(list(shared.rglob("level-03/manifest.json"))) == 2)
        until(lambda: not engines.slurm("squeue", "-h").strip())
        assert sdd("status", shared, "--watch").out.startswith("8 runs: 8 done, 0 running, 0 waiting")
        logs = "".join(path.read_text() for path in (shared / ".jobs").rglob("*.out"))
        ended = sdd("sweep", *SWEEP, "--runs", shared, "--on", "slurm")
        assert ended.out == "all runs are finished\n"
    assert sdd("sweep", *SWEEP, "--runs", shared).code == 0  # writes the table
    assert (shared / "results.csv").read_bytes() == (local / "results.csv").read_bytes()
    made = {name: content for name, content in everything(shared).items() if not name.startswith(".jobs")}
    assert made == everything(local)
    assert logs.count("is finished") >= 8 and "Requeued job" in logs, logs


@pytest.mark.slurm
def test_what_slurm_cannot_do_is_said_before_anything_is_submitted(
    sdd: Sdd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engines.slurm_cluster(tmp_path / "slurm", monkeypatch):
        on_it = ("sweep", *SWEEP, "--runs", tmp_path / "runs", "--on", "slurm")
        for words, what in (
            (("--partition", "mian"), "unknown partition 'mian'; did you mean 'main'?"),
            (("--gpus-per-task", 1), "Slurm refuses: "),
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
        with pytest.raises(UsageError, match="does not see .*/elsewhere: --runs must be a folder that all nodes share"):
            slurm._look_at_node(tmp_path / "elsewhere" / "mark", slurm.Wanted())


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
