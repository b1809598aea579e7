"""README and examples: every command is documented, and what is documented is a command."""

import re
from pathlib import Path

import pytest

from sddcli.cli.app import app
from sddcli.core.criteria import CRITERIA
from sddcli.core.models import MODELS
from sddcli.core.noise import NOISES
from sddcli.core.retraining import RETRAININGS
from sddcli.datasets import DATASETS
from sddcli.resolve import runs
from sddcli.spec import FIELDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = {command.name for command in app.registered_commands}
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))


def test_every_command_is_documented_and_what_is_documented_exists() -> None:
    assert set(re.findall(r"\bsdd ([a-z-]+)", README)) == COMMANDS


def test_every_member_of_every_table_is_documented_in_the_readme_or_its_options_help() -> None:
    for table in (DATASETS, NOISES, MODELS, CRITERIA):
        assert all(f"`{name}`" in README for name in table)
    for field, table in (("noise_kind", NOISES), ("criterion", CRITERIA), ("retraining", RETRAININGS)):
        assert all(name in FIELDS[field].metadata["help"] for name in table)


def test_every_option_of_the_readme_is_one() -> None:
    for flag in set(re.findall(r"--([a-z][a-z-]*)", README)) - {"where", "dry-run", "json", "set", "help", "runs"}:
        assert flag.replace("-", "_").removesuffix("s") in {name.removesuffix("s") for name in FIELDS}, flag


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_carries_its_command_and_resolves(path: Path) -> None:
    assert f"uv run sdd sweep examples/{path.name}" in path.read_text()
    assert len(runs({}, [], path)) > 100


def test_the_picture_is_there() -> None:
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / picture).stat().st_size > 10_000
