"""Judging: the curves of a table as arrays, and what verdicts say of them."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sddcli.axes import COLUMNS
from sddcli.core.words import UsageError
from sddcli.pairs import sparse_of
from sddcli.spec import FIELDS, KINDS, Run
from sddcli.table import REPLICATE, by_setting, varied


class Curves(NamedTuple):
    """The chains of one setting: its varied fields, its levels, their mean sparsity and density, accuracies.

    Of K levels and S chains: test and train are (S, K). density: (K,), (1 - rate)^level. Along another column than
    level, levels are its values, from the one at which labels are easiest to fit, and density says how far apart they
    are: 1 at the first, and half as large at twice or half the value or, of equal steps, at each. last: the last level
    of any chain; kinds: how many values the seed has that has fewest, but more than one. signals: (S, K) of the other
    columns that were asked for, where all of these networks have a number.
    """

    fields: dict[str, Any]
    levels: list[Any]
    sparsity: list[float]
    density: NDArray[np.float64]
    test: NDArray[np.float64]
    train: NDArray[np.float64]
    last: Any
    kinds: int
    signals: Mapping[str, NDArray[np.float64]]


def curves(frame: pd.DataFrame, column: str = "level", signals: Collection[str] = ()) -> Iterator[Curves]:
    """Each setting's chains, at the levels, or other values of `column`, that all of its chains have, if any.

    signals: columns that are wanted beside the accuracies.
    """
    harder = COLUMNS[column].harder
    for fields, rows in by_setting(frame, varied(frame, column)):
        test, train = (
            rows.pivot(index="chain", columns=column, values=f"{n}_accuracy").sort_index(axis=1, ascending=harder)
            for n in ("test", "train")
        )
        every, test = list(test.columns), test.dropna(axis="columns")
        if test.empty:  # of a study, which has no accuracies, or of chains that have no level in common
            continue
        sparsity = rows.groupby(column)["sparsity"].mean()[test.columns]
        there = rows[rows[column].isin(test.columns)]
        known = [name for name in signals if name in rows and there[name].notna().all()]
        beside = {name: there.pivot(index="chain", columns=column, values=name)[test.columns] for name in known}
        yield Curves(
            fields,
            [_whole(each) for each in test.columns],
            sparsity.tolist(),
            _density(test.columns.to_numpy(float), column, rows["rate"].max()),
            test.to_numpy(),
            train[test.columns].to_numpy(),
            _whole(every[-1]),
            min((n for name in REPLICATE if (n := rows[name].nunique()) > 1), default=1),
            {name: values.to_numpy(float) for name, values in beside.items()},
        )


def _whole(value: Any) -> int | float:
    """A whole number without its ".0", any other as it is."""
    return int(value) if value == int(value) else float(value)


def _density(values: NDArray[np.float64], column: str, rate: float) -> NDArray[np.float64]:
    """(K,) as of `Curves`, at (K,) values of a column."""
    if column == "level":
        return (1 - rate) ** values
    if not COLUMNS[column].linear:
        values = np.log2(values)
    step = np.median(np.abs(np.diff(values))) if COLUMNS[column].linear and len(values) > 1 else 1
    halvings: NDArray[np.float64] = np.abs(values - values[:1]) / step
    return 0.5**halvings


def judged(
    frame: pd.DataFrame,
    judge: Callable[..., dict[str, Any]],
    indices: Collection[str] = (),
    column: str = "level",
    signals: Collection[str] = (),
) -> pd.DataFrame:
    """What `judge` says of each setting's curves, one row each.

    signals: columns that it is given beside the accuracies.
    indices: which of its values are indices of levels, as are NAME_low and NAME_high where it says them; the rows have
    the levels, and NAME_sparsity of each. Of a word for each level the rows say from where to where it holds;
    other lists, numbers of each level, are left out. Along another column the rows say which, as `along`, and its first
    value, as `judged_from`; they have its values for levels, no sparsity of them, and no words.
    """
    with_ends = {f"{name}{end}" for name in indices for end in ("", "_low", "_high")}
    rows = []
    for curve in curves(frame, column, signals):
        beside = [curve.signals] if signals else []
        verdict = _without_words(judge(curve.test, curve.train, curve.density, *beside), column)
        row: dict[str, Any] = {**curve.fields}
        for name, value in verdict.items():
            if name in with_ends:
                row[name] = None if value is None else curve.levels[value]
            elif not isinstance(value, list):
                row[name] = value
            elif all(isinstance(each, str) for each in value):
                row[name] = _spans(curve.levels, value)
        row |= {"judged_to": curve.levels[-1], "last_level": curve.last, "seed_values": curve.kinds}
        if column != "level":
            row |= {"along": COLUMNS[column].called, "judged_from": curve.levels[0]}
        for name in indices if column == "level" else ():
            at = verdict[name]
            row[f"{name}_sparsity"] = None if at is None else curve.sparsity[at]
        rows.append(row)
    return pd.DataFrame(rows)


def _without_words(verdict: dict[str, Any], column: str) -> dict[str, Any]:
    """A verdict without its words for each level, which mean nothing along another column."""
    words = {name for name, value in verdict.items() if isinstance(value, list) and isinstance((*value, None)[0], str)}
    return verdict if column == "level" else verdict | {name: [] for name in words}


def _spans(levels: Sequence[int], words: Sequence[str]) -> str:
    """From which level to which each word holds: "light 0-4, critical 5-7"; nothing where there are no words."""
    spans: dict[str, list[int]] = {}
    for level, word in zip(levels, words, strict=False):
        spans.setdefault(word, []).append(level)
    return ", ".join(f"{word} {span[0]}-{span[-1]}" for word, span in spans.items())


def sized(frame: pd.DataFrame, judge: Callable[..., dict[str, list[Any]]], column: str = "level") -> pd.DataFrame:
    """What `judge` says of settings that differ in the number of training examples alone, a row a level.

    Their other varied fields, level or the other column along which curves run, mean sparsity, and what it says;
    without rows where no setting has two sizes.
    """
    names, parts = [name for name in varied(frame, column) if name != "train_size"], []
    for fields, rows in by_setting(frame, names) if column != "examples" else ():
        train = rows.pivot_table(index="examples", columns=column, values="train_accuracy").sort_index()
        if len(train) > 1:
            sparsity = rows.groupby(column)["sparsity"].mean()[train.columns].array
            says = judge(list(train.index), train.to_numpy())
            parts.append(pd.DataFrame({column: train.columns, "sparsity": sparsity, **says}).assign(**fields))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*names, column])


def marked(
    frame: pd.DataFrame,
    judge: Callable[..., dict[str, Any]],
    marks: Callable[[dict[str, Any]], dict[str, list[Any]]],
    column: str = "level",
) -> pd.DataFrame:
    """What a verdict adds to a summary: varied fields, `column`, and those that `marks` makes of what `judge` says.

    Networks that were trained on with all weights have the marks of the sparse ones that they were, where these are
    among the rows.
    """
    settings: list[tuple[dict[str, Any], dict[Any, dict[str, Any]]]] = []
    for curve in curves(frame, column):
        of_levels = marks(_without_words(judge(curve.test, curve.train, curve.density), column))
        each = {level: {name: values[k] for name, values in of_levels.items()} for k, level in enumerate(curve.levels)}
        settings.append((curve.fields, each))
    sparse, rows = _sparse(frame) if column == "level" else {}, list[dict[str, Any]]()
    for fields, own in settings:
        before = fields | {"retraining": sparse.get(str(fields.get("retraining")))}
        marked = next((each for others, each in settings if others == before), own)
        rows += [fields | {column: level} | marked.get(level, {}) for level in own]
    return pd.DataFrame(rows, columns=None if rows else [*varied(frame, column), column])


def _sparse(frame: pd.DataFrame) -> dict[str, str]:
    """Retraining -> that of the sparse networks which it trains on with all weights, of those in the rows."""
    sparse = dict[str, str]()
    for retraining, rows in frame[frame["level"] > 0].groupby("retraining"):
        row = rows.iloc[0]
        fields: dict[str, Any] = {name: KINDS[name](row[name]) for name in FIELDS}
        with suppress(UsageError):  # a results.csv may have words that this version does not know
            if before := sparse_of(Run(**fields)):
                sparse[str(retraining)] = before.retraining
    return sparse
