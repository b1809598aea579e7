"""Help: what a newcomer sees first, headings, examples, and how little is loaded for it."""

import inspect
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from sddcli.cli.app import COMMANDS, app
from sddcli.cli.help import MAIN, NOTE, PANEL_OF
from sddcli.cli.targets import claims
from sddcli.figures import FIGURES, Sweep
from sddcli.store import Store
from tests.conftest import Sdd
from tests.recipes.test_importing import written

SLOW = ("rich", "pygments", "markdown_it", "numpy", "torch", "pandas", "matplotlib", "sklearn", "multiprocessing")


def test_the_ten_options_that_matter_are_the_first_of_sweeps_help(sdd: Sdd) -> None:
    text = sdd("sweep", "--help").out
    first = text[text.index("Main options:") : text.index("\nData:")]
    options = [line.split()[0].rstrip(",") for line in first.splitlines() if line.strip().startswith("--")]
    assert [option[2:].replace("-", "_") for option in options] == list(MAIN) and len(MAIN) == 10
    parameters = typer.main.get_command(app).commands["sweep"].params  # type: ignore[attr-defined]
    assert set(PANEL_OF) <= {parameter.name for parameter in parameters}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_ends_in_an_example_and_shows_every_option_whole(sdd: Sdd, command: str) -> None:
    text = sdd(command, "--help").out
    assert text.splitlines()[-2:-1] == ["Example:"] and text.splitlines()[-1].startswith(f"  sdd {command} ")
    parameters = typer.main.get_command(app).commands[command].params  # type: ignore[attr-defined]
    named = {
        parameter.metavar if parameter.param_type_name == "argument" else parameter.opts[0] for parameter in parameters
    }
    entries = [
        line.strip().split()[0].rstrip(",") for line in text.splitlines() if line[:2] == "  " and line[2:3] not in " "
    ]
    assert {entry for entry in entries if entry in named} == named
    assert all(len(line) <= 80 for line in text.splitlines())


def test_the_list_of_commands_says_in_whole_sentences_what_they_do(sdd: Sdd) -> None:
    lines = sdd("--help").out.split("Commands:\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines] == list(COMMANDS)
    assert all(line.endswith(".") and not line.endswith("...") for line in lines)


def test_help_loads_nothing_that_is_slow() -> None:
    """What draws tables and bars takes longer to load than all the rest; so do the libraries that compute."""
    code = f"""
import sys
sys.argv = ["sdd", "--help"]
from sddcli.cli.app import main
try:
    main()
finally:
    print("slow:", [name for name in {SLOW} if name in sys.modules])
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.endswith("slow: []\n")


TINY = {"level": "0-1", "seed": "0", "epochs": "1", "train_size": "200"}
SHORTER = {
    "sweep": ("--levels", "0-1", "--epochs", "1", "--train-size", "200", "--workers", "1"),
    "train-dense": ("--epochs", "1", "--train-size", "200", "--workers", "1"),
    "reproduce": ("--workers", "1"),
}
"""What is added to the example of a command that trains, so that it takes seconds."""


@pytest.fixture(scope="module")
def at_work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has what examples name: runs/, a chain of eight levels, and a folder of OpenLTH."""
    here = tmp_path_factory.mktemp("examples")
    words = [word for name, value in (TINY | {"level": "0-7"}).items() for word in ("--set", f"{name}={value}")]
    subprocess.run(
        [sys.executable, "-m", "sddcli", "sweep", *words, "--workers", "1"], cwd=here, check=True, capture_output=True
    )
    written(here / "open_lth_data")
    return here


def example(command: str) -> list[str]:
    """The words of the example that ends the help of a command."""
    return shlex.split((inspect.getdoc(COMMANDS[command]) or "").partition(NOTE)[2])


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_of_every_command_runs(
    sdd: Sdd, at_work: Path, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tensorboard: object
) -> None:
    """As it stands there, but for the name of a run, and with less to train."""
    claims()  # which take sweeps of figures over when they are first loaded
    monkeypatch.setitem(FIGURES, "figure-4", FIGURES["figure-4"]._replace(sweeps={"laptop": (Sweep(TINY),)}))
    shutil.copytree(at_work, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for program in ("squeue", "scancel"):  # a Slurm that has no jobs
        Path(program).symlink_to("/bin/true")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    chains = {bool(run.level): Store("runs").folder(run).parts[1] for run, _ in Store("runs").manifests()}
    _, *words = (word.replace("RUN", chains[command != "prune"]) for word in example(command))
    said = sdd(*words, *SHORTER.get(command, ()))
    assert said.code == 0 and (said.out or said.err), said
