"""The rooms: which may know which. Arrows point down only, and the words above the engine load no torch."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest

from sddcli.spec import FIELDS

PACKAGE = Path(__file__).parent.parent / "sddcli"
CORE_WORDS = {"core.words", "core.retraining", "core.schedules", "core.criteria", "core.allocation", "core.own"}

# room -> rooms it may import. `core` is split: its words load no torch, and spec and the rooms above read them.
MAY = {
    "core": {"core"},
    "spec": CORE_WORDS,
    "events": {"spec"},
    "pairs": {"spec", "core.retraining"},
    "packing": {"core.types", "core.words"},
    "folders": set(),
    "locks": set(),
    "files": set(),
    "store": {"files", "folders", "locks", "packing", "pairs", "spec", "core.types", "core.words", "core.own"},
    "sources": {"store", "spec", "core.words", "core.own", "core.labels", "datasets.reading"},
    "families": set(),
    "metrics": {"families"},
    "axes": {"core.words"},
    "datasets": {"core", "datasets.reading"},  # a data set knows no other
    "data": {"families", "folders", "datasets.reading", "core"},
    "stages": {"core", "spec", "stages"},
    "analyses": {"core"},  # analyses/pairs look at two networks
    "studies": {"core"},  # no network
    "verdicts": {"verdicts.reading"},  # numbers in, words out; verdicts/sizes look at training sets of several sizes
    "auto": {"verdicts", "store", "spec"},
    "sweeps": {"auto", "store", "spec"},
    "recipes": {
        "stages",
        "analyses",
        "metrics",
        "store",
        "locks",
        "packing",
        "folders",
        "pairs",
        "data",
        "datasets.reading",
        "events",
        "spec",
        "core",
        "recipes",
    },
    "launchers": {
        "folders",
        "sources",
        "recipes",
        "core.words",
        "core.own",
        "core.labels",
        "index",
        "store",
        "pairs",
        "events",
        "spec",
        "sweeps",
        "launchers",
    },
    "index": {"files", "metrics", "store", "spec", "core.words"},
    "table": {"axes", "files", "folders", "index", "metrics", "store", "pairs", "spec", "core.words"},
    "judging": {"axes", "table", "pairs", "spec", "core.words"},
    "records": {"files", "table", "store", "spec"},
    "figures": set(),  # names and the words of sweeps
    "claims": {"claims", "figures", "judging", "table", "verdicts", "core.words"},
    "plots": {"plots.style", "plots.drawing", "axes", "core.criteria", "core.words"},
    "resolve": {"families", "sources", "spec", "core.words", "core.own", "core.retraining"},
    "cli": {
        "files",
        "packing",
        "trackers",
        "resolve",
        "sources",
        "families",
        "metrics",
        "axes",
        "launchers",
        "recipes",
        "sweeps",
        "auto",
        "table",
        "judging",
        "records",
        "plots",
        "claims",
        "figures",
        "studies",
        "verdicts",
        "store",
        "pairs",
        "events",
        "spec",
        "core.words",
        "core.own",
        "cli",
    },
    "trackers": {"core.words"},
    "notebook": {"sources", "recipes", "stages", "data", "datasets.reading", "store", "spec", "core"},
    "__main__": {"cli"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imported(path: Path) -> set[str]:
    """The modules of ours that a file imports, without `sddcli.`; types alone do not count."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "sddcli":
            base = node.module.removeprefix("sddcli").removeprefix(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".removeprefix(".")
                below = PACKAGE / inner.replace(".", "/")
                found.add(inner if below.with_suffix(".py").exists() or below.is_dir() else base)
        if isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("sddcli.") for alias in node.names if alias.name.startswith("sddcli.")}
    return found


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_arrows_point_down(path: Path) -> None:
    module = module_of(path)
    if path.name == "__init__.py":
        whole = path.parent == PACKAGE  # its words are what a notebook asks for, and nothing before it is asked for
        assert whole or path.read_text() == "", "an __init__ with words in it makes every import below it slower"
        return
    allowed = MAY[module.split(".")[0]]
    wrong = {name for name in imported(path) if not any(f"{name}.".startswith(f"{room}.") for room in allowed)}
    assert not wrong, f"{module} may not import {wrong}"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_first_line_says_what_the_room_is(path: Path) -> None:
    if path.name != "__init__.py":
        line = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0]
        assert line.endswith((".", ":"))


@pytest.mark.parametrize("path", [path for path in FILES if module_of(path).startswith("core.")], ids=module_of)
def test_core_is_pure(path: Path) -> None:
    """No disk, no clock, no print, no guess of a device."""
    names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    assert not names & {"open", "print", "Path", "time", "datetime", "os", "input"}
    assert "cuda.is_available" not in path.read_text()


@pytest.mark.parametrize(
    "module", ["cli.app", "sweeps", "spec", "events", "resolve", "store", "plots.double_descent", "launchers.local"]
)
def test_words_load_no_heavy_library(module: str) -> None:
    code = f"import sys, sddcli.{module}; print([m for m in ('torch', 'pandas', 'sklearn') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_what_the_user_caused_is_no_plain_value_error(path: Path) -> None:
    """Exit code 2 is for `core.words.UsageError`; a ValueError is a bug, but where the same function catches it."""
    tree = ast.parse(path.read_text())
    tried = [each for block in ast.walk(tree) if isinstance(block, ast.Try) for each in block.body]
    caught = {id(node) for each in tried for node in ast.walk(each)}
    plain = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) and id(node) not in caught and "ValueError(" in ast.unparse(node)
    ]
    # Counts that no user can cause.
    assert not plain or module_of(path) in ("core.masks", "core.allocation"), (
        f"lines {plain}: raise UsageError, if the user caused it"
    )


def raising(node: ast.AST) -> bool:
    """Whether an error is raised in a function's own body, not in one within it."""
    inner = (ast.FunctionDef, ast.Lambda, ast.ClassDef)
    return any(
        (isinstance(each, ast.Raise) and isinstance(each.exc, ast.Call))
        or (not isinstance(each, inner) and raising(each))
        for each in ast.iter_child_nodes(node)
    )


def public_functions() -> Iterator[tuple[str, ast.FunctionDef, str]]:
    """The name of every public function and method, its syntax tree, and its docstring."""
    for path in FILES:
        tree = ast.parse(path.read_text())
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
        for holder in (tree, *classes):
            within = [holder.name] if isinstance(holder, ast.ClassDef) else []
            for node in holder.body:
                if isinstance(node, ast.FunctionDef) and node.name[0] != "_":
                    name = ".".join([module_of(path), *within, node.name])
                    yield name, node, ast.get_docstring(node) or ""


def test_every_public_name_has_a_docstring() -> None:
    """Functions, methods, and what stands alone at the top of a module and is a class."""
    silent = {name for name, _, text in public_functions() if not text}
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and node.name[0] != "_" and not ast.get_docstring(node):
                silent.add(f"{module_of(path)}.{node.name}")
    assert not silent, f"say what they are: {silent}"


def test_public_docstrings_say_which_errors_are_raised() -> None:
    """But those of commands, which are help for users, and end in an example: exit codes stand in the README."""
    says = {"raises", "example:"}
    silent = {name for name, node, text in public_functions() if raising(node) and not says & {*text.lower().split()}}
    assert not silent, f"say what they raise, and when: {silent}"


SHAPE = re.compile(r"\((?![^()]*(?:\d{4}| et al))(?:\.\.\., |\*)?[\w ]+(?:(?:, | [*/+-] )\*?[\w ]+)*,?\)|\(\)")
"""How a docstring writes a shape: (M, N), (N,), (*shape), (..., p) or (); a source with its year is none."""


def test_public_docstrings_say_the_shapes_of_single_tensors() -> None:
    """Those of whole networks have one convention, core.types.Tensors."""
    array = re.compile(r"\b(Tensor|ndarray|Array)\b")
    silent = set()
    for name, node, text in public_functions():
        types = [each.annotation for each in (*node.args.args, *node.args.kwonlyargs)] + [node.returns]
        if any(array.search(ast.unparse(each)) for each in types if each) and not SHAPE.search(text):
            silent.add(name)
    assert not silent, f"say the shapes of what they take and return: {silent}"


SOURCED = ("model", "noise_kind", "init", "criterion", "retraining", "start", "loss", "regularization", "optimizer")
OURS = {"none", "static"}
"""Members of these tables that no paper need be named for: what does nothing, and a control."""


def test_every_idea_of_somebody_says_whose_it_is() -> None:
    """A member of a table of ideas is a function whose docstring has a source with its year."""
    silent = set()
    for field in SOURCED:
        module, table = FIELDS[field].metadata["table"].rsplit(".", 1)
        for word, member in getattr(import_module(f"sddcli.{module}"), table).items():
            function = member[0] if isinstance(member, tuple) else member
            while isinstance(function, partial):
                function = function.func
            if word not in OURS and not re.search(r"\b(19|20)\d\d\b", function.__doc__ or ""):
                silent.add(f"{field} {word}")
    assert not silent, f"say whose idea it is: {silent}"


def test_the_package_itself_loads_nothing() -> None:
    """Not even of Python's own: every import of a room waits for it."""
    code = "import sys; before = set(sys.modules); import sddcli; print(*set(sys.modules) - before)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "sddcli"


def test_only_the_store_touches_runs_and_nothing_pickles_to_disk() -> None:
    for path in FILES:
        source = path.read_text()
        assert "torch.save" not in source and "torch.load" not in source and "import pickle" not in source


def test_tests_stand_where_their_rooms_stand() -> None:
    tests = Path(__file__).parent
    for path in tests.rglob("test_*.py"):
        room = PACKAGE / path.relative_to(tests).parent / path.name.removeprefix("test_")
        folder = room.with_suffix("")
        across = ("rooms", "readme", "docs", "evidence", "cuda", "families", "lengths", "presets", "taking", "threats")
        whole = path.name.removeprefix("test_").removesuffix(".py") in across
        assert whole or room.exists() or folder.is_dir(), f"{path} tests no room"
