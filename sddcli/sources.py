"""Sources: files of a user's own code, read where the user names them; which of them runs need, and who trusts them."""

import re
from collections.abc import Iterable
from pathlib import Path

from sddcli.core import own
from sddcli.core.words import UsageError, expanded
from sddcli.spec import OWN, Run
from sddcli.store import Store

WRITTEN = re.compile(r"(?P<path>[^:@]+\.py)(?::(?P<rest>.*))?", re.DOTALL)
"""How a user names code: PATH/net.py:Net, with parameters behind it."""


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


def keep(store: Store, runs: Iterable[Run] = (), words: Iterable[str] = ()) -> None:
    """Saves a copy of the code that runs, or words beside them, name. Raises StoreError where it cannot be written."""
    for key in [*of_runs(runs), *map(own.key_of, words)]:
        if key in own.SOURCES:
            store.save_code(key, own.SOURCES[key])


def changed(store: Store, runs: Iterable[Run]) -> list[str]:
    """A line for each file of these runs of which the folder has another version: its runs are others."""
    kept, lines = store.code_names(), []
    for key in of_runs(runs):
        others = sorted(each for each in kept if each != key and each.split("@")[0] == key.split("@")[0])
        if others and key not in kept:
            lines.append(f"{key.split('@')[0]} is another than before: these are other runs than those of {others[-1]}")
    return lines
