"""Sources: files of a user's own code, read where the user names them; which of them runs need, and who trusts them."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from sddcli.core import labels, own
from sddcli.core.words import UsageError, expanded
from sddcli.spec import OWN, Run
from sddcli.store import Store

WRITTEN = re.compile(r"(?P<path>[^:@]+\.py)(?::(?P<rest>.*))?", re.DOTALL)
"""How a user names code: PATH/net.py:Net, with parameters behind it."""


LABELS = re.compile(r"file:(?P<path>[^:]+)(?::column=(?P<column>[^:]+))?")


def names_code(word: object) -> bool:
    """Whether a word names a file of code."""
    return isinstance(word, str) and WRITTEN.fullmatch(word) is not None


def identified(word: str) -> str:
    """The word that runs have for net.py:Net, net.py@HASH:Net, whose code may run from now on; another one as it is.

    Raises UsageError where the file cannot be read, or nothing in it is named.
    """
    match = WRITTEN.fullmatch(word)
    if not match:
        return word
    path = Path(expanded(match["path"]))
    if not match["rest"]:
        raise UsageError(f"{word} names a file: say which function or class of it, as in {word.rstrip(':')}:Net")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; code of your own is named FILE.py:NAME") from None
    key = own.key(path.name, content)
    if not own.KEY.fullmatch(key):
        raise UsageError(f"{path.name} cannot be the name of a file of code: take one without :, @ and backslashes")
    own.SOURCES[key] = content
    return f"{key}:{match['rest']}"


def labelled(word: str) -> str:
    """The word that runs have for file:PATH, a file of labels: file:NAME@HASH; another one as it is.

    HASH is of the labels, in whatever format they are written. Raises UsageError where they cannot be read.
    """
    match = LABELS.fullmatch(word)
    if not match or labels.key_of(word):
        return word
    from sddcli.datasets.reading.labels import read

    path, column = Path(expanded(match["path"])), match["column"] or ""
    try:
        lines = read(path, column)
    except OSError as error:
        raise UsageError(f"cannot read the labels {path}: {error.strerror}") from None
    return labels.named("-".join(filter(None, [re.sub(r"[:/\\@]", "_", path.stem), column])), lines)


def recall(store: Store) -> None:
    """Has the labels that a runs folder keeps known from now on: they are data. Raises StoreError for damaged ones."""
    labels.FILES.update(store.labels())


def of_runs(runs: Iterable[Run]) -> list[str]:
    """The files of code that runs name, net.py@HASH, each once."""
    words = (str(getattr(run, name)) for run in runs for name in OWN)
    return list(dict.fromkeys(key for word in words if (key := own.key_of(word))))


def must_run(runs: Iterable[Run]) -> None:
    """Raises UsageError where runs were made with code that may not run here."""
    for key in of_runs(runs):
        own.must_run(key)


def trust(store: Store) -> None:
    """Has the code that a runs folder keeps run from now on. Raises StoreError where it is not what it was."""
    own.SOURCES.update(store.code())


def carried(runs: Iterable[Run], words: Iterable[str] = ()) -> dict[str, bytes]:
    """The code and labels that runs, or words beside them, name and that are known here: what other processes need."""
    known, names = own.SOURCES | labels.FILES, list(map(own.key_of, words))
    for run in runs:
        names += [*of_runs([run]), labels.key_of(run.noise_kind)]
    return {key: known[key] for key in dict.fromkeys(names) if key in known}


def received(files: Mapping[str, bytes]) -> None:
    """Has code and labels that another process of ours carried here be known, and the code run where it is named."""
    for key, content in files.items():
        (own.SOURCES if own.key_of(key) else labels.FILES)[key] = content


def keep(store: Store, runs: Iterable[Run] = (), words: Iterable[str] = ()) -> None:
    """Saves copies of the code and labels that runs, or words beside them, name. Raises StoreError where it cannot."""
    for key, content in carried(runs, words).items():
        store.save_code(key, content) if own.key_of(key) else store.save_labels(key, content)


def changed(store: Store, runs: Iterable[Run]) -> list[str]:
    """A line for each file of these runs of which the folder has another version: its runs are others."""
    kept, lines = store.code_names(), []
    for key in of_runs(runs):
        others = sorted(each for each in kept if each != key and each.split("@")[0] == key.split("@")[0])
        if others and key not in kept:
            lines.append(f"{key.split('@')[0]} is another than before: these are other runs than those of {others[-1]}")
    return lines
