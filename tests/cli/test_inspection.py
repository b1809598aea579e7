"""Telling what there is: status while a sweep runs and after it, logs, verify and its repair."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sddcli.store import Store
from tests.conftest import SMALL, Sdd


def test_status_of_a_finished_sweep(sdd: Sdd, trained: Path) -> None:
    assert sdd("status", trained).out == "12 runs: 12 done, 0 running, 0 waiting\n"
    assert sdd("status", trained, "--watch").code == 0, "nothing is left to wait for"


def test_status_of_a_sweep_at_work_and_of_one_that_was_killed(sdd: Sdd, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    words = ["--levels", "0-2", "--seeds", "0-1", "--epochs", "300", "--set", "eval_every=300", "--runs", str(root)]
    process = subprocess.Popen([sys.executable, "-m", "sddcli", "sweep", *words], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(root.rglob("*dense*/.lock")) and time.monotonic() < deadline:
        time.sleep(0.05)
    said = sdd("status", root, "--json").json
    assert said["runs"] == 6 and len(said["running"]) >= 1 and "dense-seed0" in " ".join(said["running"])
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(1)  # for the workers to see it
    said = sdd("status", root)
    assert "6 runs: 0 done, 0 running, 6 waiting" in said.out and "left: unknown" in said.out


def test_status_and_logs_of_failures(sdd: Sdd, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    words = ["--levels", "0-2", "--seeds", "0", "--epochs", "2", "--lr", "0.1,1e30", "--runs", root]
    assert sdd("sweep", *words).code == 3
    said = sdd("status", root)
    assert "6 runs: 3 done, 0 running, 0 waiting" in said.out and "diverged" in said.out
    assert "2 runs need one of them" in said.out and all(len(line) < 200 for line in said.out.splitlines())
    failed = next(root.rglob("failed.json")).parent
    told = sdd("logs", failed)
    assert told.code == 0 and "diverged" in told.out and "ValueError" in told.out
    assert sdd("sweep", *words, "--retry-failed").err.count("diverged") == 1
    assert "--retry-failed" in sdd("sweep", *words).err
    whole = sdd("logs", next(root.rglob("level-02")))
    assert "trained" in whole.out and "train loss" in whole.out and "command: sdd sweep" in whole.out


def test_verify_names_what_is_damaged_and_repair_lets_it_be_made_again(sdd: Sdd, trained: Path, tmp_path: Path) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    assert sdd("verify", root, "--evaluate").out == "12 runs, 0 of them damaged\n"
    path = next(root.rglob("level-02/weights.safetensors"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    said = sdd("verify", root)
    assert said.code == 4 and str(path) in said.err and said.out == "12 runs, 1 of them damaged\n"
    assert sdd("sweep", *SMALL, "--runs", root).code == 4
    assert sdd("verify", root, "--repair").code == 0 and not path.exists()
    assert [each.read_bytes() for each in (root / ".damaged").rglob("weights.safetensors")] == [whole[:-1]]
    assert sdd("status", root).out.startswith("12 runs: 11 done, 0 running, 1 waiting")
    assert sdd("sweep", *SMALL, "--runs", root).code == 0 and path.read_bytes() == whole
    assert sdd("verify", root).code == 0 and len(list(Store(root).manifests())) == 12


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("status none", "no runs folder at"),
        ("verify none", "no runs folder at"),
        ("logs .", "is no folder of a run"),
    ],
)
def test_errors_are_one_line(
    sdd: Sdd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    said = sdd(*words.split())
    assert said.code == 4 and message in said.err and said.err.count("\n") == 1 and list(tmp_path.iterdir()) == []
