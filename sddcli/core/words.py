"""Words: which member of a table a word means, with its parameters, and the nearest one when it means none."""

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from math import inf
from os.path import expanduser
from typing import Any, TypeVar, cast

Member = TypeVar("Member")


CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Letters by which a text could give orders to a terminal; a line break and a tab are none."""


def printable(text: str) -> str:
    r"""`text` as any file or terminal takes it: bytes of a file's name that are no UTF-8 are written as \xe9.

    So are letters that would give orders to a terminal.
    """
    written_out = re.sub("[\udc80-\udcff]", lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", text)
    written_out = CONTROL.sub(lambda letter: f"\\x{ord(letter[0]):02x}", written_out)
    return written_out.encode("utf-8", "backslashreplace").decode()


class UsageError(ValueError):
    """What was asked for cannot be done; the message says why, in one line, to whoever asked.

    Of everything that the user may have caused: words, settings that do not fit the data, a training that diverges.
    Any other ValueError is a bug, and is reported as one.
    """


class Whole(int):
    """A parameter: a whole number, 1 or more."""

    def __new__(cls, value: int | str) -> "Whole":
        """Raises UsageError for a smaller one, ValueError for what is no whole number."""
        if int(value) < 1:
            raise UsageError("it takes 1 or more")
        return super().__new__(cls, value)


class Positive(float):
    """A parameter: a finite number above 0."""

    def __new__(cls, value: float | str) -> "Positive":
        """Raises UsageError for any other, ValueError for what is no number."""
        if not 0 < float(value) < inf:
            raise UsageError("it takes a finite number above 0")
        return super().__new__(cls, value)


class Answer(str):
    """A parameter: yes or no, which is false."""

    def __new__(cls, word: str) -> "Answer":
        """Raises UsageError for another word."""
        if word not in ("yes", "no"):
            raise UsageError("it takes yes or no")
        return super().__new__(cls, word)

    def __bool__(self) -> bool:
        return self == "yes"


def expanded(path: str) -> str:
    """`path` with a "~" at its start as the user's home, for where no shell has seen it; of nobody's, as it is."""
    return expanduser(path)  # noqa: PTH111 (Path's own raises an error where there is no home)


def in_words(values: Mapping[str, Any]) -> str:
    """Fields and their values, "weight decay 0.001, seed 2"; one that has no value is left out."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items() if value not in (None, ""))


def unknown(kind: str, word: str, known: Iterable[str]) -> UsageError:
    """The error for a word that no table knows: what came, the nearest known word, all known words."""
    names = sorted(known)
    begun = [name for name in names if len(word) > 2 and name.startswith(word)]
    near = begun or difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UsageError(f"unknown {kind} {word!r}; {hint}known: {', '.join(names)}")


def pick(kind: str, word: str, table: Mapping[str, Member]) -> Member:
    """The member of `table` that `word` means, parameters bound: `name` or `name:key=value:key=value`.

    A member is a function or, where more than that is known of it, a NamedTuple whose first field is one. Its
    parameters are the function's keyword-only arguments; their defaults give their types. A word of code of the user's
    own is net.py@HASH:NAME:key=value, see core/own.
    Raises UsageError for an unknown name, an unknown parameter or a value of the wrong type.
    """
    name, *settings = word.split(":")
    if "@" in name:
        return _own(kind, word, table)
    if name not in table:
        raise unknown(kind, name, table)
    member = table[name]
    if not settings:  # most words; looking at a signature takes longer than all the rest of making a Run
        return member
    function: Callable[..., Any] = member[0] if isinstance(member, tuple) else cast(Callable[..., Any], member)
    with_settings = bound(f"{kind} {name!r}", function, settings)
    if isinstance(member, tuple):
        return cast(Any, type(member))(with_settings, *member[1:])  # type: ignore[no-any-return]
    return cast(Member, with_settings)


def _own(kind: str, word: str, table: Mapping[str, Member]) -> Member:
    """The same of code of the user's own."""
    from sddcli.core import own

    if not own.key_of(word):
        raise unknown(kind, word.split(":")[0], table)
    function, settings = own.member(kind, word)
    mine = bound(f"{kind} {word!r}", function, settings, every=True) if settings else function
    return cast(Member, own.adapted(kind, mine, table))


def bound(what: str, function: Callable[..., Any], settings: Iterable[str], every: bool = False) -> Callable[..., Any]:
    """`function` with the parameters key=value bound, of the types of their defaults.

    every: all that have a default are parameters, not only those that are given by name alone. Raises UsageError, in
    which it is called `what`, for an unknown parameter or a value of the wrong type.
    """
    parameters = {
        key: parameter
        for key, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        or (every and parameter.default is not inspect.Parameter.empty)
    }
    values = {}
    for setting in settings:
        key, _, text = setting.partition("=")
        if not parameters:
            raise UsageError(f"{what} takes no parameters, got {setting!r}")
        if key not in parameters:
            raise unknown(f"parameter of {what}:", key, parameters)
        try:
            values[key] = type(parameters[key].default)(text)
        except ValueError as error:
            why = f": {error}" if isinstance(error, UsageError) else ""
            raise UsageError(f"{what} cannot read {setting!r}{why}") from None
    return functools.partial(function, **values)


def parameters(member: Callable[..., Any]) -> dict[str, Any]:
    """The parameters of a function that `pick` returned: name -> value, the default where none was given."""
    known = inspect.signature(member).parameters.items()
    return {name: each.default for name, each in known if each.kind is inspect.Parameter.KEYWORD_ONLY}
