"""Families: the names of members, from the files of a folder or the source of a table. Nothing is imported for them."""

import ast
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
    tree = ast.parse(files("sddcli").joinpath("/".join(modules) + ".py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Dict):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id == variable:
                return tuple(str(key.value) for key in node.value.keys if isinstance(key, ast.Constant))
    raise KeyError(table)
