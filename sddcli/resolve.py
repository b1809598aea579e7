"""Resolve: words -> tables. Precedence: defaults < protocol < TOML < --set < flags; data set and model first."""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from importlib.resources import files
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from sddcli.core.own import key_of
from sddcli.core.retraining import RETRAININGS, masks_of, rewind_steps
from sddcli.core.words import UsageError, expanded, pick, unknown
from sddcli.families import members
from sddcli.sources import identified, labelled, names_code
from sddcli.spec import (
    AUTO,
    BRANCH,
    FIELDS,
    KINDS,
    MOST_RUNS,
    OWN,
    SUBSEEDS,
    Run,
    Value,
    checked,
    from_dict,
    last_level,
    to_dict,
    unfold,
)

Axis = list[Value]
Table = dict[str, Axis]

LEAST_SEEDS = 3  # of which 40 % of the trainings hold one whole chain, the least that an iterative one is seen by
LEAST_LEVELS = 8
MOST_REWOUND = 10  # a tenth of the training: the latest point that a protocol rewinds to
LENGTH = ("train_size", "validation", "batch_size", "epochs", "length")  # what decides how many steps a training has
LENGTHS = ("epochs", "length")  # two words for the same: the one that is said by the later source counts
PLURALS = {"levels": "level", "seeds": "seed"}
PROTOCOLS = ("paper", "quick", "lth", "lth-code", "renda", "zhou", "gst", "nakkiran")
"""The paper's settings, ours that keep the shape of the curve at a tenth of the cost, or those of a neighbour's paper.

That of a paper's released code, NAME-code, is what protocols.toml has for NAME, and over it what differs.
"""
CountExamples = Callable[[str, int, float], int]
"""(data set, train_size, validation) -> how many examples are trained on. Raises UsageError, OSError."""
Hear = Callable[[str], None]
"""Hears what the user should know of how the words were read, a line each."""


def _unheard(line: str) -> None:
    pass


def runs(
    flags: Mapping[str, str], sets: Sequence[str] = (), path: Path | None = None, protocol: str = "paper"
) -> tuple[Run, ...]:
    """All runs that the words ask for: flags by field name, `--set` words key=value, a sweep's TOML file.

    protocol: one of PROTOCOLS, from which all comes that they do not say.
    Raises UsageError for unknown keys, values that cannot be read or are out of range; OSError for the file.
    """
    return tuple(dict.fromkeys(run for table in plan(flags, sets, path, protocol) for run in unfold(table)))


def plan(
    flags: Mapping[str, str],
    sets: Sequence[str] = (),
    path: Path | None = None,
    protocol: str = "paper",
    count: CountExamples | None = None,
    hear: Hear = _unheard,
    trust: bool = False,
) -> list[Table]:
    """The tables of values that the same words ask for, one for each data set and model. Raises as `runs`.

    trust: whether code that the TOML file names may run; what flags name may. count: with it a protocol's rewinding
    point fits the data, see `tables`.
    """
    asked = from_toml(path, trust) if path else {}
    texts = assignments(sets) | dict(flags)
    words = {name: parse(name, text) for name, text in texts.items()}
    for name, text in texts.items():
        if KINDS[name] is float and (pair := re.fullmatch(r"0,(\d+)", text)):
            hear(f"{name} {text} is two values, 0 and {pair[1]}; one decimal number is written 0.{pair[1]}")
    return tables(_over(asked, _one_length(words)), protocol, count, hear)


def _over(usual: Table, asked: Table) -> Table:
    """`usual`, and over it what is `asked`."""
    return {name: axis for name, axis in usual.items() if name not in LENGTHS or not set(LENGTHS) & set(asked)} | asked


def _one_length(asked: Table) -> Table:
    """`asked`. Raises UsageError where epochs and length both say how long to train."""
    if all(name in asked for name in LENGTHS):
        both = " and ".join(f"{name} {', '.join(map(str, asked[name]))}" for name in LENGTHS)
        raise UsageError(f"{both} both say how long to train: give one")
    return asked


def child(
    parent: Run,
    flags: Mapping[str, str],
    sets: Sequence[str] = (),
    count: CountExamples | None = None,
    hear: Hear = _unheard,
) -> Run:
    """The run that is pruned from `parent` with these words, and else as it or, first pruned, as the default.

    Raises UsageError for words that make another data set, model or seed, or a run whose masks come from
    elsewhere.
    """
    asked = {name: parse(name, text) for name, text in [*assignments(sets).items(), *flags.items()]}
    if several := [name for name, values in asked.items() if len(values) > 1]:
        raise UsageError(f"prune makes one run, and {several[0]} has several values")
    usual: dict[str, Value] = {}
    if parent.level == 0:
        same = {name: [getattr(parent, name)] for name in ("dataset", "model", *LENGTH)}
        chosen = {name: asked[name] for name in ("retraining", "rewind") if name in asked}
        default = tables(same | chosen, count=count, hear=hear)[0]
        usual = {name: default[name][0] for name in BRANCH if name in default}
    fields = to_dict(parent) | usual | {name: values[0] for name, values in asked.items()}
    if "level" not in asked:
        fields["level"] = max(parent.level, 1)
        if parent.level and masks_of(from_dict(fields)).run != parent:  # but for those of the ticket's own level
            fields["level"] = parent.level + 1
    run = from_dict(fields)
    source = masks_of(run).run
    if source != parent:
        wrong = [name for name in FIELDS if getattr(source, name) != getattr(parent, name)]
        raise UsageError(
            f"such a run is pruned from another parent, with {_pairs(source, wrong)}, "
            f"and this one has {_pairs(parent, wrong)}"
        )
    return run


def _pairs(run: Run, names: Sequence[str]) -> str:
    return ", ".join(f"{name} {getattr(run, name)!r}" for name in names)


def tables(
    asked: Table, protocol: str = "paper", count: CountExamples | None = None, hear: Hear = _unheard
) -> list[Table]:
    """One table for each data set and model asked for, since the protocol depends on both.

    It has entries by their names without parameters, and by a data set's word with them. count: with it, a rewinding
    point of the protocol that is later than a tenth of the training becomes that tenth, and `hear` gets a line that
    says so; trainings of different length then have tables of their own. Raises UsageError for an unknown protocol
    or data set, whole numbers from 2^63 on, and levels that cannot be chosen; OSError where `count` does.
    """
    if protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)
    for name, axis in asked.items():  # of old runs one may be larger; tables and their tools hold 64 bits
        if large := [value for value in axis if isinstance(value, int) and value >= 2**63]:
            raise UsageError(f"{name} {large[0]} is too large: whole numbers up to {2**63 - 1} (2^63 - 1) can be given")
    ends = [end for end in PROTOCOLS[1:] if protocol == end or protocol.startswith(f"{end}-")]
    protocols = tomllib.loads(files("sddcli").joinpath("protocols.toml").read_text(encoding="utf-8"))
    default = _axes(protocols["default"])
    datasets = asked.get("dataset", default["dataset"])
    _must_be_known(datasets)
    planned: list[Table] = []

    def layered(*keys: str) -> Table:
        """The default, and over it what the protocols have by each key, the later ones over the earlier."""
        return reduce(_over, (_axes(protocols.get(key, {})) for key in keys), default)

    for dataset in datasets:
        data = str(dataset).split(":")[0]
        models = asked.get("model", layered(data, *(f"{any_}/{end}" for end in ends for any_ in ("*", data)))["model"])
        for model in models:
            net = str(model).split(":")[0]
            special = [f"{key}/{end}" for end in ends for key in ("*", f"*/{net}", data, f"{data}/{net}")]
            of_model = layered(data, str(dataset), f"{data}/{net}", *special)
            kinds = asked.get("noise_kind", [])
            if "noise" not in asked and kinds and all(str(kind).startswith("file:") for kind in kinds):
                of_model["noise"] = [1.0]  # a file of labels says itself how many are wrong
            table = _chosen(_over(of_model, asked) | {"dataset": [dataset], "model": [model]}, of_model["level"])
            planned += [table] if count is None or "rewind" in asked else _fitting(table, count, hear)
    return planned


def _must_be_known(datasets: Axis) -> None:
    """Raises UsageError for a word of no data set, which may be the end of a path with a comma, as in folder:a,b."""
    known, words = members("datasets"), [str(dataset) for dataset in datasets]
    strange = [word for word in words if word.split(":")[0] not in known and not key_of(word)]
    if strange:
        error = unknown("data set", strange[0], known)
        with_path = next((word.split(":")[0] for word in words if re.match(r"[^:]+:[^:=]+(:|$)", word)), "")
        raise UsageError(f"{error}; a comma in a path is quoted: '{with_path}:\"a,b\"'") if with_path else error


def _fitting(table: Table, count: CountExamples, hear: Hear) -> Iterator[Table]:
    """`table`, or its parts by length of training, with a rewinding point that this length has room for."""
    usual = str(table.get("rewind", [Run.rewind])[0])
    rewinds = any(pick("retraining", str(word), RETRAININGS).rewinds for word in table["retraining"])
    if usual == Run.rewind or table["level"] == [0] or not rewinds:
        yield table
        return
    axes = {name: table.get(name, [getattr(Run, name)]) for name in LENGTH}
    several = [name for name in LENGTH if len(axes[name]) > 1]
    parts = []
    for values in product(*axes.values()):
        size, share, batch, epochs, length = values
        steps = -(-count(str(table["dataset"][0]), int(size or 0), float(share or 0)) // int(batch or 1))
        whole = rewind_steps(str(length or f"{epochs}ep"), steps, "length")
        most = whole // MOST_REWOUND
        rewind = usual if rewind_steps(usual, steps) <= most else f"{most}it"
        part = dict(zip(LENGTH, values, strict=True))
        parts.append({name: [value] for name, value in part.items()} | {"rewind": [rewind]})
        if rewind != usual:
            which = "".join(f", {name} {part[name]}" for name in several)
            hear(
                f"rewinding to {rewind}: the {usual} of the protocol is more than a tenth of the {whole} steps of"
                f" training ({table['dataset'][0]}{which}); --rewind sets another"
            )
    if len({str(part["rewind"]) for part in parts}) == 1:
        yield table | {"rewind": parts[0]["rewind"]}
    else:
        yield from (table | part for part in parts)


def _chosen(table: Table, usual: Axis) -> Table:
    """`table`, and where its levels are "auto", up to which: the last of the `usual` ones. Raises UsageError."""
    if not any(str(level).startswith(AUTO) for level in table["level"]):
        return table
    if table["level"] == [AUTO]:
        table = table | {"level": [f"{AUTO}:last={max(map(int, map(str, usual)))}"]}
    last, chains = last_level(table), prod(len(table.get(name, [0])) for name in ("seed", *SUBSEEDS))
    if last is None or len(table["level"]) > 1:
        raise UsageError(f"level takes auto, auto:last=32 or numbers, got {', '.join(map(str, table['level']))}")
    if not LEAST_LEVELS <= last <= 1000:
        raise UsageError(f"levels auto are chosen up to level {LEAST_LEVELS} to 1000, got {last}")
    if chains < LEAST_SEEDS and "iterative" in table.get("pruning", [Run.pruning]):
        raise UsageError(
            f"levels auto of iterative pruning take {LEAST_SEEDS} seeds or more, got {chains}: "
            "take more (--seeds 0-4), or --pruning one-shot"
        )
    return table


def from_toml(path: Path, trust: bool = False) -> Table:
    """The axes of a sweep's TOML file. Raises UsageError naming the file, OSError where it cannot be read.

    trust: whether code that it names may run: files are written by others too.
    """
    try:
        written = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors of Windows put a byte order mark first
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8 (its byte {error.start + 1} is \\x{error.object[error.start]:02x})"
        ) from None
    except ValueError as error:  # no TOML, or a number of thousands of digits
        raise UsageError(f"{path}: {error}") from None
    values = [each for value in written.values() for each in (value if isinstance(value, list) else [value])]
    if not trust and (code := [each for each in values if names_code(each)]):
        raise UsageError(f"{path} names code, {code[0]}, and sdd runs it only if you say so: read it, then add --trust")
    try:
        return _axes(written)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _axes(table: Mapping[str, Any]) -> Table:
    axes: Table = {}
    for word, value in table.items():
        name, axis = field_named(word), []
        if name in axes:
            raise UsageError(f"{name} is given twice, the second time as {word}: say it once, several values as a list")
        for each in value if isinstance(value, list) else [value]:
            # A word of a field of numbers is read as on the command line: "0-4", "80/120".
            number = isinstance(each, str) and KINDS[name] is not str
            axis += parse(name, each) if number else [_checked(name, each)]
        if not axis:
            raise UsageError(f"{name} is an empty list")
        axes[name] = axis
    return _one_length(axes)


def field_named(word: str) -> str:
    """The field that a key means: with hyphens or underscores, levels and seeds too. Raises UsageError."""
    name = word.strip().replace("-", "_")
    name = PLURALS.get(name, name)
    if name not in FIELDS:
        raise unknown("key", word.strip(), FIELDS)
    return name


def assignment(text: str) -> tuple[str, str]:
    """The field and the text of "field=text", as --set and --where take it. Raises UsageError."""
    word, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{text!r} is not key=value")
    return field_named(word), value


def assignments(words: Sequence[str]) -> dict[str, str]:
    """Field -> text of all `--set` words of a command. Raises UsageError for a field that is given twice."""
    texts: dict[str, str] = {}
    for name, text in map(assignment, words):
        if name in texts:
            raise UsageError(f"--set gives {name} twice, {texts[name]} and {text}: say it once, as a list for both")
        texts[name] = text
    return texts


def parse(name: str, text: str) -> Axis:
    """The values of field `name` in a word: the comma separates them, and "0-4" is a range of whole numbers.

    A comma within double quotes is one of a name. Raises UsageError where a value cannot be read or is outside the
    field's range.
    """
    try:
        return _parsed(name, text)
    except UsageError as error:
        # 0,4 by someone who writes decimals with a comma; 05 is no number that anybody lists
        if KINDS[name] is not float or not re.search(r"\d,\d", text) or "." in text:
            raise
        raise UsageError(f"{error}; a comma separates values, and a decimal number is written 0.4") from None


def _checked(name: str, value: Any) -> Value:
    """`value` in the type and range of field `name`; "~" at the start of a data set's path is the user's home."""
    if name == "dataset" and isinstance(value, str) and ":~" in value:
        data, _, path = value.partition(":")
        value = f"{data}:{expanded(path)}"
    if name == "noise_kind" and isinstance(value, str):
        value = labelled(value)
    if names_code(value):
        if name not in OWN:
            raise UsageError(f"{name} takes no code of your own, such as {value}; what does: {', '.join(OWN)}")
        value = identified(value)
    return checked(FIELDS[name], value)


QUOTED = re.compile(r'(^|[,:]\s*)"([^"]*)"(?P<behind>\s*[^,:/\s]|)')


def _pieces(text: str) -> list[str]:
    """What commas separate in a word, except within double quotes that open a name; other quotes are letters of it.

    Raises UsageError where a name goes on behind the quotes that close it.
    """
    if wrong := next((quoted for quoted in QUOTED.finditer(text) if quoted["behind"]), None):
        raise UsageError(
            f"in {text!r} a name ends with its second quote and {wrong['behind'].strip()!r} follows: quote all of the "
            "name, or none of it"
        )
    joined = QUOTED.sub(lambda quoted: quoted[1] + quoted[2].replace(",", "\0"), text)
    return [piece.replace("\0", ",") for piece in joined.split(",")]


def _parsed(name: str, text: str) -> Axis:
    kind: type[str | int | float] = KINDS[name]
    values: Axis = []
    for piece in _pieces(text):
        piece = piece.strip()
        if name == "level" and piece.split(":")[0] == AUTO:
            values.append(piece)
            continue
        if not piece:
            raise UsageError(f"{name} has an empty value in {text!r}")
        if kind is int and (ends := re.fullmatch(r"(\d+)-(\d+)", piece)):
            first, last = map(int, ends.groups())
            if not first <= last < first + MOST_RUNS:
                raise UsageError(f"{name} {piece!r} is not a range of at most {MOST_RUNS} rising numbers")
            values += [_checked(name, value) for value in range(first, last + 1)]
            continue
        try:
            if kind is float and re.fullmatch(r"0\d+", piece):
                raise ValueError(f"{piece} is the end of a decimal number")
            value = kind(piece)
        except ValueError:
            noun = "whole numbers, such as 3 or 0-4" if kind is int else "numbers"
            noun += f", or {AUTO}" if name == "level" else ""
            raise UsageError(f"{name} takes {noun}, got {piece!r}") from None
        values.append(_checked(name, value))
    return list(dict.fromkeys(values))
