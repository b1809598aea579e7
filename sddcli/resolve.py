"""Resolve: words -> tables. Precedence: defaults < protocol < TOML < --set < flags; data set and model first."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import Any

from sddcli.core.retraining import masks_of
from sddcli.core.words import UsageError, unknown
from sddcli.spec import (
    AUTO,
    BRANCH,
    FIELDS,
    KINDS,
    MOST_RUNS,
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
PLURALS = {"levels": "level", "seeds": "seed"}
PROTOCOLS = ("paper", "quick")
"""The paper's settings, or ours that keep the shape of the curve at a tenth of the cost."""


def runs(
    flags: Mapping[str, str], sets: Sequence[str] = (), path: Path | None = None, protocol: str = "paper"
) -> tuple[Run, ...]:
    """All runs that the words ask for: flags by field name, `--set` words key=value, a sweep's TOML file.

    protocol: one of PROTOCOLS, from which all comes that they do not say.
    Raises UsageError for unknown keys, values that cannot be read or are out of range; OSError for the file.
    """
    return tuple(dict.fromkeys(run for table in plan(flags, sets, path, protocol) for run in unfold(table)))


def plan(
    flags: Mapping[str, str], sets: Sequence[str] = (), path: Path | None = None, protocol: str = "paper"
) -> list[Table]:
    """The tables of values that the same words ask for, one for each data set and model. Raises as `runs`."""
    asked = from_toml(path) if path else {}
    asked |= {name: parse(name, text) for name, text in [*assignments(sets).items(), *flags.items()]}
    return tables(asked, protocol)


def child(parent: Run, flags: Mapping[str, str], sets: Sequence[str] = ()) -> Run:
    """The run that is pruned from `parent` with these words, and else as it or, first pruned, as the default.

    Raises UsageError for words that make another data set, model or seed, or a run whose masks come from
    elsewhere.
    """
    asked = {name: parse(name, text) for name, text in [*assignments(sets).items(), *flags.items()]}
    if several := [name for name, values in asked.items() if len(values) > 1]:
        raise UsageError(f"prune makes one run, and {several[0]} has several values")
    default = tables({"dataset": [parent.dataset], "model": [parent.model]})[0]
    usual = {name: default[name][0] for name in BRANCH if name in default} if parent.level == 0 else {}
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


def tables(asked: Table, protocol: str = "paper") -> list[Table]:
    """One table for each data set and model asked for, since the protocol depends on both, by their plain names.

    And on the data set as it is said, with its parameters.
    """
    if protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)
    end = "" if protocol == "paper" else f"/{protocol}"
    protocols = tomllib.loads(files("sddcli").joinpath("protocols.toml").read_text(encoding="utf-8"))
    default = _axes(protocols["default"])
    found = []
    for dataset in asked.get("dataset", default["dataset"]):
        data = str(dataset).split(":")[0]
        of_data = default | _axes(protocols.get(data, {})) | {"dataset": [dataset]}
        models = asked.get("model", of_data.get("model"))
        if models is None:
            known = [name for name in protocols if "/" not in name and ":" not in name and name != "default"]
            raise unknown("data set", str(dataset), known)
        for model in models:
            of_model, kind = of_data, f"{data}/{str(model).split(':')[0]}"
            for key in (str(dataset), kind, *((f"{data}{end}", f"{kind}{end}") if end else ())):
                of_model = of_model | _axes(protocols.get(key, {}))
            found.append(_chosen(of_model | asked | {"dataset": [dataset], "model": [model]}, of_model["level"]))
    return found


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


def from_toml(path: Path) -> Table:
    """The axes of a sweep's TOML file. Raises UsageError naming the file, OSError where it cannot be read."""
    try:
        written = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors of Windows put a byte order mark first
    except ValueError as error:  # no TOML, no UTF-8, or a number of thousands of digits
        raise UsageError(f"{path}: {error}") from None
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
            read = (
                parse(name, each) if isinstance(each, str) and KINDS[name] is not str else [checked(FIELDS[name], each)]
            )
            axis += read
        if not axis:
            raise UsageError(f"{name} is an empty list")
        axes[name] = axis
    return axes


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

    Raises UsageError where one cannot be read or is outside the field's range.
    """
    kind: type[str | int | float] = KINDS[name]
    values: Axis = []
    for piece in text.split(","):
        piece = piece.strip()
        if name == "level" and piece.split(":")[0] == AUTO:
            values.append(piece)
            continue
        if not piece:
            raise UsageError(f"{name} has an empty value in {text!r}")
        if kind is int and (found := re.fullmatch(r"(\d+)-(\d+)", piece)):
            first, last = map(int, found.groups())
            if not first <= last < first + MOST_RUNS:
                raise UsageError(f"{name} {piece!r} is not a range of at most {MOST_RUNS} rising numbers")
            values += [checked(FIELDS[name], value) for value in range(first, last + 1)]
            continue
        try:
            value = kind(piece)
        except ValueError:
            noun = "whole numbers, such as 3 or 0-4" if kind is int else "numbers"
            noun += f", or {AUTO}" if name == "level" else ""
            raise UsageError(f"{name} takes {noun}, got {piece!r}") from None
        values.append(checked(FIELDS[name], value))
    return list(dict.fromkeys(values))
