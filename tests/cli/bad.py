"""Every kind of bad folder that may lie among good runs, each made in a runs folder; the words that name it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path


def _level(root: Path) -> Path:
    return next(iter(sorted(root.glob("*seed2*/level-02"))))


def _changed(root: Path, **change: object) -> Path:
    path = _level(root) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    return path


def empty(root: Path) -> Path:
    (_level(root) / "manifest.json").write_text("")
    return _level(root)


def cut(root: Path) -> Path:
    path = _level(root) / "manifest.json"
    path.write_text(path.read_text()[:-200])
    return _level(root)


def types(root: Path) -> Path:
    return _changed(root, metrics=[1], files="x").parent


def later(root: Path) -> Path:
    run = json.loads((_level(root) / "manifest.json").read_text())["run"]
    return _changed(root, run=run | {"new_field": 1}).parent


def copied(root: Path) -> Path:
    return Path(shutil.copytree(_level(root).parent, root / "backup")) / "level-01"


def circle(root: Path) -> Path:
    folder = _level(root)
    shutil.rmtree(folder)
    folder.symlink_to(folder)
    return folder


def file(root: Path) -> Path:
    folder = _level(root)
    shutil.rmtree(folder)
    folder.write_text("")
    return folder


def foreign(root: Path) -> Path:
    (root / "webapp").mkdir()
    (root / "webapp" / "manifest.json").write_text('{"name": "app", "icons": []}')
    return root / "webapp"


def strange(root: Path) -> Path:
    folder = Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9"))
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    return folder


BAD: dict[str, Callable[[Path], Path]] = {
    "empty manifest": empty,
    "cut manifest": cut,
    "wrong types": types,
    "a later version's": later,
    "copied": copied,
    "a link in a circle": circle,
    "a file": file,
    "foreign": foreign,
    "a name that is no UTF-8": strange,
}
OTHERS = ("foreign", "a name that is no UTF-8")
"""Those that are not ours."""
