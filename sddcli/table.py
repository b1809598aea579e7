"""Table: manifests -> results.csv, history.csv, measures/NAME.csv; what differs in it, and means over seeds."""

import io
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from sddcli.axes import COLUMNS, column_of, family
from sddcli.core.words import UsageError
from sddcli.files import write_within
from sddcli.folders import alike
from sddcli.index import Index
from sddcli.metrics import METRICS
from sddcli.pairs import OTHER, PAIRS, Pair
from sddcli.spec import BRANCH, CHAINED, FIELDS, KINDS, SUBSEEDS, Run, Value
from sddcli.store import Store, StoreError, Unwritable, stem_of

NEEDED = ("dataset", "model", "seed", "chain", "run", "level", "sparsity", "test_accuracy")
"""The columns without which a CSV is no results.csv."""
WORDS = (*(name for name, kind in KINDS.items() if kind is str), "chain", "run")
PIECE = 20_000  # rows at a time
Unsaved = Mapping[tuple[Run | Pair, str], Mapping[str, float | None]]
"""The numbers of analyses in a folder where one may only read: (run or pair, word of the analysis) -> numbers."""
REPLICATE = ("seed", *SUBSEEDS)  # what makes replicates of a setting, not settings


def results(store: Store, ids: Collection[str] | None = None, damaged: list[StoreError] | None = None) -> pd.DataFrame:
    """One row per (chain, level) of all finished runs, sorted: the fields, `chain`, `run`, metrics, measures.

    A dense run is repeated under each chain that grew from it, with that chain's criterion, rate and
    retraining; `run` tells its id. ids: only the rows of these runs. damaged: takes what is wrong with runs that
    cannot be read, which is raised otherwise. Nothing in the rows depends on when or where the runs were made.
    Raises StoreError where there is none.
    """
    store.must_exist()
    with Index(store, damaged) as index:
        return _frame(index, ids)


def _frame(index: Index, ids: Collection[str] | None) -> pd.DataFrame:
    names, rows, wanted = index.columns, index.rows(), None if ids is None else set(ids)
    parts = []
    whole = [name for name in names if KINDS.get(name) is int]
    # Piece by piece, with each word once: a row of the index takes ten times the memory of one of the frame.
    while piece := list(islice(rows, PIECE)):
        part = pd.DataFrame.from_records(piece, columns=names)
        part = part if wanted is None else part[part["run"].isin(wanted)]
        for name in whole:  # of those that SQLite has no number for: seeds of an older sdd
            if part[name].dtype == object:
                part[name] = part[name].map(int)
        parts.append(part.astype(dict.fromkeys(WORDS, "category") | dict.fromkeys(_numbers(names), float)))
    if not parts:
        root = index.store.root
        if index.damaged:
            raise StoreError(f"no finished runs in {root} that can be read")
        raise StoreError(f"no finished runs in {root}; make some with: sdd sweep --runs {root}")
    frame = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0].reset_index(drop=True)
    counted = [name for name, metric in METRICS.items() if metric.unit == "count" and frame[name].notna().all()]
    return _alike(frame.astype(dict.fromkeys(WORDS, object) | dict.fromkeys(counted, int)))


def _alike(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with a folder of images spelled alike in all rows; the same training by two spellings counts once."""
    words = alike(frame["dataset"].unique())
    if all(word == own for own, word in words.items()):
        return frame
    ours = frame["dataset"].map(words)
    first = (ours != frame["dataset"]).sort_values(kind="stable").index  # where one is spelled so, that one is kept
    return frame.assign(dataset=ours).loc[first].drop_duplicates(list(FIELDS)).sort_index().reset_index(drop=True)


def _numbers(names: Iterable[str]) -> list[str]:
    return [name for name in names if name not in FIELDS and name not in WORDS]


def further(frame: pd.DataFrame) -> list[str]:
    """The columns that analyses added to the metrics of training."""
    return [name for name in _numbers(frame.columns) if name not in METRICS]


def export(store: Store, ids: Collection[str] | None = None, damaged: list[StoreError] | None = None) -> pd.DataFrame:
    """Writes results.csv, history.csv and measures/NAME.csv of the whole folder; returns results, those of `ids`.

    damaged: as of `results`, and takes too what could not be written for want of the right to.
    """
    store.must_exist()
    with Index(store, damaged) as index:
        frame = _frame(index, ids)
        try:
            write_within(store.root, store.root / "results.csv", (line.encode() for line in index.results()))
            for name in index.tables():
                write_within(store.root, store.root / f"{name}.csv", (line.encode() for line in index.lines(name)))
        except Unwritable as error:
            if damaged is None:
                raise
            damaged.append(error)
    return frame


def save(frame: pd.DataFrame, root: Path, measure: str) -> None:
    """Writes what a measure of whole curves says beside the other measures, if one may write there."""
    with suppress(Unwritable):  # `export` has already added that to what could not be written
        write_within(root, root / "measures" / f"{stem_of(measure)}.csv", _csv(frame))


def _csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False, lineterminator="\n").encode()


def read(path: Path, damaged: list[StoreError] | None = None) -> pd.DataFrame:
    """The results of a runs folder, or of a results.csv. Raises StoreError for a missing or damaged one.

    damaged: as of `results`. A results.csv may come from a spreadsheet: with semicolons and decimal commas. Fields
    and metrics that an older version did not write are what they were then: the default, and unknown.
    """
    if path.suffix != ".csv":
        return results(Store(path), damaged=damaged)
    frame, comma = _as_words(path)
    if missing := [name for name in NEEDED if name not in frame]:
        raise StoreError(f"{path} is not a results.csv of this version: it lacks {', '.join(missing)}")
    for name in frame.columns.difference(list(WORDS)):
        try:
            field = KINDS.get(name)  # which, unlike a metric, may not be empty
            numbers = frame[name].str.replace(",", ".", regex=False) if comma else frame[name]
            frame[name] = numbers.astype(field) if field else numbers.replace("", "nan").astype(float)
        except (ValueError, TypeError):
            raise StoreError(f"{path} is damaged: its {name} are not all numbers; {REMAKE}") from None
    if frame.empty:
        raise StoreError(f"{path} has no runs")
    return _alike(completed(frame))


def beside(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The rows of several folders or tables, as one."""
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def completed(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with the fields and metrics that its rows do not say: the default, the seed, and unknown."""
    missing: dict[str, Any] = {name: FIELDS[name].default for name in FIELDS if name not in frame}
    missing |= {name: frame["seed"] for name in SUBSEEDS if name not in frame}
    return frame.assign(**missing, **{name: np.nan for name in METRICS if name not in frame})


def _as_words(path: Path) -> tuple[pd.DataFrame, bool]:
    """The cells of a results.csv as they stand there, and whether its numbers have a decimal comma.

    Raises StoreError where it cannot be read, or where a spreadsheet has taken ids for numbers and rounded them.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
        sign = next((sign for sign in (";", "\t") if header.count(sign) > header.count(",")), ",")
        # Read as numbers, an id such as 05317e011556 would be one, and an empty criterion NaN.
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, sep=sign, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or f"it is no table in UTF-8: {error}"
        raise StoreError(f"cannot read {path}: {reason}") from None
    for name in ("run", "chain"):
        if name in frame and frame[name].str.fullmatch(r"[0-9]+[.,]?[0-9]*E[+-]?[0-9]+").any():
            raise StoreError(f"{path}: a spreadsheet made numbers of some ids in its column {name}; {REMAKE}")
    return frame, sign != ","


REMAKE = "sdd sweep and sdd analyze write results.csv again from the runs"


def grown(frame: pd.DataFrame) -> pd.DataFrame:
    """Without dense runs that are no part of a curve, where there are chains.

    That are those from which no chain has grown yet, and those of other settings than their chain: where a ticket comes
    from other data, or from training by another optimizer, the network it was found in.
    """
    of_chains = frame[frame["retraining"] != ""]  # of a chain whose masks are learned there is no criterion
    if of_chains.empty:
        return frame
    names = [name for name in FIELDS if name not in (*CHAINED, *REPLICATE, "level")]
    pruned = of_chains[of_chains["level"] > 0].drop_duplicates("chain").set_index("chain")[names]
    dense = ((of_chains["level"] == 0) & of_chains["chain"].isin(pruned.index)).to_numpy()
    rows = of_chains[dense]
    stray = np.zeros(len(of_chains), bool)
    stray[dense] = (rows[names].to_numpy() != pruned.loc[rows["chain"]].to_numpy()).any(axis=1)
    return of_chains[~stray]


def select(frame: pd.DataFrame, where: Mapping[str, Sequence[Value]]) -> pd.DataFrame:
    """The rows whose fields have one of the given values. Raises UsageError where none is left."""
    for name, values in where.items():
        known = sorted(frame[name].unique())
        frame = frame[frame[name].isin(list(values))]
        if frame.empty:
            raise UsageError(f"no run has {name} {_listed(values)}; known: {_listed(known)}")
    return frame


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values[:12])) + (f" and {len(values) - 12} more" if len(values) > 12 else "")


def of_runs(frame: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """The rows of `runs`; a dense one only under the chains that `runs` have, or by itself if it is in none of them."""
    chains = {run.chain for run in runs if run.level}
    rows = frame[frame["run"].isin([run.id for run in runs])]
    of_chains = rows[rows["chain"].isin(chains)]
    alone = rows[~rows["run"].isin(of_chains["run"])].drop_duplicates("run")
    # The folder may have chains that grew from it for another sweep.
    usual: dict[str, Any] = {name: FIELDS[name].default for name in BRANCH if name != "level"}
    alone = alone.assign(**usual, chain=alone["run"])
    return pd.concat([of_chains, alone]) if len(alone) else of_chains


def along(frame: pd.DataFrame, axis: str) -> tuple[pd.DataFrame, str]:
    """The rows as curves along an axis (sddcli.axes), and the column along which they run.

    Along another column than level, a chain is what differs in that column alone: `chain` says so, a model is what its
    family is called, and networks without noise stand under each kind of noise that others have. Raises UsageError
    where the rows do not differ along this axis or two runs of a curve have the same value, and StoreError where an
    older sdd has not written the column.
    """
    column = column_of(axis, [name for name in (*FIELDS, "epoch") if name in frame and frame[name].nunique() > 1])
    if column == "level":
        return grown(frame), column
    frame = _dense_once(frame)
    if frame[column].isna().any():
        raise StoreError(f"the {COLUMNS[column].called} of some of these runs are not known: an older sdd wrote them")
    if COLUMNS[column].field == "model":
        frame = frame.assign(model=frame["model"].map(lambda model: family(model, column)))
    if column == "noise":
        kinds = frame.loc[frame["noise"] > 0, "noise_kind"].unique()
        clean = [frame[frame["noise"] == 0].assign(noise_kind=kind) for kind in kinds]
        frame = pd.concat([*clean, frame[frame["noise"] > 0]])
    curve = [*varied(frame, column), *_seeds(frame)]
    frame = frame.assign(chain=frame.groupby(curve).ngroup().astype(str)).sort_values(["chain", column])
    twice = frame[frame.duplicated(["chain", column])]
    if not twice.empty:
        raise UsageError(
            f"several of these runs have the same {COLUMNS[column].called}, {twice[column].iloc[0]:.10g}, and make no "
            f"curve along {axis}; choose some with --where, or another axis"
        )
    return frame.reset_index(drop=True), column


def _dense_once(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with each dense run once, under no chain: the values of chains are its own where all chains have one.

    Dense runs that no chain has grown from are left out where there are pruned runs.
    """
    frame = grown(frame) if frame["level"].any() else frame
    once = ["run", "epoch"] if "epoch" in frame else ["run"]
    dense, pruned = frame[frame["level"] == 0].drop_duplicates(once), frame[frame["level"] > 0]
    kept = pruned if len(pruned) else dense
    shared = {name: kept[name].unique() for name in BRANCH if name != "level"}
    values: dict[str, Any] = {
        name: own[0] if len(own) == 1 and len(pruned) else FIELDS[name].default for name, own in shared.items()
    }
    return pd.concat([dense.assign(**values), pruned])


def _seeds(frame: pd.DataFrame) -> list[str]:
    """The seeds by which runs are paired: without that of a noise which some of them have not."""
    return [name for name in REPLICATE if name != "noise_seed" or frame["noise"].all()]


def varied(frame: pd.DataFrame, column: str = "level") -> list[str]:
    """The fields, other than seeds and that of the column along which curves run, in which the rows differ."""
    own = {COLUMNS[column].field} - {"model"}  # of a model its family stays, and tells curves apart
    return [name for name in FIELDS if name not in (*own, *REPLICATE) and frame[name].nunique() > 1]


def summary(
    frame: pd.DataFrame, keys: Sequence[str] = (), settings: Sequence[str] | None = None, column: str = "level"
) -> pd.DataFrame:
    """Mean, `_std` (of the sample, NaN for one seed) and `n` over seeds of each setting, `column`, and `keys`.

    settings: the fields that tell settings apart, those in which the rows differ unless given. column: that along
    which curves run.
    """
    settings = varied(frame, column) if settings is None else settings
    numbers = [name for name in frame.columns if name not in (*FIELDS, "chain", "run", "other", column, *keys)]
    groups = frame.groupby([*settings, column, *keys], sort=True)
    mean, std = groups[numbers].mean(), groups[numbers].std().add_suffix("_std")
    # A copy is of one piece; pandas warns where columns are put before a hundred pieces.
    return pd.concat([mean, std, groups.size().rename("n")], axis=1).copy().reset_index()


def at_equal_weights(frame: pd.DataFrame, widths: int = 3) -> pd.DataFrame:
    """Test accuracy against width where networks of several widths keep equally many weights: a row each of both.

    Between the levels of a chain accuracy is interpolated in log weights. `weights` are the powers of 4 that chains of
    so many widths, at least, pass through; `width`, mean `test_accuracy`, `_std` and `n` over chains.
    """
    rows = []
    for _, chain in frame.dropna(subset="width").groupby("chain"):
        kept = chain[chain["weights"] > 0].sort_values("weights")
        if len(kept) < 2:
            continue
        logs = np.log(kept["weights"].to_numpy(float)) / np.log(4)
        for power in range(int(np.ceil(logs[0])), int(logs[-1]) + 1):
            accuracy = float(np.interp(power, logs, kept["test_accuracy"]))
            rows.append({"width": kept["width"].iloc[0], "weights": 4**power, "test_accuracy": accuracy})
    if not rows:
        return pd.DataFrame(columns=["weights", "width", "test_accuracy", "test_accuracy_std", "n"])
    groups = pd.DataFrame(rows).groupby(["weights", "width"])["test_accuracy"]
    means = pd.DataFrame({"test_accuracy": groups.mean(), "test_accuracy_std": groups.std(), "n": groups.size()})
    means = means.reset_index()
    return means[means.groupby("weights")["width"].transform("nunique") >= widths]


def counted(summary: pd.DataFrame, frame: pd.DataFrame, names: Sequence[str], column: str = "level") -> pd.DataFrame:
    """`summary` of `frame` with `n` the seeds that have all of these numbers, apart from numbers that no seed has."""
    keys = [*varied(frame, column), column]
    counts = frame.groupby(keys)[list(names)].count()
    n = counts.where(counts > 0).min(axis=1).rename("n").reset_index()
    return summary.drop(columns="n").merge(n, on=keys, how="left")


def compared(frame: pd.DataFrame, column: str = "level") -> pd.DataFrame:
    """Second setting minus first, paired by seed, where there are two: varied fields of the second, `column`, `pairs`.

    Of each number: NAME_difference, its mean over the pairs, and NAME_low and NAME_high, the ends of its 95 %
    t-interval at that level, NaN for one pair. Pairs agree in level, or in the other column along which curves run, in
    all seeds but those of a noise that one of the two has not and, along levels, to a twentieth in the weights kept.
    Two data sets make no pairs: what a seed draws of one says nothing of the other.
    """
    names = varied(frame, column)
    settings = [rows for _, rows in by_setting(frame, names)]
    numbers = [name for name in frame.columns if name not in (*FIELDS, "chain", "run", "sparsity", "density", column)]
    if len(settings) != 2 or "dataset" in names:
        return pd.DataFrame(columns=[*names, column])
    first, second = settings
    pairs = second.merge(first, on=[column, *_seeds(frame)], suffixes=("", "_first"))
    if column == "level":
        pairs = pairs[(pairs["density"] / pairs["density_first"] - 1).abs() < 0.05]
    of_first = pairs[[f"{name}_first" for name in numbers]].set_axis(numbers, axis=1)
    differences = pairs[[*names, column]].join(pairs[numbers] - of_first)
    groups = differences.groupby([*names, column], sort=True)
    n, mean = groups.size().rename("pairs"), groups[numbers].mean()
    from scipy.stats import t  # which takes as long to load as pandas does

    half = groups[numbers].sem() * t.ppf(0.975, (groups[numbers].count() - 1).clip(lower=1))
    ends = [(mean - half).add_suffix("_low"), (mean + half).add_suffix("_high")]
    table: pd.DataFrame = pd.concat([mean.add_suffix("_difference"), *ends, n], axis=1).copy().reset_index()
    return table


def title(frame: pd.DataFrame, column: str = "level") -> str:
    """What all rows have in common, in words; column: that along which curves run."""
    first, differing = frame.iloc[0], {*varied(frame, column), *({COLUMNS[column].field} - {"model"})}
    shared = [str(first[name]) for name in ("dataset", "model") if name not in differing]
    if frame["test_accuracy"].isna().all():
        pass  # of a study there are no labels
    elif "noise" in differing:
        shared += [] if "noise_kind" in differing else [f"{first['noise_kind']} noise"] * (column == "noise")
    elif "noise_kind" not in differing:
        shared.append(f"{first['noise']:.0%} {first['noise_kind']} noise" if first["noise"] else "no label noise")
    shared += [str(first[name]) for name in ("criterion", "retraining") if name not in differing and first[name]]
    return ", ".join(shared)


def measured(store: Store, measure: str, ids: Collection[str], unsaved: Unsaved | None = None) -> pd.DataFrame:
    """The numbers of analysis `measure` about the runs with these ids: run, level, numbers; no rows where it has none.

    From the file that `export` wrote or, with `unsaved`, where one may not write, from the runs and from what is there.
    """
    if unsaved is None:
        path = store.root / "measures" / f"{stem_of(measure)}.csv"
        frame = pd.read_csv(path, dtype={"run": str}) if path.exists() else pd.DataFrame({"run": [], "level": []})
        return frame[frame["run"].isin(ids)]
    with Index(store, []) as index:
        name = f"measures/{stem_of(measure)}"
        lines = index.lines(name) if name in index.tables() else ["run,level\n"]
        frame = pd.read_csv(io.StringIO("".join(lines)), dtype={"run": str})
    fresh = {run: values for (run, word), values in unsaved.items() if word == measure and isinstance(run, Run)}
    rows = pd.DataFrame([{"run": run.id, "level": run.level, **values} for run, values in fresh.items()])
    frame = pd.concat([frame, rows]) if fresh else frame
    return frame[frame["run"].isin(ids)]


def paired(
    store: Store, word: str, unsaved: Unsaved | None = None, damaged: list[StoreError] | None = None
) -> pd.DataFrame:
    """The numbers of an analysis of pairs, a row each pair, saved beside the other measures, as are its details.

    run, level: the second run of the pair; other, other_level: the first; kind: see sddcli.pairs; the numbers.
    unsaved: as of `measured`; damaged: as of `results`.
    """
    rows, detailed, unsaved = [], [], unsaved or {}
    fresh = [pair for pair, what in unsaved if what == word and isinstance(pair, Pair)]
    for pair in dict.fromkeys([*store.pairs(damaged), *fresh]):
        ends = {"run": pair.b.id, "level": pair.b.level, "other": pair.a.id, "other_level": pair.a.level}
        numbers = unsaved.get((pair, word)) or store.measures(pair).get(stem_of(word))
        if numbers is not None:
            rows.append({**ends, "kind": pair.kind, **numbers})
            detailed += [{**ends, "kind": pair.kind, **row} for row in store.details(pair, word)]
    frame = pd.DataFrame(rows, columns=list(rows[0]) if rows else ["run", "level", "other", "other_level", "kind"])
    save(frame, store.root, word)
    save(pd.DataFrame(detailed), store.root, f"{word}-details")
    return frame


def correlations(frame: pd.DataFrame, values: pd.DataFrame, column: str = "level") -> pd.DataFrame:
    """How the numbers of an analysis go with test accuracy along curves, one row a setting and number.

    values: run, level, numbers; column: that along which curves run. `mean`, `std` and `n` over chains of Spearman's
    rank correlation, of those with at least four values; it says what goes together, not why.
    """
    names = [str(name) for name in values if name not in ("run", "level")]
    fields = varied(frame, column)
    own = list(dict.fromkeys(["run", "chain", "level", column, *fields, "test_accuracy"]))
    rows = frame[own].merge(values, on=["run", "level"])
    rows = rows[rows.groupby("chain")[column].transform("size") > 3]
    correlated = []
    for setting, curve in by_setting(rows, fields):
        for name in names:
            of_chains = [
                chain[name].rank().corr(chain["test_accuracy"].rank())
                for _, chain in curve.dropna(subset=name).groupby("chain")
                if len(chain) > 3 and chain[name].nunique() > 1
            ]
            known = pd.Series(of_chains, dtype=float).dropna()  # of a chain whose accuracy never moves there is none
            if not known.empty:
                correlated.append(
                    {**setting, "measure": name, "mean": known.mean(), "std": known.std(), "n": len(known)}
                )
    return pd.DataFrame(correlated)


def by_setting(frame: pd.DataFrame, names: Sequence[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """The rows of each setting, by the fields that tell settings apart; no rows are no setting."""
    if frame.empty:
        return
    for values, rows in frame.groupby(list(names), sort=True) if names else [((), frame)]:
        yield dict(zip(names, values, strict=True)), rows


def details(path: Path, name: str, frame: pd.DataFrame, keys: Sequence[str], column: str = "level") -> pd.DataFrame:
    """Means over seeds, as `summary` gives them, of several rows for each run of `frame`.

    path: the runs folder, or a results.csv in one; name: "history", or an analysis, of which these are the details;
    keys: the columns that tell the rows of a run apart; column: that along which curves run. The kind of a
    pair is the way between its runs, in words. Raises StoreError where there are none of these runs.
    """
    rows = _rows_beside(path, name)
    if "kind" in rows:
        rows["kind"] = [PAIRS[kind].way if kind in PAIRS else OTHER for kind in rows["kind"]]
    own = list(dict.fromkeys([*FIELDS, "chain", "run", "sparsity", column]))
    return summary(_joined(frame[own], rows, path, name), keys, varied(frame, column), column)


SAME = ("sparsity", "density", "weights", "examples", "width", "parameters")
"""The numbers of a run that its training does not change."""


def at_epochs(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """A row for each time that a run of `frame` was evaluated: its `epoch`, and its accuracies and losses then.

    path: as of `details`. Numbers that are of the trained network alone are left out. Raises StoreError where the
    history of none of these runs is there.
    """
    kept = frame[[name for name in frame if name in (*FIELDS, "chain", "run", *SAME)]]
    return _joined(kept, _rows_beside(path, "history"), path, "history")


def _rows_beside(path: Path, name: str) -> pd.DataFrame:
    """The table of that name beside the results at `path`. Raises StoreError where it cannot be read."""
    file = _file_beside(path, name)
    try:
        return pd.read_csv(file, dtype={"run": str})
    except FileNotFoundError:
        raise StoreError(f"no {file}; {_remedy(path, name)}") from None
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {file}: {error}") from None


def _joined(frame: pd.DataFrame, rows: pd.DataFrame, path: Path, name: str) -> pd.DataFrame:
    """`frame` and the rows that a table has of its runs. Raises StoreError where that has none."""
    joined = frame.merge(rows, on=["run", "level"])
    if joined.empty:
        raise StoreError(f"{_file_beside(path, name)} knows none of these runs; {_remedy(path, name)}")
    return joined


def _file_beside(path: Path, name: str) -> Path:
    """The file of "history", or of the details of an analysis, in a runs folder or beside a results.csv."""
    root = path.parent if path.suffix == ".csv" else path
    return root / ("history.csv" if name == "history" else f"measures/{stem_of(name)}-details.csv")


def _remedy(path: Path, name: str) -> str:
    root = path.parent if path.suffix == ".csv" else path
    return f"first: sdd analyze {'learning-distance' if name == 'history' else name} {root}"


def chains(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per chain: its fields, how many levels are there, the accuracy of the first and the last."""
    rows = []
    for chain, levels in frame.sort_values("level").groupby("chain", sort=False):
        first, last = levels.iloc[0], levels.iloc[-1]
        fields = {name: first[name] for name in FIELDS if name != "level"}
        ends = {"first_level": first["level"], "last_level": last["level"], "levels": len(levels)}
        tests = {"first_test_accuracy": first["test_accuracy"], "last_test_accuracy": last["test_accuracy"]}
        rows.append({"chain": chain, **fields, **ends, **tests})
    return pd.DataFrame(rows).sort_values([name for name in FIELDS if name != "level"], ignore_index=True)


class _Room(ModuleType):
    """This room, which can be called by what it gives: sddcli.table("runs/"), beside sddcli.table.summary."""

    def __call__(self, path: str | Path) -> pd.DataFrame:
        """See `read`; what cannot be read is left out with a warning."""
        damaged: list[StoreError] = []
        frame = read(Path(path), damaged)
        for error in damaged:
            warnings.warn(str(error), stacklevel=2)
        return frame


sys.modules[__name__].__class__ = _Room
