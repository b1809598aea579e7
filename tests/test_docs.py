"""Pages: their blocks of Python and TOML, and every line that is a command, are tried in a folder without runs.

What a page's other blocks show, such as folders and what is printed, begins with no command's word, and is passed over.
"""

import re
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import typer.main

from sddcli.cli.app import app
from sddcli.resolve import runs
from tests.conftest import Sdd
from tests.datasets.small import image_folder

ROOT = Path(__file__).parents[1]
MADE = "Written by `sdd reproduce"
"""How pages begin that a command writes: tests of that command look at them."""
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if MADE not in page.read_text()]
BLOCK = re.compile(
    r"^```(?P<language>\w*)\n(?P<block>.*?)^```$|(?<!`)`(?P<inline>sdd [^`]+)`", re.DOTALL | re.MULTILINE
)
GROUP = typer.main.get_command(app)
COMMANDS = GROUP.commands  # type: ignore[attr-defined]
OPTIONS = {option for command in (GROUP, *COMMANDS.values()) for each in command.params for option in each.opts}
STANDS_FOR = {"KIND": "torch", "HOST:PORT": "head:6379"}
"""Words in capitals, for which a reader has another; those that are not here stand for files, which may be missing."""
PLANS = {"sweep": ("--dry-run",), "gc": ("--dry-run",), "reproduce": ("--recorded=.",)}
"""What has a command say what it would do, or find nothing to do it with."""
AT_ONCE = ("train-dense", "theory", "doctor", "cancel", "track")
"""Commands that need no runs, or what is not installed: their words are read, and that is all; so with a cluster."""


def pieces(page: Path) -> Iterator[tuple[str, str]]:
    """The language and the text of each block of a page, "" and `sdd ...` of such words within a line."""
    for match in BLOCK.finditer(page.read_text()):
        yield match["language"] or "", match["block"] or match["inline"]


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command of a block, without `uv run` and comments; none where no line of it is a command."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    known = [line for line in lines if re.match(r"(uv run|sdd|python3?|pip install) ", line)]
    assert known in ([], lines), "a block has commands alone, or none"
    for part in "&&".join(known).split("&&"):
        words = shlex.split(part.strip().removeprefix("uv run "), comments=True)
        yield from [words] if words else []


def must_be_understood(sdd: Sdd, name: str, words: Sequence[str]) -> None:
    """`sdd NAME WORDS` does what it says, or misses runs and files that are not here; `sdd NAME` is a command."""
    if name in OPTIONS | {"--help"}:
        return
    command = COMMANDS[name]
    given = [STANDS_FOR.get(word, word) for word in words if word != "..."]
    if name in AT_ONCE or "--on" in given:
        command.make_context(name, given)
    elif given or not any(each.required for each in command.params):
        plans = [plan for plan in PLANS.get(name, ()) if not {plan.split("=")[0], "--help"} & {*given}]
        outcome = sdd(name, *given, *plans)
        assert outcome.code in (0, 4), outcome


def must_have_options(script: Path, words: Sequence[str]) -> None:
    """A script of the project is there, and names the options that it is given."""
    source = script.read_text()
    assert [word for word in words if word.startswith("--") and word != "--" and f'"{word}"' not in source] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_has_one_write_is_understood(
    page: Path, sdd: Sdd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python runs, and is kept as the file that its first line names; TOML and commands say what is there."""
    monkeypatch.chdir(tmp_path)
    Path(image_folder(tmp_path).removeprefix("folder:")).rename("photos")
    Path("examples").symlink_to(ROOT / "examples")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    known: dict[str, object] = {}
    tried = set[str]()
    for language, text in pieces(page):
        if language == "python":
            exec(text, known)
            Path(text.partition("\n")[0].removeprefix("# ")).write_text(text)
        elif language == "toml":
            Path("own.toml").write_text(text)
            assert runs({}, [], Path("own.toml"))
        for program, *words in [] if language else commands(text):
            if (whole := shlex.join([program, *words])) in tried:
                continue
            tried.add(whole)
            if program == "sdd":
                must_be_understood(sdd, words[0], words[1:])
            elif program.startswith("python"):
                must_have_options(ROOT / words[0], words[1:])
            else:
                assert set(re.findall(r"\[(.*?)\]", whole)) <= set(extras)


FEW = {"sweep": ("--levels", "0-1", "--seeds", "0", "--epochs", "1", "--workers", "1")}


@pytest.mark.slow
def test_the_code_that_a_page_shows_is_trained_and_measured(
    sdd: Sdd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the commands of its first block of commands, with less to train."""
    monkeypatch.chdir(tmp_path)
    blocks = list(pieces(ROOT / "docs/own.md"))
    for text in (text for language, text in blocks if language == "python"):
        Path(text.partition("\n")[0].removeprefix("# ")).write_text(text)
    lines = next([*commands(text)] for language, text in blocks if not language and "\n" in text)
    outcomes = [sdd(*words[1:], *FEW.get(words[1], ())) for words in lines]
    assert [outcome.code for outcome in outcomes] == [0, 0] and "positive" in outcomes[1].out, outcomes
