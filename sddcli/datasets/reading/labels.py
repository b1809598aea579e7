"""Labels: files that say which label somebody gave to which training example: CSV, or the .pt of CIFAR-10N and 100N."""

import csv
import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from sddcli.core.words import UsageError, unknown
from sddcli.datasets.reading.cifar import ArrayUnpickler

MOST = 500 * 10**6
"""Bytes of such a file, and of what is packed in one: a million rows take 20."""
EXAMPLES = ("index", "id", "example", "file", "filename", "name", "image")
"""How a column that names examples may be called; of a table without such a column it is the first of several."""


def read(path: Path, column: str = "") -> bytes:
    """The labels of a file as sdd keeps them: a line "EXAMPLE,LABEL" each, by the number of an example from 0 on, or
    by its name.

    column: which labels, where there are several. Raises UsageError for a file that is no such table, OSError where it
    cannot be read.
    """
    if path.stat().st_size > MOST:
        raise UsageError(f"{path} is larger than {MOST // 10**6} MB, and no table of labels")
    columns = _tensors(path) if path.suffix in (".pt", ".pth") else _table(path)
    examples = next((columns.pop(name) for name in EXAMPLES if name in columns), None)
    if not columns:
        raise UsageError(f"{path} has no labels")
    if column and column not in columns:
        raise unknown(f"column of {path}:", column, columns)
    if not column and len(columns) > 1:
        raise UsageError(f"{path} has several columns, {', '.join(columns)}: name one, as in :column={[*columns][-1]}")
    labels = columns[column or next(iter(columns))]
    for line, label in enumerate(labels, 1):
        if not re.fullmatch(r"\d{1,9}", label):
            raise UsageError(f"label {line} of {path}, {label[:40]!r}, is no class: they are whole numbers from 0 on")
    names = examples if examples is not None else list(map(str, range(len(labels))))
    if len(set(names)) < len(names):
        raise UsageError(f"{path} has two labels of one example, such as {_twice(names)!r}")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(zip(names, labels, strict=True))
    return text.getvalue().encode()


def _twice(names: list[str]) -> str:
    seen = set[str]()
    return next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]


def _table(path: Path) -> dict[str, list[str]]:
    """The columns of a text, by their names; of one without a line of names "index" and "label"."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no text in UTF-8: labels are read from .csv, .tsv, .txt and .pt files") from None
    first = text.partition("\n")[0]
    separator = next((each for each in ("\t", ";", ",") if each in first), ",")
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=separator) if row]
    except csv.Error as error:
        raise UsageError(f"{path} is no table of labels ({error})") from None
    if not rows or not rows[0]:
        raise UsageError(f"{path} has no labels")
    named = not re.fullmatch(r"\d+", rows[0][-1])
    head = [name.lower() for name in rows[0]] if named else ["label"] if len(rows[0]) == 1 else ["index", "label"]
    rows = rows[named:]
    if not set(EXAMPLES) & set(head) and len(head) > 1:
        head = ["index", *head[1:]]
    if wrong := next((line for line, row in enumerate(rows, 1 + named) if len(row) != len(head)), None):
        raise UsageError(f"line {wrong} of {path} has not the {len(head)} columns of the first one")
    return {name: [row[k] for row in rows] for k, name in enumerate(head)}


def _tensors(path: Path) -> dict[str, list[str]]:
    """The arrays (N,) of whole numbers that torch saved as a dictionary, as words; nothing else of it is made."""
    try:
        content = path.read_bytes()
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                inner = next(each for each in packed.infolist() if each.filename.endswith("data.pkl"))
                if inner.file_size > MOST:
                    raise ValueError("it unpacks to more than it may")
                content = packed.read(inner)
        stream = io.BytesIO(content)
        kept: dict[Any, Any] = {}
        while stream.tell() < len(content) and not kept:  # older files begin with numbers and facts of the machine
            each = ArrayUnpickler(stream, encoding="latin1").load()
            kept = {k: v for k, v in each.items() if isinstance(v, np.ndarray)} if isinstance(each, dict) else {}
        columns = {str(name): values for name, values in kept.items() if values.ndim == 1 and values.dtype.kind in "iu"}
        return {name: [str(int(value)) for value in values] for name, values in columns.items()}
    except OSError:
        raise
    except Exception as error:  # a damaged pickle fails in any way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{path} is no file of labels ({reason})") from None
