"""Libraries: their warnings, on one line each, with the name of the library."""

import sys
import warnings
from pathlib import Path
from typing import TextIO

DEVELOPERS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
"""Warnings of what a later version of a library will do: nothing that changes a number today."""


def say_warnings(whole: bool = False) -> None:
    """From now on each warning is printed once, as `sdd: numpy warns: ...`, to stderr; those for developers are not.

    whole: they too, as Python prints them. To be called in each process, since workers are spawned.
    """
    printed = set[str]()

    def say(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if whole:
            print(warnings.formatwarning(message, category, filename, lineno, line), file=sys.stderr, end="")
            return
        words = f"sdd: {_owner(filename)} warns: {' '.join(str(message).split())}"
        if not issubclass(category, DEVELOPERS) and words not in printed:
            printed.add(words)
            print(words, file=sys.stderr)

    warnings.showwarning = say


def _owner(filename: str) -> str:
    """The library that a file belongs to: the folder that lies beside other libraries."""
    parts = Path(filename).parts
    beside = [k for k, part in enumerate(parts[:-1]) if part in ("site-packages", "dist-packages")]
    return Path(parts[beside[-1] + 1]).stem if beside else "a library"
