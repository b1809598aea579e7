"""Kinds of measures: what they are of, how they look at it, and how what they say is saved and shown."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from inspect import Parameter, signature
from math import nan
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from sddcli.cli import screen
from sddcli.core.own import key_of
from sddcli.core.words import UsageError, pick, unknown
from sddcli.families import members, names_in
from sddcli.metrics import FOLDERS, metric_of
from sddcli.pairs import Pair, natural
from sddcli.spec import FIELDS, Run
from sddcli.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from sddcli.table import Unsaved

PAIR_KINDS = names_in("pairs.PAIRS")
ENDS = ("other", "other_level", "kind")  # what tells pairs apart, of which run and level are one end
Subjects = Sequence[Run | Pair]


class Line(NamedTuple):
    """What a measure says of one setting on a line, and how that goes with test accuracy along a chain, if it does.

    setting: field -> value, of the fields that tell settings apart.
    """

    setting: Mapping[str, Any]
    says: str
    correlation: str = ""


class Kind(NamedTuple):
    """What the measures of one folder of the package have in common.

    subjects: of the finished runs that are asked for, and the kind of pairs, those that analyses have to look at
    first; None where the tables are enough. values: what a measure says, saved, as a table of the rows of a view;
    unsaved: numbers that analyses measured and that could not be saved.
    show: puts that on the screen; digest: the same in a line a setting. needs: what to do where it has nothing to say
    of these runs.
    """

    folder: str
    subjects: Callable[[Sequence[Run], str], Subjects] | None
    values: "Callable[[Store, View, str, Subjects, Unsaved | None], pd.DataFrame]"
    show: "Callable[[View, str, pd.DataFrame], None]"
    digest: "Callable[[View, str, pd.DataFrame], Iterator[Line]]"
    needs: str = ""


class View(NamedTuple):
    """Rows of finished runs as curves: along the axis of that name, which is this column of theirs."""

    frame: "pd.DataFrame"
    axis: str = "level"
    column: str = "level"

    @property
    def curves(self) -> "pd.DataFrame":
        """The rows without dense runs that belong to no curve."""
        from sddcli import table

        return table.grown(self.frame) if self.column == "level" else self.frame

    @property
    def varied(self) -> list[str]:
        """The fields that tell curves apart."""
        from sddcli import table

        return table.varied(self.curves, self.column)

    @property
    def title(self) -> str:
        """What all curves have in common, in words."""
        from sddcli import table

        return table.title(self.curves, self.column)

    @property
    def words(self) -> list[str]:
        """What asks for this view on the command line."""
        return [] if self.axis == "level" else ["--along", self.axis]

    def file(self, name: str) -> str:
        """The name of the file that keeps what measures say of these curves: along levels, the measure's own."""
        return name if self.column == "level" else f"{name}-along-{self.axis}"


def viewed(frame: "pd.DataFrame", axis: str) -> View:
    """The rows as curves along an axis. Raises UsageError and StoreError as `table.along`."""
    from sddcli import table

    rows, column = table.along(frame, axis)
    return View(frame if column == "level" else rows, axis, column)


def _runs(finished: Sequence[Run], pairs: str) -> Subjects:
    return finished


def _pairs(finished: Sequence[Run], pairs: str) -> Subjects:
    if pairs and pairs not in PAIR_KINDS:
        raise unknown("kind of pairs", pairs, PAIR_KINDS)
    return natural(finished, pairs)


def _of_runs(store: Store, view: View, word: str, subjects: Subjects, unsaved: "Unsaved | None") -> "pd.DataFrame":
    """The numbers of an analysis for these runs, and how they go with test accuracy, saved beside them."""
    from sddcli import table

    values = table.measured(store, word, set(view.curves["run"]), unsaved)
    if not values.empty:
        correlations = table.correlations(view.curves, values, view.column)
        table.save(correlations, store.root, view.file(f"{word}-correlations"))
    return values


def _of_pairs(store: Store, view: View, word: str, subjects: Subjects, unsaved: "Unsaved | None") -> "pd.DataFrame":
    """The numbers of an analysis for these pairs; the table of all pairs is saved."""
    from sddcli import table

    values = table.paired(store, word, unsaved, [])
    ids = {(pair.a.id, pair.b.id) for pair in subjects if isinstance(pair, Pair)}
    return values.loc[[ends in ids for ends in zip(values["other"], values["run"], strict=True)]]


def _of_curves(store: Store, view: View, word: str, subjects: Subjects, unsaved: "Unsaved | None") -> "pd.DataFrame":
    """What a verdict says of each setting, over seeds, saved."""
    from sddcli import table

    values = verdicts(view.curves, word, view.column)
    table.save(values, store.root, view.file(word))
    return values


def _of_sizes(store: Store, view: View, word: str, subjects: Subjects, unsaved: "Unsaved | None") -> "pd.DataFrame":
    """What a verdict says of settings that differ in their number of training examples, saved."""
    from sddcli import table

    values = sizes(view.curves, word, view.column)
    if not values.empty:
        table.save(values, store.root, view.file(word))
    return values


def _show_runs(view: View, word: str, values: "pd.DataFrame") -> None:
    from sddcli import table

    _show_numbers(view._replace(frame=view.curves), values, "left")
    screen.correlations(table.correlations(view.curves, values, view.column), view.axis)


def _show_pairs(view: View, word: str, values: "pd.DataFrame") -> None:
    _show_numbers(view, values, "inner")


def _show_numbers(view: View, values: "pd.DataFrame", how: Any) -> None:
    """Curves of the numbers of analyses; how: "left" shows levels without such numbers too, "inner" not."""
    from sddcli import table

    columns = _numbers(values)
    own = list(dict.fromkeys([*FIELDS, "chain", "run", view.column, "sparsity", "test_accuracy"]))
    wide = view.frame[own].merge(values, on=["run", "level"], how=how)
    if not wide.empty:
        wide, column = wide.drop(columns=list(ENDS), errors="ignore"), view.column
        shown = {name: metric_of(name) for name in columns}
        summary = table.summary(wide, column=column)
        screen.curves(summary, table.varied(wide, column), table.title(wide, column), shown, column)


def _show_curves(view: View, word: str, values: "pd.DataFrame") -> None:
    verdict = module_of(FOLDERS["curve"], word)
    screen.verdicts(values, verdict.sentences, verdict.NOTE, view.varied, view.title)


def _show_sizes(view: View, word: str, values: "pd.DataFrame") -> None:
    settings = [name for name in view.varied if name in values]
    screen.sizes(values, module_of(FOLDERS["sizes"], word).cells, settings, view.title, view.column)


def _digest_numbers(view: View, word: str, values: "pd.DataFrame") -> Iterator[Line]:
    """The first number of a measure: at the first level and at the last, and where it is highest."""
    from sddcli import table

    frame, varied, column = view.curves, view.varied, view.column
    name = _numbers(values)[0]
    label = metric_of(name).label.removeprefix(f"{word.split(':')[0].replace('-', ' ')} ")
    numbers = values[["run", "level", name]]
    related = table.correlations(frame, numbers, column)
    own = list(dict.fromkeys([*FIELDS, "run", column]))
    curves = frame[own].merge(numbers, on=["run", "level"]).groupby([*varied, column])[name].mean()
    for fields, curve in table.by_setting(curves.dropna().reset_index(), varied):
        first, last = (screen.cell(curve[name].iloc[end], nan, metric_of(name).unit) for end in (0, -1))
        says = f"{label} {first} to {last}, highest at {curve[column].iloc[int(curve[name].argmax())]:.10g}"
        alike = [row for _, row in related.iterrows() if all(row[field] == fields[field] for field in varied)]
        yield Line(fields, says, *map(screen.correlation, alike))


def _digest_curves(view: View, word: str, values: "pd.DataFrame") -> Iterator[Line]:
    sentences, varied = module_of(FOLDERS["curve"], word).sentences, view.varied
    for _, row in values.iterrows():
        yield Line({name: row[name] for name in varied}, next(iter(sentences(row.to_dict()))))


def _digest_sizes(view: View, word: str, values: "pd.DataFrame") -> Iterator[Line]:
    """What the first level and the last come to."""
    from sddcli import table

    cells = module_of(FOLDERS["sizes"], word).cells
    varied = [name for name in view.varied if name in values]
    for fields, rows in table.by_setting(values, varied):
        first, last = (cells(rows.iloc[end].to_dict()) for end in (0, -1))
        yield Line(fields, ", ".join(f"{name} {first[name]} to {last[name]}" for name in first))


def _numbers(values: "pd.DataFrame") -> list[str]:
    """The columns that hold what an analysis measured, in its own order."""
    return [str(name) for name in values if name not in ("run", "level", *ENDS)]


KINDS = {
    "run": Kind(FOLDERS["run"], _runs, _of_runs, _show_runs, _digest_numbers),
    "curve": Kind(FOLDERS["curve"], None, _of_curves, _show_curves, _digest_curves),
    "pair": Kind(
        FOLDERS["pair"],
        _pairs,
        _of_pairs,
        _show_pairs,
        _digest_numbers,
        "no two of these runs are a pair of {pairs}; any two: --between RUN --between RUN",
    ),
    "sizes": Kind(
        FOLDERS["sizes"],
        None,
        _of_sizes,
        _show_sizes,
        _digest_sizes,
        "{word} needs runs that differ in train_size; first: sdd sweep --train-size 400,800,0",
    ),
}
"""What a measure can be of: a run, whole curves, a pair of runs, or training sets of several sizes."""
MEASURES = {name: kind for kind, each in KINDS.items() for name in members(each.folder)}
"""Each measure, and its kind."""


def kind_of(word: str) -> Kind:
    """The kind of a measure, by its word. Raises UsageError for a name that no measure has.

    One of the user's own is of a pair where its function has to be given two.
    """
    name = word.split(":")[0]
    if key_of(word):
        given = signature(pick("measure", word, {})).parameters.values()
        return KINDS["pair" if sum(each.default is Parameter.empty for each in given) == 2 else "run"]
    if name not in MEASURES:
        raise unknown("measure", word, MEASURES)
    return KINDS[MEASURES[name]]


def nothing_for(word: str, pairs: str = "") -> UsageError | None:
    """The error where a measure has nothing to say of the runs that are asked for; None of one that then says so."""
    needs = kind_of(word).needs
    return UsageError(needs.format(word=word, pairs=pairs or "levels")) if needs else None


def module_of(folder: str, word: str) -> ModuleType:
    """The file of a folder of the package that a word, with parameters or without, names.

    Of a figure that is the user's own code, what such a file would have: its `draw`, and the columns it needs.
    """
    if key_of(word):
        drawing = ModuleType(word)
        draw: Callable[..., Any] = pick("figure", word, {})
        vars(drawing).update(draw=draw, NEEDS=tuple(getattr(draw, "NEEDS", ())))
        return drawing
    return import_module(f"sddcli.{folder.replace('/', '.')}.{word.split(':')[0].replace('-', '_')}")


def judge_of(folder: str, word: str) -> Callable[..., dict[str, Any]]:
    """The function by which a verdict judges, its parameters bound. Raises UsageError for one that it has not."""
    judge: Callable[..., dict[str, Any]] = module_of(folder, word).judge
    return pick("measure", word, {word.split(":")[0]: judge})


def verdicts(frame: "pd.DataFrame", word: str, column: str = "level") -> "pd.DataFrame":
    """What a verdict says of each setting of `frame`, a row each."""
    from sddcli import judging

    verdict = module_of(FOLDERS["curve"], word)
    signals = getattr(verdict, "SIGNALS", ())
    return judging.judged(frame, judge_of(FOLDERS["curve"], word), verdict.INDICES, column, signals)


def sizes(frame: "pd.DataFrame", word: str, column: str = "level") -> "pd.DataFrame":
    """What a verdict on several sizes says of each setting of `frame`, a row a level."""
    from sddcli import judging

    return judging.sized(frame, judge_of(FOLDERS["sizes"], word), column)


def summarized(frame: "pd.DataFrame", column: str = "level") -> "pd.DataFrame":
    """What figures are drawn from: means over seeds, what verdicts say level by level, what two settings differ by."""
    from sddcli import judging, table

    # A copy is of one piece; pandas warns where a column is added to a hundred pieces.
    frame = frame.copy().assign(generalization_gap=frame["train_accuracy"] - frame["test_accuracy"])
    summary = table.summary(frame, column=column)
    for name in members(FOLDERS["curve"]):
        if marks := getattr(module_of(FOLDERS["curve"], name), "marks", None):
            summary = summary.merge(judging.marked(frame, judge_of(FOLDERS["curve"], name), marks, column), how="left")
    summary = summary.merge(table.compared(frame, column), how="left")
    for name in members(FOLDERS["sizes"]):
        of_sizes = sizes(frame, name, column)
        summary = summary if of_sizes.empty else summary.merge(of_sizes.drop(columns="sparsity"), how="left")
    return summary
