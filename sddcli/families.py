"""Families: the names of members, from the files of a folder or the source of a table. Nothing is imported for them."""

import ast
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import PurePath


def members(folder: str) -> list[str]:
    """The names that the files of a folder of the package are: learning_distance.py is learning-distance.

    A folder within it is no member: there lies what its members share.
    """
    names = [PurePath(entry.name) for entry in files("sddcli").joinpath(folder).iterdir()]
    stems = [name.stem for name in names if name.suffix == ".py" and name.stem not in ("__init__", "style")]
    return sorted(stem.replace("_", "-") for stem in stems)


@cache
def names_in(table: str) -> tuple[str, ...]:
    """The names in a visible table of the package, "core.criteria.CRITERIA", read from its source: no torch.

    Of a word without a dot, "datasets", the members of that folder. Raises KeyError where there is no such table.
    """
    *modules, variable = table.split(".")
    if not modules:
        return tuple(members(table))
    written = _written(modules, variable)
    if written is None:
        raise KeyError(table)
    return tuple(str(key.value) for key in written.keys if isinstance(key, ast.Constant))


@cache
def words_in(table: str) -> dict[str, str]:
    """Name -> word of such a table, "analyses.flatness.UNITS"; none where the file has no such table."""
    *modules, variable = table.split(".")
    written = _written(modules, variable)
    return dict(ast.literal_eval(written)) if written else {}


def _written(modules: Sequence[str], variable: str) -> ast.Dict | None:
    """The table of that name as a file has it, if it has one."""
    tree = ast.parse(files("sddcli").joinpath("/".join(modules) + ".py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Dict):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id == variable:
                return node.value
    return None
