"""Local: every run once, parents first, whatever is killed, missing or failing."""

import hashlib
import json
import multiprocessing
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path
from threading import Timer

import pytest

from sddcli.core.words import UsageError
from sddcli.events import Advanced, Busy, Event, Failed, Saved
from sddcli.launchers.local import Policy, sweep
from sddcli.resolve import runs
from sddcli.spec import with_parents
from sddcli.store import Store

SWEEP = ["--levels", "0-3", "--seeds", "0-2", "--epochs", "3", "--set", "eval_every=2"]


def everything(root: Path) -> dict[str, str]:
    """Path -> hash of all that two sweeps must agree in: weights, histories, measures, tables."""
    found = {}
    for path in sorted(root.rglob("*")):
        named = path.name != "manifest.json" and path.parent.name != "sweeps" and not path.name.startswith(".")
        if path.is_file() and named:
            found[str(path.relative_to(root))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def start(root: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "sddcli", "sweep", *SWEEP, "--runs", str(root), *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("missing", [(1, 3), (2, 1), (0, 0)], ids=str)
def test_one_missing_member_of_a_batch_comes_back_bit_for_bit(
    trained: Path, tmp_path: Path, missing: tuple[int, int]
) -> None:
    seed, level = missing
    root = shutil.copytree(trained, tmp_path / "runs")
    store = Store(root)
    run = next(run for run, _ in store.manifests() if (run.seed, run.level) == (seed, level))
    times = {path: path.stat().st_mtime_ns for path in root.rglob("weights.safetensors")}
    gone = store.folder(run)
    for path in gone.glob("*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert start(root, "--workers", "1").wait() == 0
    assert everything(root) == everything(trained)
    assert all(path.stat().st_mtime_ns == then for path, then in times.items() if path.parent != gone)


@pytest.mark.slow
def test_a_worker_that_dies_fails_its_runs_and_no_others(tmp_path: Path) -> None:
    """The worker that trains seed 1 is killed; the other seeds' chains are finished and the sweep ends with 3."""
    sweep = start(tmp_path / "runs", "--epochs", "40", "--workers", "3")
    deadline, victims = time.monotonic() + 60, []
    while time.monotonic() < deadline and not list((tmp_path / "runs").rglob("level-01/manifest.json")):
        time.sleep(0.02)
    children = Path(f"/proc/{sweep.pid}/task/{sweep.pid}/children").read_text().split()
    for child in map(int, children):
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            victims.append(child)
    os.kill(victims[-1], signal.SIGKILL)
    assert sweep.wait() == 3
    done = {run.seed for run, _ in Store(tmp_path / "runs").manifests() if run.level == 3}
    assert 1 <= len(done) < 3


def kill_workers(sweeping: int) -> None:
    children = Path(f"/proc/{sweeping}/task/{sweeping}/children").read_text().split()
    for child in map(int, children):
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(child, signal.SIGKILL)
    time.sleep(0.5)


@pytest.mark.slow
def test_a_worker_that_dies_with_its_last_words_unheard_is_no_hang(tmp_path: Path) -> None:
    """The sweep is busy when its workers are killed: their messages are read first, then their end."""
    store, heard = Store(tmp_path / "runs"), list[Event]()
    todo = with_parents(runs({"seed": "0,1", "level": "0", "epochs": "600"}))

    def report(event: Event) -> None:
        heard.append(event)
        if len(heard) == 3:
            time.sleep(0.5)
            kill_workers(os.getpid())

    sweep(store, todo, {}, 2, 1, "cpu", report)
    failed = [event for event in heard if isinstance(event, Failed)]
    assert {event.run for event in failed} == set(todo) and "exit code -9" in failed[0].reason


@pytest.mark.slow
def test_an_idle_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    store, heard = Store(tmp_path / "runs"), list[Event]()
    todo = with_parents(runs({"seed": "0", "level": "0-1", "epochs": "2", "criterion": "magnitude,random"}))

    def report(event: Event) -> None:
        heard.append(event)
        if len(heard) == 1:  # one worker trains the only dense run, the other waits
            busy = multiprocessing.active_children()
            idle = max(busy, key=lambda process: process.pid or 0)
            os.kill(idle.pid or 0, signal.SIGKILL)
            time.sleep(0.3)

    sweep(store, todo, {}, 2, 1, "cpu", report)
    assert all(store.finished(run) for run in todo) and not [e for e in heard if isinstance(e, Failed)]


def test_a_run_that_another_sweep_finished_meanwhile_is_left_alone(trained: Path, tmp_path: Path) -> None:
    root = shutil.copytree(trained, tmp_path / "runs")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("manifest.json")}
    todo, heard = [run for run, _ in Store(root).manifests()], list[Event]()
    sweep(Store(root), with_parents(todo), {}, 1, 1, "cpu", heard.append)
    assert heard.count(Saved(todo[0])) == 1 and len(heard) == len(todo)
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("manifest.json")}


PRETENDED = """
import os, torch
from sddcli.recipes import prune_retrain

real = prune_retrain.load

def load(name, train_size=0, validation=0.0, device="cpu", tell=None):
    if device != "cpu":
        with open(os.environ["DEVICES_LOG"], "a") as log:
            log.write(f"{os.getpid()} {device}\\n")
    return real(name, train_size, validation)

prune_retrain.load = load
torch.cuda.device_count = lambda: 2
torch.cuda.set_device = lambda device: None
torch.cuda.get_device_name = lambda device: f"pretended {device}"
"""
"""Two GPUs that are the CPU: which process puts data where is logged."""


@pytest.mark.slow
def test_each_worker_keeps_to_its_own_device(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two pretended GPUs each gets a worker; all runs are trained once, as on the CPU, each where it says."""
    (tmp_path / "sitecustomize.py").write_text(PRETENDED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("DEVICES_LOG", str(tmp_path / "devices"))
    heard, store = list[Event](), Store(tmp_path / "runs")
    asked = with_parents(runs({"seed": "0-2", "level": "0-3", "epochs": "3", "eval_every": "2"}))
    sweep(store, asked, {}, 2, 1, "cuda:0,1", heard.append)
    epochs = [run for event in heard if isinstance(event, Advanced) for run in event.runs]
    assert {epochs.count(run) for run in asked} == {3}, "not every run for its three epochs, once"
    logged = {tuple(line.split()) for line in (tmp_path / "devices").read_text().splitlines()}
    assert len(logged) == 2 and {device for _, device in logged} == {"cuda:0", "cuda:1"}
    assert {manifest["device"] for _, manifest in store.manifests()} == {"pretended cuda:0", "pretended cuda:1"}
    assert all(manifest["host"] == platform.node() for _, manifest in store.manifests())
    reference, made = everything(trained), everything(tmp_path / "runs")
    assert made == {name: reference[name] for name in made}


@pytest.mark.slow
def test_a_device_that_is_not_there_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is not that of the worker that looks."""
    (tmp_path / "sitecustomize.py").write_text(PRETENDED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"no device cuda:5 here: torch \S+ sees 2 GPUs"):
        sweep(Store(tmp_path / "runs"), runs({"level": "0", "seed": "0,1"}), {}, 2, 1, "cuda:0,5", lambda event: None)
    assert not (tmp_path / "runs").exists()


def test_events_are_plain() -> None:
    (run,) = runs({"level": "0", "seed": "0"})
    assert Failed(run, "why") == Failed(run, "why", False, "")


LONG = ["--levels", "0-1", "--seeds", "0-1", "--epochs", "200", "--set", "eval_every=200"]


def long_sweep(root: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sddcli", "sweep", *LONG, "--runs", str(root), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=listening)


def listening() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests themselves ignore it
    os.setpgrp()


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_runs_are_saved_in_their_middle_and_go_on(tmp_path: Path, number: int, code: int) -> None:
    root = tmp_path / "runs"
    process = long_sweep(root, "--checkpoint-every", "0.2")
    until(lambda: bool(list(root.rglob("checkpoint.json"))))
    os.killpg(process.pid, number)  # as a terminal or a batch system does: to the workers too
    _, err = process.communicate(timeout=60)
    assert process.returncode == code and "saving unfinished runs" in err
    assert f"go on with: sdd sweep {' '.join(LONG)}" in err
    told = [json.loads(path.read_text()) for path in root.rglob("checkpoint.json")]
    saved = {each["run"]["seed"]: each["step"] for each in told}
    assert saved and all(step > 0 for step in saved.values())
    heard: list[Event] = []
    todo = with_parents(runs({"seed": "0,1", "level": "0", "epochs": "200", "eval_every": "200"}))
    sweep(Store(root), todo, {}, 1, 1, "cpu", heard.append)
    for seed, step in saved.items():
        epochs = [e.epoch for e in heard if isinstance(e, Advanced) and seed in [run.seed for run in e.runs]]
        assert min(epochs) == step // 21 + 1, "21 steps an epoch"
    assert not list(root.rglob("checkpoint*"))


@pytest.mark.slow
def test_a_second_interrupt_leaves_at_once(tmp_path: Path) -> None:
    process = long_sweep(tmp_path / "runs", "--train-size", "1200")
    until(lambda: bool(list((tmp_path / "runs").rglob(".lock"))))
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(int(child), signal.SIGSTOP)  # a worker that will not hear of saving
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None and "Ctrl-C again" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "go on with" in err


COUNTING = """
import json, sys
from pathlib import Path
from sddcli.core.words import UsageError
from sddcli.events import Advanced
from sddcli.launchers.local import sweep
from sddcli.resolve import runs
from sddcli.spec import with_parents
from sddcli.store import Store

def main():
    seeds, root, out = sys.argv[1:]
    trained = {}
    def report(event):
        for run in event.runs if isinstance(event, Advanced) else ():
            trained[run.id] = trained.get(run.id, 0) + 1
    asked = runs({"seed": seeds, "level": "0-3", "epochs": "3", "eval_every": "2"})
    sweep(Store(root), with_parents(asked), {}, 2, 1, "cpu", report)
    Path(out).write_text(json.dumps(trained))

if __name__ == "__main__":
    main()
"""


NO_LOCKS = """
import errno, fcntl

def refused(descriptor, what):
    raise OSError(errno.EOPNOTSUPP, "Operation not supported")

fcntl.flock = refused
"""


@pytest.mark.slow
@pytest.mark.parametrize("claims", ["locks", "leases"])
def test_two_sweeps_in_one_folder_train_every_run_once(
    trained: Path, tmp_path: Path, claims: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their grids overlap in all of the smaller one: each waits for what the other is at."""
    if claims == "leases":  # a file system without flock
        (tmp_path / "sitecustomize.py").write_text(NO_LOCKS)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "count.py").write_text(COUNTING)
    together = []
    for place, seeds in enumerate(("0-2", "0-1")):
        words = [sys.executable, str(tmp_path / "count.py"), seeds, str(tmp_path / "runs"), str(tmp_path / f"{place}")]
        together.append(subprocess.Popen(words))
    assert [process.wait(timeout=300) for process in together] == [0, 0]
    counts = [json.loads((tmp_path / f"{place}").read_text()) for place in range(2)]
    total = {run.id: sum(count.get(run.id, 0) for count in counts) for run, _ in Store(trained).manifests()}
    assert set(total.values()) == {3} and len(total) == 12, "not every run for its three epochs, once"
    found = everything(tmp_path / "runs")
    assert all(found[name] == told for name, told in everything(trained).items() if name in found)
    assert len([name for name in found if name.endswith("weights.safetensors")]) == 12


CUT_OFF = (
    NO_LOCKS
    + """
import os, time
from sddcli import locks

touch, ahead = os.utime, float(os.environ["SECONDS_AHEAD"])
os.utime = lambda path, *_, **__: touch(path, (time.time() + ahead,) * 2)
locks.BEAT_SECONDS, locks.LEASE_SECONDS = 0.2, 3.0
"""
)
"""A machine whose clock is wrong, in a folder without flock where leases are over soon."""


@pytest.mark.slow
def test_a_machine_that_was_cut_off_and_goes_on_loses_nothing_and_wins_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock is a day ahead, and it stands still in mid-run until another has finished all; then it goes on."""
    root, alone = tmp_path / "runs", tmp_path / "alone"
    assert long_sweep(alone).wait() == 0
    (tmp_path / "sitecustomize.py").write_text(CUT_OFF)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("SECONDS_AHEAD", "86400")
    cut_off = long_sweep(root, "--checkpoint-every", "0.2")
    until(lambda: bool(list(root.rglob("checkpoint.json"))))
    os.killpg(cut_off.pid, signal.SIGSTOP)
    leases = {path: path.read_bytes() for path in root.rglob(".lock")}
    assert leases and all(leases.values())
    monkeypatch.setenv("SECONDS_AHEAD", "0")
    assert long_sweep(root).wait() == 0
    made = {path: path.stat().st_mtime_ns for path in root.glob("*-*/**/*") if path.is_file()}
    os.killpg(cut_off.pid, signal.SIGCONT)
    _, err = cut_off.communicate(timeout=120)
    assert cut_off.returncode == 0, err
    assert made == {path: path.stat().st_mtime_ns for path in root.glob("*-*/**/*") if path.is_file()}
    assert everything(root) == everything(alone)


@pytest.mark.slow
def test_what_another_process_has_is_left_out_if_asked_and_else_waited_for(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, second = with_parents(runs({"seed": "0,1", "level": "0", "epochs": "1"}))
    claim, heard = store.claim(first), list[Event]()
    assert claim is not None
    sweep(store, [first, second], {}, 1, 1, "cpu", heard.append, Policy(skip_busy=True))
    assert [event.run for event in heard if isinstance(event, Failed)] == [first] and store.finished(second)

    def report(event: Event) -> None:
        heard.append(event)
        if isinstance(event, Busy):
            claim.release(finished=False)

    sweep(store, [first], {}, 1, 1, "cpu", report)
    assert Busy(first) in heard and store.finished(first)


@pytest.mark.slow
def test_a_sweep_ends_where_another_finishes_the_last_run_that_it_waits_for(tmp_path: Path) -> None:
    (run,) = runs({"seed": "0", "level": "0", "epochs": "1"})
    there, here = Store(tmp_path / "there"), Store(tmp_path / "here")
    sweep(there, [run], {}, 1, 1, "cpu", lambda event: None)
    claim, heard = here.claim(run), list[Event]()
    assert claim is not None

    def report(event: Event) -> None:
        heard.append(event)
        if isinstance(event, Busy):  # finished when the worker here is idle again
            finishing.start()

    words = {"dirs_exist_ok": True}
    finishing = Timer(1.0, shutil.copytree, (there.folder(run), here.folder(run)), words)
    sweep(here, [run], {}, 1, 1, "cpu", report)
    finishing.join()
    assert [event for event in heard if isinstance(event, Saved | Failed)] == [Saved(run)]
    claim.release(finished=True)


@pytest.mark.slow
def test_a_failed_run_is_not_tried_again_unasked(tmp_path: Path) -> None:
    store = Store(tmp_path)
    todo = with_parents(runs({"seed": "0", "level": "0-1", "epochs": "1", "lr": "1e30"}))

    def failures(policy: Policy) -> list[str]:
        heard: list[Event] = []
        sweep(store, todo, {}, 1, 1, "cpu", heard.append, policy)
        return [event.reason for event in heard if isinstance(event, Failed)]

    first = failures(Policy())
    assert first[0].startswith("diverged") and "which failed" in first[1]
    again = failures(Policy())
    assert "it failed before: --retry-failed tries it again" in again[0] and len(again) == 2
    assert failures(Policy(retry_failed=True)) == first


def test_the_first_failure_ends_a_sweep_if_asked(tmp_path: Path) -> None:
    bad = runs({"seed": "0", "level": "0", "epochs": "1", "lr": "1e30"})
    good = runs({"seed": "0", "level": "0", "epochs": "400", "lr": "0.1"})
    with pytest.raises(SystemExit) as ending:
        sweep(Store(tmp_path), [*bad, *good], {}, 2, 1, "cpu", lambda event: None, Policy(fail_fast=True))
    assert ending.value.code == 3 and not Store(tmp_path).finished(good[0])


@pytest.mark.slow
def test_ten_kills_lose_nothing() -> None:
    """The hundred of them are recorded in docs/evidence/kills.json."""
    script = Path(__file__).parents[2] / "benchmarks" / "kills.py"
    # Its standard error is not caught: it names what differs.
    done = subprocess.run([sys.executable, script, "--kills", "10"], check=True, stdout=subprocess.PIPE)
    said = json.loads(done.stdout)
    assert said["bit-identical"] and said["kills"] == 10 and said["with a run saved in its middle"] > 5
    recorded = json.loads((script.parents[1] / "docs" / "evidence" / "kills.json").read_text())
    assert recorded["bit-identical"] and recorded["kills"] == 100


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["supermask", "edge-popup", "set", "rigl", "events", "distill", "take"])
def test_kills_lose_nothing_of_other_kinds_of_runs(kind: str) -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "kills.py"
    words = [sys.executable, script, "--kills", "3", "--kind", kind]
    said = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)
    assert said["bit-identical"] and said["kills"] == 3 and said["with a run saved in its middle"] > 0


TINY = "--model lenet-16-8 --epochs 1 --seeds 0 --levels 0-1 --workers 2 --noise 0 --rewind 0it --train-size 100"
SCRIPT = "from sddcli.cli.app import main\nif __name__ == '__main__':\n    main()"
BESIDE = f"from sddcli.launchers import looking\nlooking.PATIENCE = -1\n{SCRIPT}"


def modules_in(folder: Path, names: set[str]) -> None:
    """Puts a module of each of these names into `folder`, which ends whatever imports it."""
    for name in names:
        (folder / f"{name}.py").write_text(f"import os; os.write(2, b'the folder gave {name}'); os._exit(1)")


def sdd_in(folder: Path, *start: str) -> "subprocess.CompletedProcess[str]":
    """python with these words in `folder`, which is no folder that it is told to import from."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONSAFEPATH", "PYTHONPATH")}
    return subprocess.run([sys.executable, *start], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_a_users_files_take_the_place_of_no_module(tmp_path: Path) -> None:
    """Of none of Python's own, and of none of a library that is installed; in workers, and in those of analyses."""
    script, folder = tmp_path / "bin" / "sdd", tmp_path / "work"
    script.parent.mkdir()
    folder.mkdir()
    installed = {name for name in packages_distributions() if name.isidentifier()}
    modules_in(folder, set(sys.stdlib_module_names) | installed)
    for code, words in ((SCRIPT, f"sweep {TINY}"), (BESIDE, "analyze complexity --workers 2")):
        script.write_text(code)
        ended = sdd_in(folder, str(script), *words.split())
        assert ended.returncode == 0 and "gave" not in ended.stderr, ended.stderr
    assert len(list((folder / "runs").glob("*/manifest.json"))) == 1


@pytest.mark.slow
def test_a_users_files_take_the_place_of_no_module_of_python_m_sddcli(tmp_path: Path) -> None:
    """But of those that Python itself loads before it runs any module's first line."""
    (tmp_path / "first_line.py").write_text("import sys; print(*sys.modules)")
    by_python = set(sdd_in(tmp_path, "-m", "first_line").stdout.split())
    (tmp_path / "first_line.py").unlink()
    loaded = (
        "import sys, torch, sddcli.cli.app, sddcli.launchers.local, sddcli.recipes.prune_retrain; print(*sys.modules)"
    )
    by_worker = {name.split(".")[0] for name in sdd_in(tmp_path, "-c", loaded).stdout.split()}
    names = by_worker - by_python - {"__main__", "sddcli"}
    assert {"socket", "pickle", "json", "torch", "numpy"} <= names
    modules_in(tmp_path, names)
    ended = sdd_in(tmp_path, "-m", "sddcli", "sweep", *TINY.split())
    assert ended.returncode == 0 and "gave" not in ended.stderr, ended.stderr
