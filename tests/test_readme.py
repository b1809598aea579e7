"""README and examples: every command is documented, and what is documented is a command."""

import json
import re
from pathlib import Path

import pytest
import typer.main

from sddcli.cli.app import app
from sddcli.cli.seeing import MEASURES
from sddcli.core.criteria import CRITERIA
from sddcli.core.models import MODELS
from sddcli.core.noise import NOISES
from sddcli.core.retraining import RETRAININGS
from sddcli.families import names_in
from sddcli.resolve import runs
from sddcli.spec import FIELDS
from tests.conftest import Sdd
from tests.datasets.small import image_folder

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = {command.name for command in app.registered_commands}
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))


def test_every_command_is_documented_and_what_is_documented_exists() -> None:
    assert set(re.findall(r"\bsdd ([a-z-]+)", README)) == COMMANDS


def test_every_member_of_every_table_stands_in_its_options_help() -> None:
    tables = {
        "model": MODELS,
        "noise_kind": NOISES,
        "criterion": CRITERIA,
        "retraining": RETRAININGS,
    }
    for field, table in tables.items():
        assert names_in(FIELDS[field].metadata["table"]) == tuple(table)


def test_the_readme_leads_with_a_command_and_its_picture_and_says_what_the_command_trains() -> None:
    first, second = README.index("uv run sdd sweep"), README.index("](docs/double-descent.png)")
    assert README[:first].count("\n") < 10 and first < second < 1200
    asked = runs({})
    seeds, levels = (len({getattr(run, name) for run in asked}) for name in ("seed", "level"))
    assert f"trains {seeds} seeds x {levels} sparsity levels" in README and len(asked) == seeds * levels


OWN = README.split("## Your own network")[1].split("\n## ")[0]


def test_from_nothing_to_a_figure_of_ones_own_in_four_commands_of_few_words() -> None:
    lines = OWN.split("```\n")[-2].splitlines()
    assert len(lines) == 4 and all(len(line.split()) < 10 for line in lines)
    assert OWN.count("def Net") == 1


@pytest.mark.slow
def test_the_commands_for_ones_own_network_on_ones_own_images_run(
    sdd: Sdd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(image_folder(tmp_path).removeprefix("folder:")).rename("photos")
    Path("net.py").write_text(OWN.split("```python\n")[1].split("```")[0])
    _, sweep, *rest = OWN.split("```\n")[-2].splitlines()
    few = ("--levels", "0-3", "--seeds", "0-1", "--epochs", "2", "--workers", "1")
    assert sdd(*sweep.split()[1:], *few).code == 0
    assert [sdd(*line.split()[1:]).code for line in rest] == [0, 0]
    assert Path("double-descent.png").stat().st_size > 10_000 and "net.py@" in Path("report.html").read_text()


def test_every_analysis_has_its_line_in_the_readme() -> None:
    table = README.split("## The analyses")[1].split("##")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", table, flags=re.MULTILINE)) == set(MEASURES)


def test_every_option_of_the_readme_is_one() -> None:
    group = typer.main.get_command(app)
    commands = [*group.commands.values(), group]  # type: ignore[attr-defined]
    known = {option for command in commands for parameter in command.params for option in parameter.opts} | {"--help"}
    assert set(re.findall(r"--[a-z][a-z-]*", README)) <= known


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_carries_its_command_and_resolves(path: Path) -> None:
    assert f"uv run sdd sweep examples/{path.name}" in path.read_text()
    assert len(runs({}, [], path)) > 30


def test_the_notebook_runs_and_shows_what_it_says(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ROOT / "examples" / "notebook.ipynb"
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert path.stat().st_size < 300_000 and all(cell["outputs"] for cell in cells)
    assert not re.search(r"/(tmp|home|root|work|Users)/", path.read_text()), "no machine's paths"
    (tmp_path / "runs").symlink_to(trained)
    monkeypatch.chdir(tmp_path)
    known: dict[str, object] = {}
    for cell in cells:
        exec("".join(line for line in cell["source"] if not line.startswith("%")), known)
    assert isinstance(known["accuracy"], float) and "image/png" in json.dumps(cells)


def test_the_picture_is_there() -> None:
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / picture).stat().st_size > 10_000
