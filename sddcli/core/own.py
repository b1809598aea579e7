"""Own: code of a user's own where a word of a table could stand: net.py:Net, which runs know as net.py@HASH:Net.

HASH is of the file's bytes, so a source that was changed by a character makes other runs. Only what is in SOURCES is
ever run; other rooms put it there when the user names a file, or says that the code of a runs folder may run.
"""

import hashlib
import linecache
import re
import sys
from collections.abc import Callable, Mapping
from functools import cache, wraps
from types import ModuleType
from typing import Any

from sddcli.core.words import UsageError, unknown

SOURCES: dict[str, bytes] = {}
"""The code that may run in this process: net.py@HASH -> the bytes of its file."""
KEY = re.compile(r"[^:/\\@]+\.py@[0-9a-f]{12}")


def key(name: str, content: bytes) -> str:
    """What runs call a file of this name and content: net.py@ and 12 hexadecimal digits of its SHA-256."""
    return f"{name}@{hashlib.sha256(content).hexdigest()[:12]}"


def key_of(word: object) -> str:
    """The file that a word of a run names, net.py@HASH of net.py@HASH:Net; "" for a word of sdd's own."""
    first = word.partition(":")[0] if isinstance(word, str) else ""
    return first if "@" in first and KEY.fullmatch(first) else ""


def member(kind: str, word: str) -> tuple[Callable[..., Any], list[str]]:
    """The function or class that a word net.py@HASH:NAME:key=value names, and its settings key=value.

    Called, it raises UsageError with the line of the user's file where that fails. Raises UsageError where the code may
    not run here, cannot be run, or has no such name.
    """
    file, name, *settings = [*word.split(":"), ""] if ":" not in word else word.split(":")
    known = {each: value for each, value in vars(_module(file)).items() if callable(value) and each[0] != "_"}
    if name not in known:
        raise unknown(f"{kind} of {file}:", name, [each for each in known if known[each].__module__ == file])
    return _saying_where(f"{file}:{name}", known[name]), settings


def must_run(word: str) -> None:
    """Raises UsageError where a word names code that may not run here."""
    if key_of(word) and key_of(word) not in SOURCES:
        raise UsageError(
            f"{key_of(word)} is code that these runs were made with, and sdd runs it only if you say so: read it in "
            "the folder code/ of the runs, then add --trust"
        )


@cache
def _module(file: str) -> ModuleType:
    """The module that this code makes, run once. Raises UsageError where it may not run, or fails."""
    must_run(file)
    module, source = ModuleType(file), SOURCES[file]
    linecache.cache[file] = len(source), None, source.decode("utf-8", "replace").splitlines(True), file
    sys.modules[file] = module  # where data classes and torch look up what annotations mean

    def run() -> None:
        exec(compile(source, file, "exec"), vars(module))

    _saying_where(file, run)()
    return module


def _saying_where(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, whose errors become a UsageError with the line of the user's file where they arose."""

    @wraps(function)
    def call(*arguments: Any, **settings: Any) -> Any:
        try:
            return function(*arguments, **settings)
        except (UsageError, OSError, MemoryError):
            raise
        except Exception as error:
            if type(error).__name__ == "OutOfMemoryError":  # of a GPU: fewer runs side by side may fit
                raise
            raise UsageError(f"{what} failed{_line(what.split(':')[0], error)}: {_text(error)}") from error

    return call


def calling(word: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function` makes of these arguments, one of which is the code of `word`. Raises UsageError that names it."""
    what = ":".join(word.split(":")[:2])
    try:
        return _saying_where(what, function)(*arguments)
    except UsageError as error:
        raise error if str(error).startswith(what) else UsageError(f"{what}: {error}") from error.__cause__


def _line(file: str, error: Exception) -> str:
    """ ", line 7" where an error arose in that file."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return f", line {error.lineno}"
    trace, number = error.__traceback__, 0
    while trace:
        number = trace.tb_lineno if trace.tb_frame.f_code.co_filename == file else number
        trace = trace.tb_next
    return f", line {number}" if number else ""


def _text(error: Exception) -> str:
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {' '.join(message.split())[:300]}"


def _loss(mine: Callable[..., Any]) -> Callable[..., Any]:
    """mine(logits (B, classes), labels (B)) -> mean loss (), of M models one after the other."""

    def loss(logits: Any, labels: Any, parameters: Any) -> Any:
        return sum(mine(logits[m], labels[m]) for m in range(len(labels)))

    return loss


NUMBERS = 8
"""Of each image, random numbers for a user's own augmentation."""


def _augment(mine: Callable[..., Any]) -> Callable[..., Any]:
    """mine(images (B, channels, H, W) bytes, numbers (B, NUMBERS) in [0, 1)) -> images of the same shape, bytes."""
    from sddcli.core.images import Augmentation

    def apply(images: Any, numbers: Any, size: Any) -> Any:
        return mine(images, numbers)

    def draw(n: int, size: Any, generator: Any) -> Any:
        return generator.random((n, NUMBERS), "float32")

    return lambda: Augmentation(draw, apply)


def _optimizer(mine: Callable[..., Any]) -> Any:
    """mine(w (*shape), g (*shape), memory, update) -> the new weight (*shape), of each tensor of each model by itself.

    memory: name -> tensor (*shape), 0 at first, of the names in mine.memory; to be assigned. update: optimizers.Update.
    """
    from sddcli.core.optimizers import Optimizer

    names = getattr(getattr(mine, "func", mine), "memory", ())
    if not isinstance(names, tuple | list) or not all(isinstance(name, str) and name for name in names):
        raise UsageError(f"memory of an optimizer is a tuple of names, such as ('velocity',), and not {names!r}")

    def rule(w: Any, g: Any, memory: Any, scratch: Any, update: Any) -> None:
        changed = mine(w, g, memory, update)
        for what, value in {"a new weight": changed, **memory}.items():
            if getattr(value, "shape", None) != w.shape or what not in ("a new weight", *names):
                came = tuple(value.shape) if hasattr(value, "shape") else type(value).__name__
                raise UsageError(f"of a weight of shape {tuple(w.shape)} an optimizer of your own gave {what}: {came}")
        w.copy_(changed)

    return Optimizer(rule, tuple(names), alone=True)


ADAPTED: Mapping[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    **dict.fromkeys(
        ("model", "data set", "criterion", "noise_kind", "init", "start", "measure", "figure"), lambda mine: mine
    ),
    **{"regularization": lambda mine: mine, "loss": _loss, "augment": _augment, "optimizer": _optimizer},
}
"""What of the tables can be a user's own, and how a function as docs/own.md describes it becomes one of sdd's."""


def adapted(kind: str, function: Callable[..., Any], table: Mapping[str, Any]) -> Any:
    """A user's function as a member of a table. Raises UsageError for tables that take none.

    Those are tables that say what grows from what, which must be known of runs whose code may not run here.
    """
    if kind not in ADAPTED:
        raise UsageError(f"{kind} takes no code of your own; what does: {', '.join(ADAPTED)}")
    mine, usual = ADAPTED[kind](function), next(iter(table.values()), None)
    entry: type = type(usual)
    return entry(mine) if isinstance(usual, tuple) and not isinstance(mine, entry) else mine
