"""Labels: those that somebody gave to examples, in place of ones wrong by chance. No NumPy before one is called."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from sddcli.core.own import key
from sddcli.core.words import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILES: dict[str, bytes] = {}
"""The labels known in this process: labels@HASH -> lines "EXAMPLE,LABEL"; HASH is of these lines."""
WORD = re.compile(r"file:([^:/\\@]+@[0-9a-f]{12})")


def key_of(noise_kind: str) -> str:
    """The labels that a word of a run names, labels@HASH of file:labels@HASH; "" for another kind of noise."""
    match = WORD.fullmatch(noise_kind)
    return match[1] if match else ""


def named(name: str, lines: bytes) -> str:
    """The word of a run for these labels, which are known from now on."""
    FILES[key(name, lines)] = lines
    return f"file:{key(name, lines)}"


def given(
    file: str,
    true: NDArray[np.int64],
    rows: NDArray[np.int64],
    names: Sequence[str],
    classes: int,
    rate: float,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """(n,) labels: of a fraction `rate` of the examples those of the file, where it has one; of the others the true.

    true: (n,); rows: (n,) the numbers of these examples in the whole training set; names: of all of that, in its order,
    where its examples have names. Raises UsageError for labels of examples or classes that there are not.
    """
    import numpy as np

    if file not in FILES:
        raise UsageError(f"the labels {file} are not here: name their file again, --noise-kind file:PATH")
    by_number = _by_number(file, tuple(names), classes)
    label = np.array([by_number.get(int(row), -1) for row in rows], np.int64)
    chosen = np.zeros(len(true), bool)
    chosen[generator.permutation(len(true))[: math.ceil(round(rate * len(true), 6))]] = True
    return np.where(chosen & (label >= 0), label, true)


@cache
def _by_number(file: str, names: tuple[str, ...], classes: int) -> dict[int, int]:
    """The number of an example -> its label. Raises UsageError for an unknown name, and a class that is none."""
    numbers, labels = {name: k for k, name in enumerate(names)}, dict[int, int]()
    for example, label in csv.reader(io.StringIO(FILES[file].decode())):
        if int(label) >= classes:
            raise UsageError(f"{file} has the label {label}, and classes go from 0 to {classes - 1}")
        if example not in numbers and not example.isdecimal():
            known = f"none is called {example!r}" if names else f"they have no names such as {example!r}"
            raise UsageError(f"{file} names examples that are not in the training set: {known}")
        labels[numbers[example] if example in numbers else int(example)] = int(label)
    return labels
