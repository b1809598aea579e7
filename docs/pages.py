"""Pages of the site that are made of the project itself: its README, commands, members of tables, releases."""

import inspect
import re
from collections.abc import Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import typer.main
from mkdocs.structure.files import File, Files

from sddcli.cli.app import app
from sddcli.cli.targets import claims, figures
from sddcli.families import members
from sddcli.spec import FIELDS

ROOT = Path(__file__).parent.parent
FOLDERS = {
    "analyses": "Measures of a run (`sdd analyze`)",
    "analyses/pairs": "Measures of two runs (`sdd analyze`)",
    "verdicts": "Verdicts on curves (`sdd analyze`)",
    "verdicts/sizes": "Verdicts on training sets of several sizes (`sdd analyze`)",
    "plots": "Figures (`sdd plot`)",
    "datasets": "Data sets (`--dataset`)",
}
WHAT = ("measure", "judge", "draw", "read")
"""The function of a file of these folders, whose docstring says what it does."""


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that are made here."""
    made = {"commands.md": commands(), "members.md": tables(), "changelog.md": (ROOT / "CHANGELOG.md").read_text()}
    made["index.md"] = start()
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """What links point to outside docs/ is no part of the site: its name stands there instead."""
    return re.sub(r"\[([^\]]*)\]\(\.\./([^)]*)\)", r"\1 (`\2`)", markdown)


def start() -> str:
    """What a newcomer reads first: the README, but for what other pages of the site look up."""
    first, *others = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## ")
    sections = {part.splitlines()[0]: part for part in others}
    return "\n## ".join([first, *(sections[title] for title in BEGIN)]).replace("](docs/", "](")


BEGIN = ("First steps", "Your own network, on your own images", "Why does it happen?", "Evidence")
"""The sections of the README that the site begins with."""


def commands() -> str:
    """The help of every command."""
    group: Any = typer.main.get_command(app)
    lines = ["# Commands", ""]
    with group.make_context("sdd", [], resilient_parsing=True) as above:
        for name, command in group.commands.items():
            with command.make_context(name, [], parent=above, resilient_parsing=True) as context:
                lines += [f"## sdd {name}", "", "```text", command.get_help(context).strip(), "```", ""]
    return "\n".join(lines)


def tables() -> str:
    """Every word of every table, and what its docstring says."""
    lines = ["# Criteria, retrainings, measures and more", ""]
    for field, known in FIELDS.items():
        if "." in (table := known.metadata["table"]):
            module, name = table.rsplit(".", 1)
            lines += [f"## {known.metadata['help'].split(';')[0]} (`--{field.replace('_', '-')}`)", ""]
            lines += _entries(getattr(import_module(f"sddcli.{module}"), name))
    for folder, title in FOLDERS.items():
        room = f"sddcli.{folder.replace('/', '.')}"
        modules = {name: import_module(f"{room}.{name.replace('-', '_')}") for name in members(folder)}
        lines += [f"## {title}", "", *_entries(modules)]
    for title, targets in (("Claims", claims()), ("Figures of the paper", figures())):
        lines += [f"## {title} (`sdd reproduce`)", ""]
        lines += [f"- `{name}`: {_plain(each.about)} ({_plain(each.source)})" for name, each in targets.items()] + [""]
    return "\n".join(lines)


def _entries(table: Mapping[str, Any]) -> Iterator[str]:
    for word, member in table.items():
        function = member[0] if isinstance(member, tuple) else member
        while isinstance(function, partial):
            function = function.func
        whole = inspect.getdoc(function) or ""
        if inspect.ismodule(function):
            inner = next((getattr(function, name) for name in WHAT if hasattr(function, name)), None)
            whole = f"{whole.partition(': ')[2] or whole} {inspect.getdoc(inner) or ''}"
        yield f"- `{word}`: {_plain(whole)}"
    yield ""


def _plain(text: str) -> str:
    """A docstring as one paragraph of Markdown that means nothing but its letters; what is in `...` stays code."""
    parts = " ".join(text.split()).split("`")
    return "`".join(re.sub(r"([*_<|\[\]])", r"\\\1", part) if k % 2 == 0 else part for k, part in enumerate(parts))
