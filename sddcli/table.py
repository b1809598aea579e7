"""Table: manifests -> results.csv, history.csv, measures/NAME.csv; what differs in it, and means over seeds."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sddcli.spec import BRANCH, FIELDS, KINDS, SUBSEEDS, Run, Value
from sddcli.store import Manifest, Store, StoreError, write

METRICS = (
    "sparsity",
    "density",
    "weights",
    "examples",
    "train_accuracy",
    "clean_accuracy",
    "memorized",
    "test_accuracy",
    "best_test_accuracy",
    "train_loss",
    "test_loss",
    "validation_accuracy",
    "validation_loss",
    "chosen_test_accuracy",
    "pruned_train_accuracy",
    "pruned_test_accuracy",
)
NEEDED = ("dataset", "model", "seed", "chain", "run", "level", "sparsity", "test_accuracy")
"""The columns without which a CSV is no results.csv."""
REPLICATE = ("seed", *SUBSEEDS)  # what makes replicates of a setting, not settings


def results(store: Store) -> pd.DataFrame:
    """One row per (chain, level) of all finished runs, sorted: the fields, `chain`, `run`, metrics, measures.

    A dense run is repeated under each chain that grew from it, with that chain's criterion, rate and
    retraining; `run` tells its id. Nothing in it depends on when or where the runs were made. Raises
    StoreError where there is none.
    """
    found = dict(store.manifests())
    if not found:
        raise StoreError(f"no finished runs in {store.root}; make some with: sdd sweep --runs {store.root}")
    rows = {run: _row(store, run, manifest) for run, manifest in found.items()}
    chains = {run.chain: run for run in found if run.level}
    grown = {chain: replace(run, level=0) for chain, run in chains.items()}
    shared = [
        rows[dense] | {name: getattr(chains[chain], name) for name in BRANCH} | {"chain": chain}
        for chain, dense in grown.items()
        if dense in rows
    ]
    alone = [row for run, row in rows.items() if run not in grown.values()]
    frame = pd.DataFrame(shared + alone)
    unknown = [name for name in METRICS if frame[name].isna().all()]
    frame[unknown] = np.nan  # as numbers that are not known, not as objects
    return frame.sort_values([*(name for name in FIELDS if name != "level"), "chain", "level"], ignore_index=True)


def _row(store: Store, run: Run, manifest: Manifest) -> dict[str, Any]:
    fields = {name: getattr(run, name) for name in FIELDS}
    fields |= {name: run.seed_of(name.removesuffix("_seed")) for name in SUBSEEDS}
    metrics = {name: manifest["metrics"].get(name) for name in METRICS}
    measures = {name: value for values in store.measures(run).values() for name, value in values.items()}
    return {**fields, "chain": run.chain, "run": run.id, **metrics, **measures}


def export(store: Store) -> pd.DataFrame:
    """Writes results.csv, history.csv and measures/NAME.csv of the whole folder; returns the results."""
    frame = results(store)
    write(store.root / "results.csv", _csv(frame))
    runs = sorted((run for run, _ in store.manifests()), key=lambda run: (run.slug, run.chain, run.level))
    history = [{"run": run.id, "level": run.level, **row} for run in runs for row in store.history(run)]
    write(store.root / "history.csv", _csv(pd.DataFrame(history)))
    measures: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        for name, values in store.measures(run).items():
            measures.setdefault(name, []).append({"run": run.id, "level": run.level, **values})
    for name, rows in measures.items():
        write(store.root / "measures" / f"{name}.csv", _csv(pd.DataFrame(rows)))
    return frame


def save(frame: pd.DataFrame, root: Path, measure: str) -> Path:
    """Writes what a measure of whole curves says beside the other measures; returns where."""
    path = root / "measures" / f"{measure}.csv"
    write(path, _csv(frame))
    return path


def _csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False, lineterminator="\n").encode()


def read(path: Path) -> pd.DataFrame:
    """The results of a runs folder, or of a results.csv. Raises StoreError for a missing or damaged one.

    Fields and metrics that an older version did not write are what they were then: the default, and unknown.
    """
    if path.suffix != ".csv":
        return results(Store(path))
    try:
        # As words first: read as numbers, an id such as 05317e011556 is one, and an empty criterion is NaN.
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {path}: {error}") from None
    words = [*(name for name, kind in KINDS.items() if kind is str), "chain", "run"]
    if missing := [name for name in NEEDED if name not in frame]:
        raise StoreError(f"{path} is not a results.csv of this version: it lacks {', '.join(missing)}")
    for name in (*FIELDS, *METRICS):
        if name not in frame and name not in NEEDED:
            frame[name] = frame["seed"] if name in SUBSEEDS else str(FIELDS[name].default) if name in FIELDS else ""
    for name in frame.columns.difference(words):
        try:
            field = KINDS.get(name)  # which, unlike a metric, may not be empty
            frame[name] = frame[name].astype(field) if field else frame[name].replace("", "nan").astype(float)
        except (ValueError, TypeError):
            raise StoreError(f"{path} is damaged: its {name} are not all numbers") from None
    if frame.empty:
        raise StoreError(f"{path} has no runs")
    return frame


def grown(frame: pd.DataFrame) -> pd.DataFrame:
    """Without dense runs that no chain has grown from yet, where there are chains: they are no curve."""
    pruned = frame[frame["criterion"] != ""]
    return frame if pruned.empty else pruned


def select(frame: pd.DataFrame, where: Mapping[str, Sequence[Value]]) -> pd.DataFrame:
    """The rows whose fields have one of the given values. Raises ValueError where none is left."""
    for name, values in where.items():
        known = sorted(frame[name].unique())
        frame = frame[frame[name].isin(list(values))]
        if frame.empty:
            raise ValueError(f"no run has {name} {_listed(values)}; there is {_listed(known)}")
    return frame


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values[:12])) + (f" and {len(values) - 12} more" if len(values) > 12 else "")


def of_runs(frame: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """The rows of `runs`; a dense one only under the chains that `runs` have, or once if they have none."""
    chains = {run.chain for run in runs if run.level}
    rows = frame[frame["run"].isin([run.id for run in runs])]
    found = rows[rows["chain"].isin(chains)]
    return rows.drop_duplicates("run") if found.empty else found


def varied(frame: pd.DataFrame) -> list[str]:
    """The fields, other than level and seed, in which the rows differ: what tells one curve from another."""
    return [name for name in FIELDS if name not in ("level", *REPLICATE) and frame[name].nunique() > 1]


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean, `_std` (of the sample, NaN for one seed) and `n` over seeds of each setting and level."""
    numbers = [name for name in frame.columns if name not in (*FIELDS, "chain", "run")]
    groups = frame.groupby([*varied(frame), "level"], sort=True)
    mean, std = groups[numbers].mean(), groups[numbers].std().add_suffix("_std")
    return pd.concat([mean, std, groups.size().rename("n")], axis=1).reset_index()


def title(frame: pd.DataFrame) -> str:
    """What all rows have in common, in words."""
    first = frame.iloc[0]
    shared = [str(first[name]) for name in ("dataset", "model") if name not in varied(frame)]
    if not {"noise", "noise_kind"} & set(varied(frame)):
        shared.append(f"{first['noise']:.0%} {first['noise_kind']} noise" if first["noise"] else "no label noise")
    shared += [str(first[name]) for name in ("criterion", "retraining") if name not in varied(frame) and first[name]]
    return ", ".join(shared)


def measured(store: Store, measure: str, ids: Collection[str]) -> pd.DataFrame:
    """What analysis `measure` found about the runs with these ids: run, level, and its numbers."""
    frame = pd.read_csv(store.root / "measures" / f"{measure}.csv", dtype={"run": str})
    return frame[frame["run"].isin(ids)]


class Curves(NamedTuple):
    """The chains of one setting: its varied fields, its levels and their sparsity (K,), accuracies (S, K)."""

    fields: dict[str, Any]
    levels: list[int]
    sparsity: list[float]
    test: NDArray[np.float64]
    train: NDArray[np.float64]


def curves(frame: pd.DataFrame) -> Iterator[Curves]:
    """Each setting's chains, at the levels that all of its chains have."""
    names = varied(frame)
    for values, rows in frame.groupby(names, sort=True) if names else [((), frame)]:
        test, train = (rows.pivot(index="chain", columns="level", values=f"{n}_accuracy") for n in ("test", "train"))
        test = test.dropna(axis="columns")
        sparsity = rows.groupby("level")["sparsity"].mean()[test.columns]
        fields = dict(zip(names, values, strict=True))
        yield Curves(
            fields,
            [int(level) for level in test.columns],
            sparsity.tolist(),
            test.to_numpy(),
            train[test.columns].to_numpy(),
        )


def judged(frame: pd.DataFrame, judge: Callable[..., dict[str, Any]]) -> pd.DataFrame:
    """What `judge` says of each setting's curves, one row each, its places as levels and their sparsities."""
    rows = []
    for fields, levels, sparsity, test, train in curves(frame):
        said = judge(test, train)
        for place in ("fitted", "valley", "peak"):
            at = said[place]
            said[place] = None if at is None else levels[at]
            said[f"{place}_sparsity"] = None if at is None else sparsity[at]
        spans: dict[str, list[int]] = {}
        for level, phase in zip(levels, said["phases"], strict=False):
            spans.setdefault(phase, []).append(level)
        said["phases"] = ", ".join(f"{phase} {span[0]}-{span[-1]}" for phase, span in spans.items())
        rows.append({**fields, **said})
    return pd.DataFrame(rows)


def phases(frame: pd.DataFrame, judge: Callable[..., dict[str, Any]]) -> pd.DataFrame:
    """The phase of each level of each setting in which `judge` found any: varied fields, level, phase."""
    rows = []
    for fields, levels, _, test, train in curves(frame):
        for level, phase in zip(levels, judge(test, train)["phases"], strict=False):
            rows.append({**fields, "level": level, "phase": phase})
    return pd.DataFrame(rows, columns=[*varied(frame), "level", "phase"])


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
