"""Data: the word for a data set -> its examples as tensors, all or a fixed part. Each file of datasets/ is one."""

import functools
import inspect
from collections.abc import Callable
from importlib import import_module

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sddcli.core import own
from sddcli.core.seeds import stream
from sddcli.core.types import Data, Examples
from sddcli.core.words import UsageError, pick, unknown
from sddcli.datasets.reading.files import Tell
from sddcli.datasets.reading.tensors import given
from sddcli.families import members
from sddcli.folders import now_at

HALVES = ("a", "b")
_loaded: dict[tuple[str, int, float, str], Data] = {}
_outlined: dict[tuple[str, int, float], Data] = {}


def silent(what: str, done: int, total: int) -> None:
    """Tells nobody."""


def load(name: str, train_size: int = 0, validation: float = 0.0, device: str = "cpu", tell: Tell = silent) -> Data:
    """The data set `name`, in the memory of a device; of its training examples all (0), or a fixed part.

    Of one that a GPU has no room for, the inputs stay where they are: they go there batch by batch.

    In a part each class has its share of the whole, within an example, and parts nest: a smaller one lies within a
    larger one. validation: the share of these examples that is held out, of each class alike. tell: hears of progress.
    A name may end in :half=a or :half=b, one half of the training examples; the test set is that of the whole.
    What was loaded is kept. Raises UsageError for an unknown name or parameter, a part larger than the whole, a share
    that leaves no examples on one side; OSError for missing or damaged files.
    """
    key = name, train_size, validation, device
    if key in _loaded:
        return _loaded[key]
    if device != "cpu":
        whole = load(name, train_size, validation, "cpu", tell)
        _loaded[key] = _moved(whole, device, not device.startswith("cuda") or _fits(whole, device))
    elif train_size or validation:
        _loaded[key] = _part(load(name, tell=tell), name, train_size, validation)
    elif half := _half(name):
        _loaded[key] = _halved(load(half[0], tell=tell), *half)
    else:
        _loaded[key] = _function(name, "read")(*([] if own.key_of(name) else [tell]))
    return _loaded[key]


def outline(name: str, train_size: int = 0, validation: float = 0.0) -> Data:
    """What `load` gives, without its content: a sweep can be checked and its cost told before a download.

    Labels are in turn, images of the right shape are all 0 and take no memory, the hash is "". What was outlined is
    kept. Raises UsageError, OSError as `load` does.
    """
    key = name, train_size, validation
    if key not in _outlined:
        if train_size or validation:
            _outlined[key] = _part(outline(name), *key)
        elif half := _half(name):
            _outlined[key] = _halved(outline(half[0]), *half)
        else:
            _outlined[key] = _function(name, "outline")()
    return _outlined[key]


def forget() -> None:
    """Frees all that was loaded and outlined."""
    _loaded.clear()
    _outlined.clear()


def _function(word: str, what: str) -> Callable[..., Data]:
    """The "read" or "outline" of the data set that a word means, with the parameters of the word bound.

    The word is name:key=value or, of data sets whose functions have an argument `path` or `name`, name:PATH:key=value.
    """
    name, *pieces = word.split(":")
    if own.key_of(word):
        return functools.partial(own.calling, word, given, pick("data set", word, {}))
    if name not in (known := members("datasets")):
        raise unknown("data set", name, known)
    function: Callable[..., Data] = getattr(import_module(f"sddcli.datasets.{name.replace('-', '_')}"), what)
    takes = {"path", "name"} & set(inspect.signature(function).parameters)
    if not takes:
        return pick("data set", word, {name: function})
    settings: list[str] = []
    while len(pieces) > 1 and "=" in pieces[-1]:  # a path may have colons, and one of "a=b" is a path
        settings.insert(0, pieces.pop())
    if not pieces or not pieces[0]:
        what = "folder: {}:PATH" if "path" in takes else "of its data sets: {}:NAME"
        raise UsageError(f"say which {what.format(name)}")
    whole = ":".join(pieces)
    argument = {"path": now_at(whole)} if "path" in takes else {"name": whole}
    return functools.partial(pick("data set", ":".join([name, *settings]), {name: function}), **argument)


ROOM = 0.8
"""The share of the free memory of a GPU that examples may take: networks in training need some, too."""


def _fits(data: Data, device: str) -> bool:
    """Whether a GPU has room for the inputs of `data`."""
    held = [] if data.held is None else [data.held.x]
    large = [] if data.large is None else [data.large]
    size = sum(x.numel() * x.element_size() for x in (data.train.x, data.test.x, *held, *large))
    return size <= ROOM * torch.cuda.mem_get_info(device)[0]


def _moved(data: Data, device: str, whole: bool) -> Data:
    """The examples of `data` on a device, or, if it is not the whole, their labels alone."""

    def moved(examples: Examples) -> Examples:
        return Examples(examples.x.to(device) if whole else examples.x, examples.y.to(device))

    held = None if data.held is None else moved(data.held)
    large = data.large.to(device) if whole and data.large is not None else data.large
    return data._replace(train=moved(data.train), test=moved(data.test), held=held, large=large)


def _half(word: str) -> tuple[str, str] | None:
    """The data set, and a or b, where a word ends in :half=a or :half=b; None for a whole one. Raises UsageError."""
    name, half, which = word.rpartition(":half=")
    if half and which not in HALVES:
        raise UsageError(f"half takes a or b, got {which!r}")
    return (name, which) if half else None


def _halved(data: Data, name: str, which: str) -> Data:
    """Half of the training examples of `data`, each class in its share: the halves a and b have none in common."""
    order = _proportional(data.train.y.numpy(), stream(0, name.split(":")[0], "halves"))
    rows = torch.from_numpy(np.array_split(order, 2)[HALVES.index(which)]).sort().values
    large = None if data.large is None else data.large[rows]
    return data._replace(train=_rows(data.train, rows), large=large, rows=rows)


def _part(data: Data, name: str, size: int, validation: float) -> Data:
    """`size` training examples of `data`, all for 0, each class in its share; the share `validation` is held out."""
    n = len(data.train.y)
    if size > n:
        raise UsageError(f"train_size {size} is more than the {n} examples of {name}")
    # Named without parameters: where a folder lies or how large its images are shall not choose others.
    order = torch.from_numpy(_proportional(data.train.y.numpy(), stream(0, name.split(":")[0], "part"))[: size or n])
    n_held = round(validation * len(order))
    if validation and not 0 < n_held < len(order):
        raise UsageError(f"validation {validation} of {len(order)} examples leaves none on one side")
    kept, held = (rows.sort().values for rows in (order[: len(order) - n_held], order[len(order) - n_held :]))
    large = None if data.large is None else data.large[kept]
    rest = _rows(data.train, held) if n_held else None
    rows = torch.arange(n) if data.rows is None else data.rows
    return data._replace(
        train=_rows(data.train, kept), held=rest, large=large, rows=rows[kept], held_rows=rows[held] if n_held else None
    )


def _rows(examples: Examples, rows: Tensor) -> Examples:
    """The examples of these indices; the images of an outline are all one, which takes no memory, and stay so."""
    images = examples.x[rows] if examples.x.stride(0) else examples.x[: len(rows)]
    return Examples(images, examples.y[rows])


def _proportional(labels: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """All indices in random order, such that every beginning has the classes in about their shares."""
    position = np.empty(len(labels))
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        position[generator.permutation(of_class)] = (np.arange(len(of_class)) + generator.random()) / len(of_class)
    return np.argsort(position, kind="stable")
