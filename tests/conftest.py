"""What several tests need: sdd as a command, an empty folder of data sets, a small sweep that was really trained."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

# One thread, as in workers: bits are promised for one. Beside other work several wait for each other (a test of tiny
# networks took 25 seconds instead of 4 beside two busy processes). Libraries read this when they are loaded.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
from hypothesis import settings

import sddcli  # noqa: F401  asks MKL for reproducible products, before any test takes one

settings.register_profile("sdd", deadline=None)  # how long a case takes says how busy the machine is, and no more
settings.load_profile("sdd")

SMALL = ["--levels", "0-3", "--seeds", "0-2", "--epochs", "3", "--set", "eval_every=2"]


def small(*words: object) -> list[object]:
    """The small sweep with other values of its options, and more of them: an option may be given once."""
    others = set(words[::2])
    pairs = zip(SMALL[::2], SMALL[1::2], strict=True)
    return [word for pair in pairs if pair[0] == "--set" or pair[0] not in others for word in pair] + [*words]


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Sdd = Callable[..., Outcome]


@pytest.fixture
def sdd(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Sdd:
    """Runs sdd with these words; what it prints is not wrapped by this terminal.

    As on a machine of one core: small sweeps spend their time on loading libraries, once for each worker.
    """
    from sddcli.cli.app import main

    monkeypatch.setattr("sddcli.launchers.machine.cores", lambda: 1)
    monkeypatch.setenv("COLUMNS", "80")

    def call(*words: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["sdd", *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ending:
            main()
        out, err = capfd.readouterr()
        return Outcome(int(ending.value.code or 0), out, err)

    return call


@pytest.fixture(autouse=True)
def arithmetic() -> Iterator[None]:
    """No test leaves this process with other arithmetic than it had: numbers below the normal ones stay what they are.

    A worker turns them into zeros, for speed, in a process of its own.
    """
    yield
    assert np.float32(1e-45) * np.float32(1) > 0, "this test, or what it called, flushes small numbers to zero"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of data sets, empty."""
    from sddcli.data import forget

    monkeypatch.setenv("SDD_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("SDD_MIRROR", raising=False)
    forget()
    yield tmp_path / "data"
    forget()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder with a small finished sweep: three seeds, levels 0 to 3. Not to be written to."""
    import subprocess
    import sys

    root = tmp_path_factory.mktemp("trained") / "runs"
    subprocess.run([sys.executable, "-m", "sddcli", "sweep", *SMALL, "--runs", str(root)], check=True)
    return root


@pytest.fixture(scope="session")
def measured(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same sweep, after all analyses have looked at it. Not to be written to."""
    import shutil
    import subprocess
    import sys

    root = shutil.copytree(trained, tmp_path_factory.mktemp("measured") / "runs")
    subprocess.run([sys.executable, "-m", "sddcli", "analyze", "all", str(root)], check=True, capture_output=True)
    return root
