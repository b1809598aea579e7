"""sdd as a whole: help, exit codes, the promise of one line."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from sddcli.cli.app import app
from sddcli.spec import FIELDS
from tests.conftest import Sdd

COMMANDS = [command.name for command in app.registered_commands if command.name]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_ends_in_an_example_that_is_no_error(sdd: Sdd, command: str) -> None:
    said = sdd(command, "--help")
    assert said.code == 0 and f"Example: sdd {command} " in " ".join(said.out.split())


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


@pytest.mark.parametrize(("error", "code"), [(ValueError("a\nb"), 2), (OSError("gone"), 4), (KeyError("x"), 1)])
def test_every_error_has_its_code_and_one_line(
    sdd: Sdd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("sddcli.resolve.runs", fail)
    said = sdd("sweep", "--runs", tmp_path)
    assert said.code == code and said.err.count("\n") == 1 and said.err.startswith("sdd: ")
    assert "Traceback" in sdd("sweep", "--debug", "--runs", tmp_path).err
