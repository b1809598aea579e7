"""Help: what a newcomer sees first, headings, examples, and how little is loaded for it."""

import subprocess
import sys

import pytest
import typer.main

from sddcli.cli.app import COMMANDS, app
from sddcli.cli.help import MAIN, PANEL_OF
from tests.conftest import Sdd

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
