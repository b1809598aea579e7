"""Folders: which folder of images a data set's word means, however it is spelled, and where that folder lies now."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

MOVED = "SDD_MOVED"
"""Where folders of images lie now, in the environment, which workers inherit: OLD=NEW, several with a colon between."""


class Known(NamedTuple):
    """What runs say of a folder of images: the hashes of its content, and the absolute paths where it lay."""

    sha256: frozenset[str]
    paths: tuple[str, ...]


def split(dataset: str) -> tuple[str, str] | None:
    """Path and settings of a word such as folder:PATH:size=32; None of any other data set."""
    name, *more = dataset.split(":")
    if name != "folder" or not more:
        return None
    settings: list[str] = []
    while len(more) > 1 and "=" in more[-1]:
        settings.insert(0, more.pop())
    return ":".join(more), "".join(f":{each}" for each in settings)


def tidied(dataset: str) -> str:
    """The word without what does not matter in its path: folder:./base/ is folder:base."""
    parts = split(dataset)
    if not parts or not parts[0]:
        return dataset
    path = os.path.normpath(parts[0])
    return f"folder:{path}{parts[1]}" if _same(path, parts[0]) else dataset  # of a link/.. it would be another


def spelled(dataset: str, known: Mapping[str, Known]) -> str:
    """The word of `known` that means the same folder with the same settings, else the word itself, tidied."""
    parts = split(dataset)
    if dataset in known:
        return dataset
    if parts:
        for word in sorted(known, key=lambda word: (len(word), word)):
            path, settings = split(word) or ("", "")
            if settings == parts[1] and any(_same(parts[0], each) for each in known[word].paths or (path,)):
                return word
    return tidied(dataset)


def alike(datasets: Iterable[str]) -> dict[str, str]:
    """Each of these words -> the shortest of those that mean the same folder."""
    words: dict[str, str] = {}
    shortest: dict[tuple[str, str], str] = {}
    for word in sorted(datasets, key=lambda word: (len(word), word)):
        parts = split(word)
        words[word] = shortest.setdefault((os.path.realpath(parts[0]), parts[1]), word) if parts else word
    return words


def gone(dataset: str, known: Known) -> bool:
    """Whether there is no folder any more at the path of a word, nor where its runs say that it lay."""
    path, _ = split(dataset) or ("", "")
    return not any(Path(each).is_dir() for each in (path, *known.paths))


def moved(path: str, folder: str) -> None:
    """From now on, in this process and its workers, the images of `path` are read from `folder`."""
    os.environ[MOVED] = os.pathsep.join(filter(None, [f"{path}={Path(folder).absolute()}", os.environ.get(MOVED, "")]))


def find(known: Mapping[str, Known]) -> None:
    """Has folders that are not where their words say looked for where the runs say that they lay."""
    for word, facts in known.items():
        path, _ = split(word) or ("", "")
        folder = next((each for each in reversed(facts.paths) if Path(each).is_dir()), None)
        if folder and path not in _new_folders() and not Path(path).is_dir():
            moved(path, folder)


def now_at(path: str) -> str:
    """Where the images of `path` lie now. Raises FileNotFoundError that says how to name another one."""
    folder = _new_folders().get(path, path)
    if Path(folder).is_dir():
        return folder
    new = f"{MOVED}={path}=NEW sdd ..., or a sweep's --dataset folder:NEW"
    raise FileNotFoundError(f"no folder of images at {folder}; if it has moved to NEW: {new}")


def _new_folders() -> dict[str, str]:
    folders: dict[str, str] = {}
    for each in os.environ.get(MOVED, "").split(os.pathsep):
        path, equals, folder = each.rpartition("=")
        if equals:
            folders.setdefault(path, os.path.expanduser(folder))  # noqa: PTH111, behind "=" no shell has expanded ~
    return folders


def _same(a: str, b: str) -> bool:
    return os.path.realpath(a) == os.path.realpath(b)
