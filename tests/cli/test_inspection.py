"""Telling what there is: status while a sweep runs and after it, logs, verify and its repair."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from sddcli.store import Store
from tests.cli.bad import BAD, OTHERS
from tests.conftest import SMALL, Sdd, small


def test_status_of_a_finished_sweep(sdd: Sdd, trained: Path) -> None:
    assert sdd("status", trained).out == "12 runs: 12 done, 0 running, 0 waiting\n"
    assert sdd("status", trained, "--watch").code == 0, "nothing is left to wait for"


@pytest.mark.slow
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
    swept = sdd("sweep", *words)
    assert swept.code == 3 and swept.err.count("level 0 (lr 1e+30) failed: diverged") == 1
    assert "level 1 (lr 1e+30) failed: needs the dense network, which failed" in swept.err
    said = sdd("status", root)
    assert "6 runs: 3 done, 0 running, 0 waiting" in said.out and "diverged" in said.out
    assert "2 runs depend on failed ones" in said.out and all(len(line) < 200 for line in said.out.splitlines())
    failed = next(root.rglob("failed.json")).parent
    told = sdd("logs", failed)
    assert told.code == 0 and "diverged" in told.out and "UsageError" in told.out
    assert "differs in: lr 1e+30\nsettings: dataset digits, model lenet-300-100, noise 0.4, epochs 2" in told.out
    assert sdd("sweep", *words, "--retry-failed").err.count("diverged") == 1
    assert "--retry-failed" in sdd("sweep", *words).err
    whole = sdd("logs", next(root.rglob("level-02")))
    assert "differs in: lr 0.1\n" in whole.out and "rate 0.2" in whole.out
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


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["masks", "last"])
def test_gc_frees_what_no_level_is_pruned_from_any_more(sdd: Sdd, trained: Path, tmp_path: Path, keep: str) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    before = (root / "results.csv").read_bytes()
    sizes = {path: path.stat().st_size for path in root.rglob("*.safetensors")}
    assert "would free" in sdd("gc", root, "--dry-run").out and all(path.exists() for path in sizes)
    said = sdd("gc", root, "--keep", keep)
    gone = {path for path in sizes if not path.exists()}
    assert {path.parent.name for path in gone} == {"level-01", "level-02"} and len(gone) == 6
    masks = sorted(root.rglob("masks.safetensors"))
    freed = sum(sizes[path] for path in gone) - sum(path.stat().st_size for path in masks)
    assert f"freed {freed / 1e6:.1f} MB of weights of 6 runs" in said.out and len(masks) == (
        6 if keep == "masks" else 0
    )
    assert (
        sdd("gc", root, "--keep", keep).out.startswith("freed 0.0 MB") and sdd("verify", root, "--evaluate").code == 0
    )
    assert sdd("list", root).code == 0 and sdd("sweep", *SMALL, "--runs", root).code == 0
    assert (root / "results.csv").read_bytes() == before
    longer = [*small("--levels", "4"), "--retraining", "lottery"]
    whole = shutil.copytree(trained, tmp_path / "whole")
    for folder in (root, whole):
        assert sdd("sweep", *longer, "--runs", folder).code == 0
    for path in whole.rglob("level-04/weights.safetensors"):
        assert (root / path.relative_to(whole)).read_bytes() == path.read_bytes()
    again = sdd("sweep", *small("--levels", "2"), "--retraining", "reinit", "--runs", root)
    if keep == "masks":
        assert again.code == 0, "its masks are all that it takes"
    else:
        assert again.code == 4 and "was dropped to save space; remove" in again.err


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["masks", "last"])
def test_a_sweep_that_keeps_less_has_the_same_numbers(sdd: Sdd, trained: Path, tmp_path: Path, keep: str) -> None:
    words = [*SMALL, "--retraining", "lottery,reinit", "--keep", keep, "--runs", tmp_path]
    assert sdd("sweep", *words).code == 0
    chain = next(tmp_path.glob("*lottery-seed1*"))
    assert [(chain / f"level-0{k}" / "weights.safetensors").exists() for k in (1, 2, 3)] == [False, False, True]
    ours = pd.read_csv(tmp_path / "results.csv", dtype=str)
    theirs = pd.read_csv(trained / "results.csv", dtype=str)
    accuracies = [frame.set_index(["chain", "level"])["test_accuracy"] for frame in (ours, theirs)]
    assert accuracies[0][accuracies[1].index].equals(accuracies[1]) and len(ours) == 2 * len(theirs)
    assert sdd("verify", tmp_path).code == 0


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


@pytest.mark.parametrize("kind", BAD)
def test_one_bad_folder_stops_no_command(
    sdd: Sdd, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    root = shutil.copytree(trained, tmp_path / "runs")
    shutil.rmtree(root / "sweeps")
    bad = BAD[kind](root)
    for words in (
        "list",
        "status",
        "analyze double-descent",
        "gc --dry-run",
        "verify",
        "report",
        "plot double-descent",
    ):
        command, *more = words.split()
        said = sdd(command, *more, root)
        assert said.code == 4 and said.out, f"{words}: {said.err}"
        assert str(bad) in said.err and "Traceback" not in said.err
        if kind in OTHERS:
            assert "damaged" not in said.err and "remove" not in said.err and "is not of sdd" in said.err
    assert (tmp_path / "report.html").exists() and (tmp_path / "double-descent.png").exists()
    said = sdd("sweep", *SMALL, "--runs", root)
    assert said.code == 4 and "level" in said.out and "Traceback" not in said.err
    repaired = sdd("verify", root, "--repair")
    left = kind in (*OTHERS, "a later version's")
    assert repaired.code == (4 if left else 0) and os.path.lexists(bad) == left
    assert left or (sdd("sweep", *SMALL, "--runs", root).code == 0 and sdd("list", root).code == 0)


def reader(root: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """sdd as someone who may only read `root`: root is made to, where it is another user's and gives up its rights."""
    for path in (root, *root.rglob("*")):
        if os.geteuid():
            path.chmod(path.stat().st_mode & ~0o222)
        else:
            os.chown(path, 5001, 5001, follow_symlinks=False)
    without = [] if os.geteuid() else ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    command = [*without, sys.executable, "-m", "sddcli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=root.parent, check=False)


may_give_up = pytest.mark.skipif(not os.geteuid() and not shutil.which("setpriv"), reason="root without setpriv")


@may_give_up
def test_who_may_only_read_is_answered_and_told_once_what_is_not_saved(trained: Path, tmp_path: Path) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    before = sorted(root.rglob("*"))
    for words in ("analyze double-descent", "analyze learning-distance", "list", "status"):
        command, *more = words.split()
        said = reader(root, command, *more, root)
        assert said.returncode == 0 and said.stdout, f"{words}: {said.stderr}"
        assert said.stderr.count("is not saved") == (command == "analyze"), f"{words}: {said.stderr}"
        assert ".csv" not in said.stdout and ("to plot it: sdd plot" in said.stdout) == (command == "analyze")
        assert said.stderr.count("\n") == (command == "analyze") and sorted(root.rglob("*")) == before


@pytest.mark.slow
@may_give_up
def test_a_folder_that_one_may_not_read_is_named_and_the_rest_is_read(trained: Path, tmp_path: Path) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    shutil.rmtree(root / "sweeps")
    closed = next(root.glob("*lottery-seed2*"))
    os.chown(closed, *((5001, 5001) if not os.geteuid() else (-1, -1)))
    closed.chmod(0)
    try:
        for words in ("list", "status", "analyze double-descent", "verify", "verify --repair", "gc --dry-run"):
            command, *more = words.split()
            without = [] if os.geteuid() else ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
            line = [*without, sys.executable, "-m", "sddcli", command, *more, str(root)]
            said = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, check=False)
            assert said.returncode == 4 and said.stdout, f"{words}: {said.stderr}"
            assert str(closed) in said.stderr and "ermission" in said.stderr, f"{words}: {said.stderr}"
            assert "damaged" not in said.stderr and "Traceback" not in said.stderr and closed.exists()
    finally:
        closed.chmod(0o700)


def test_every_command_bears_a_folder_of_other_runs(
    sdd: Sdd, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another data set, model and noise than what is asked for, or of dense networks only."""
    monkeypatch.chdir(tmp_path)
    root = shutil.copytree(trained, tmp_path / "runs")
    other = ["--dataset", "mnist", "--model", "lenet-300-100", "--noise", "0,0.4"]
    for more in (
        ["--levels", "0-3"],
        ["--levels", "0-3", "--json"],
        ["--levels", "auto"],
        ["--seeds", "0", "--levels", "0"],
    ):
        said = sdd("sweep", *other, *more, "--dry-run", "--runs", root)
        assert said.code == 0 and said.out and "Warning" not in said.err and "NaN" not in said.out, said.err
    for chain in root.glob("*lottery*"):
        shutil.rmtree(chain)
    for words in ("list", "status", "report", "gc", "verify", "plot best-epoch", "analyze learning-distance"):
        command, *more = words.split()
        said = sdd(command, *more, root)
        assert said.code == 0 and said.out and "Warning" not in said.err, f"{words}: {said.err}"
    for words in ("plot double-descent", "analyze double-descent"):
        command, *more = words.split()
        said = sdd(command, *more, root)
        assert "Traceback" not in said.err and "Warning" not in said.err and "bug" not in said.err, said.err
        assert said.code in (0, 4), said.err
