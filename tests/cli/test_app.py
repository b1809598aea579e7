"""sdd as a whole: help, exit codes, the promise of one line."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sddcli.cli.app import main
from sddcli.core.words import UsageError
from sddcli.spec import FIELDS
from tests.conftest import Sdd


def test_every_field_of_a_run_is_an_option(sdd: Sdd) -> None:
    said = sdd("sweep", "--help").out
    assert all(f"--{name.replace('_', '-')}" in said for name in FIELDS) and "--seeds" in said and "--levels" in said


def test_no_command_is_help_and_no_error() -> None:
    said = subprocess.run([sys.executable, "-m", "sddcli"], capture_output=True, text=True)
    assert "Commands" in said.stdout + said.stderr and "Traceback" not in said.stderr


def test_version(sdd: Sdd) -> None:
    assert sdd("--version") == (0, version("sddcli") + "\n", "")


def test_unknown_commands_are_one_line(sdd: Sdd) -> None:
    said = sdd("sweeep")
    assert said.code == 2 and said.err.count("\n") == 1 and "sweeep" in said.err


@pytest.mark.parametrize(
    ("error", "code"),
    [(UsageError("a\nb"), 2), (ValueError("ours"), 1), (OSError("gone"), 4), (KeyError("x"), 1)],
)
def test_every_error_has_its_code_and_one_line(
    sdd: Sdd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("sddcli.resolve.plan", fail)
    said = sdd("sweep", "--runs", tmp_path)
    assert said.code == code and said.err.count("\n") == 1 and said.err.startswith("sdd: ")
    assert ("bug" in said.err and "with --debug and send all that it prints" in said.err) == (code == 1)
    assert "Traceback" in sdd("sweep", "--debug", "--runs", tmp_path).err


def test_home_is_expanded_where_the_shell_left_it(sdd: Sdd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for words in (["list", "~/none"], ["sweep", "~/none.toml"], ["analyze", "learning-distance", "~/none"]):
        said = sdd(*words)
        assert said.code == 4 and f"{tmp_path}/none" in said.err
    words = ["--model", "lenet-2", "--levels", "0", "--epochs", "1", "--dry-run"]
    said = sdd("sweep", *words, "--runs=~/here", "--data-dir=~/data")
    assert said.code == 0 and f"{tmp_path}/here" in said.out and not list(tmp_path.iterdir())


def test_a_librarys_warning_is_one_line_in_our_form(sdd: Sdd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def warn(*_: object, **__: object) -> None:
        warnings.simplefilter("always")
        for _ in range(2):
            warnings.warn("numbers\nare odd", RuntimeWarning, stacklevel=1)
            warnings.warn("will go away", FutureWarning, stacklevel=1)
        raise UsageError("x")

    monkeypatch.setattr("sddcli.resolve.plan", warn)
    said = sdd("sweep", "--runs", tmp_path)
    assert said.err == "sdd: a library warns: numbers are odd\nsdd: x\n"
    assert "will go away" in sdd("sweep", "--debug", "--runs", tmp_path).err
    monkeypatch.setattr("sddcli.resolve.plan", lambda *_: np.log(np.zeros(1)) and [])
    assert "divide by zero encountered in log" in sdd("sweep", "--runs", tmp_path).err


# What follows generates bad input by the hundred: whatever comes, the answer is an exit code and one line.
MANY = settings(max_examples=130, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
WORDS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["-1", "nan", "1e999", "0-", "3-1", "0-99999999", ",", "1,,2", "x:y=z", "magnitude:a=b", "folder:",
                     "folder:/dev/null", "\x00", "é", "--",
                     "-", "0x10", "1_0", "lottery:lr=", "1e3", "ep", "5it,", " "]),
)  # fmt: skip


def outcome(*words: object) -> tuple[int, str, str]:
    """sdd with these words, in this process: exit code, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv, signal.getsignal(signal.SIGTERM)
    sys.argv = ["sdd", *map(str, words)]
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ending:
            main()
    finally:
        sys.argv = before[0]
        signal.signal(signal.SIGTERM, before[1])
    return int(ending.value.code or 0), out.getvalue(), err.getvalue()


def refused(said: tuple[int, str, str], codes: tuple[int, ...]) -> None:
    code, _, err = said
    assert code in codes, said
    assert code == 0 or (err.startswith("sdd: ") and err.count("\n") == 1 and "Traceback" not in err), said


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@MANY
@given(field=st.sampled_from(list(FIELDS)), text=WORDS, flag=st.sampled_from(["--{}={}", "--set={}={}"]))
def test_any_value_of_any_field(tmp_path_factory: pytest.TempPathFactory, field: str, text: str, flag: str) -> None:
    root = tmp_path_factory.getbasetemp() / "never"
    word = flag.format(field.replace("_", "-"), text)
    small = [] if field in ("level", "seed") else ["--levels", "0-1", "--seeds", "0"]
    refused(outcome("sweep", *small, word, "--dry-run", "--runs", root), (0, 2, 4))
    assert not root.exists()


TOML = st.one_of(
    st.text(max_size=30),
    st.builds(
        "{} = {}\n".format,
        st.sampled_from([*FIELDS, "levels", "seeds", "epoch", "[x", "a.b"]),
        st.sampled_from(["1", "-1", "1.5", "[]", "[[1]]", '"x"', '""', "true", "nan", "inf", "2020-01-01", "{}", "0-3",
                         '"0-3"', "[1, 'a']", "'''", "1e400", '["magnitude", 3]']),
    ),
)  # fmt: skip


@MANY
@given(text=TOML)
def test_any_sweep_file(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    root = tmp_path_factory.getbasetemp() / "never"
    path = tmp_path_factory.getbasetemp() / "fuzzed.toml"
    path.write_text(text, encoding="utf-8")
    small = ["--set", "level=0-1", "--set", "seed=0", "--set", "epochs=1"]
    refused(outcome("sweep", path, *small, "--dry-run", "--runs", root), (0, 2, 4))
    assert not root.exists()


VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([]), st.just({}))


@pytest.mark.slow
@MANY
@given(data=st.data())
def test_any_manifest(trained: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    root = tmp_path_factory.getbasetemp() / "fuzzed-manifests"
    if not root.exists():
        shutil.copytree(trained, root)
    path = data.draw(st.sampled_from(sorted(root.rglob("manifest.json"))))
    whole = path.read_bytes()
    manifest = json.loads(whole)
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(whole) - 1))
        content = whole[:place] + data.draw(st.binary(max_size=3)) + whole[place + data.draw(st.integers(0, 40)) :]
    else:
        table = data.draw(st.sampled_from([manifest, manifest["run"], manifest["metrics"], manifest["data"]]))
        table[data.draw(st.sampled_from(sorted(table)))] = data.draw(VALUES)
        content = json.dumps(manifest).encode()
    try:
        path.write_bytes(content)
        before = contents(root)
        command = data.draw(st.sampled_from(["list", "status", "plot double-descent", "verify"]))
        code, out, err = outcome(*command.split(), root, *(["-o", root / "a.png"] if "plot" in command else []))
        (root / "a.png").unlink(missing_ok=True)
        assert code in (0, 4) and "Traceback" not in err and (code == 0 or err.startswith("sdd: ")), (code, out, err)
        assert contents(root) == before
    finally:
        path.write_bytes(whole)


@pytest.mark.slow
@MANY
@given(data=st.data())
def test_any_damage_to_weights(trained: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    root = tmp_path_factory.getbasetemp() / "fuzzed-weights"
    if not root.exists():
        shutil.copytree(trained, root)
    path = data.draw(st.sampled_from(sorted(root.rglob("*.safetensors"))))
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    flipped = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
    content = data.draw(st.sampled_from([flipped, whole[:place], whole + b"x", b""]))
    try:
        path.write_bytes(content)
        before = contents(root)
        code, _, err = outcome("verify", root)
        assert code == 4 and str(path) in err and "Traceback" not in err and contents(root) == before
    finally:
        path.write_bytes(whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    ["sweep --nois 3", "sweep --noise 7", "sweep none.toml", "train-dense --lr -1", "prune none", "retrain none",
     "analyze x", "analyze learning-distance none", "plot x", "plot double-descent none",
     "plot double-descent x.csv", "list none", "status none", "logs none", "verify none", "x", "sweep --set x",
     "sweep --device tpu --level 0", "sweep --workers x", "sweep --protocol x", "plot double-descent --along y",
     "sweep --checkpoint-every -1", "prune", "sweep a b c"],
)  # fmt: skip
def test_bad_words_in_processes_of_their_own(tmp_path: Path, words: str) -> None:
    command = [sys.executable, "-m", "sddcli", *words.split()]
    said = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert said.returncode in (2, 4) and said.stderr.count("\n") == 1 and said.stderr.startswith("sdd: ")
    assert said.stdout == "" and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ["list RUNS", "list RUNS --json", "status RUNS", "sweep --help"])
def test_a_reader_who_has_seen_enough_is_no_failure(trained: Path, words: str) -> None:
    """sdd ... | head, and sdd ... >&-."""
    command = [sys.executable, "-m", "sddcli", *(str(trained) if word == "RUNS" else word for word in words.split())]
    reads, writes = os.pipe()
    os.close(reads)
    piped = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, text=True)
    closed = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *command], stderr=subprocess.PIPE, text=True)
    os.close(writes)
    assert [(each.returncode, each.stderr) for each in (piped, closed)] == [(0, ""), (0, "")]
