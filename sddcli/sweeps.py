"""Sweeps: what is asked for, what is there, what is left of it, and how long that takes. Words only, no torch."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from statistics import mean
from typing import Any

from sddcli import auto
from sddcli.spec import Run, with_parents
from sddcli.store import Manifest, Store, StoreError

KIND = ("dataset", "train_size", "validation", "model", "batch_size")
"""The fields by which runs count as of one kind: an epoch of the one is taken to last as long as of the other, a step
too where lengths are given in steps."""


@dataclass(frozen=True)
class Progress:
    """How far sweeps are.

    asked: the runs that their tables ask for; runs: these and all that they grow from, parents first; left: those of
    `runs` that are not finished; failed: why each of these failed that did; cut_off: those that need one that failed.
    """

    asked: tuple[Run, ...]
    runs: tuple[Run, ...]
    left: tuple[Run, ...]
    failed: Mapping[Run, Mapping[str, Any]]
    cut_off: frozenset[Run]

    @property
    def to_make(self) -> tuple[Run, ...]:
        """What is left and can be made, parents first."""
        return tuple(run for run in self.left if run not in self.failed and run not in self.cut_off)


def progress(
    store: Store,
    tables: Iterable[auto.Table],
    failure: Callable[[Run], Any] | None = None,
    finished: Collection[Run] | None = None,
    also: Iterable[Run] = (),
    at_most: bool = False,
) -> Progress:
    """How far the sweeps of these tables are.

    failure: why a run failed, nothing where it did not; what the store has recorded unless given. finished: the
    finished runs of the store, where they are known: otherwise it is asked for each run. also: runs that count as
    asked for by themselves. at_most: where levels are chosen, as many runs as further rounds may have, too.
    Raises StoreError where a manifest cannot be read.
    """
    failure = failure or store.failure
    done = store.finished if finished is None else finished.__contains__
    of_tables = (auto.runs_at_most(store, each) if at_most else auto.runs_now(store, each, failure) for each in tables)
    asked = tuple(dict.fromkeys(run for runs in of_tables for run in runs))
    runs = with_parents([*asked, *also])
    left = tuple(run for run in runs if not done(run))
    failed = {run: why for run in left if (why := failure(run))}
    cut_off = set[Run]()
    for run in left if failed else ():  # parents first, so one pass sees all that grows from a failed run
        if run not in failed and any(parent in failed or parent in cut_off for parent in run.parents):
            cut_off.add(run)
    return Progress(asked, runs, left, failed, frozenset(cut_off))


def recorded(store: Store, damaged: list[StoreError] | None = None) -> list[auto.Table]:
    """The tables of all sweeps that were recorded in the folder. damaged: as of Store.plans."""
    return [table for plan in store.plans(damaged) for table in plan["tables"]]


def seconds(runs: Collection[Run], finished: Mapping[Run, Manifest]) -> float | None:
    """How long training `runs` takes on one worker, by finished runs of their kinds; None where one has none."""
    timed: dict[tuple[object, ...], list[float]] = {}
    for run, manifest in finished.items():
        timed.setdefault(_kind(run), []).append(manifest["seconds"] / (run.steps or run.epochs))
    paces = {kind: mean(of_kind) for kind, of_kind in timed.items()}
    if any(_kind(run) not in paces for run in runs):
        return None
    return sum((run.steps or run.epochs) * paces[_kind(run)] for run in runs)


def _kind(run: Run) -> tuple[object, ...]:
    return (*(getattr(run, name) for name in KIND), bool(run.steps))


def collect(
    store: Store,
    keep: str,
    dry_run: bool = False,
    of: Collection[Run] | None = None,
    damaged: list[StoreError] | None = None,
) -> tuple[int, int]:
    """Drops what `keep` (store.KEEPS) does not keep of runs that no recorded sweep needs: how many runs, and bytes.

    of: only of these runs. Dense runs, from which other chains may grow, and the last level of a chain, which may go
    on, are kept. A dry run only counts them; the bytes are then those of the weights.
    damaged: takes what is wrong with folders that cannot be read, which is raised otherwise.
    """
    finished = [run for run, _ in store.manifests(damaged)]
    left = progress(store, recorded(store)).left  # unless all records can be read, it is not known what is needed
    needed = {parent for run in left for parent in run.parents}
    last: dict[str, Run] = {}
    for run in finished:
        if run.level >= last.setdefault(run.chain, run).level:
            last[run.chain] = run
    runs, size = 0, 0
    for run in finished:
        if 0 < run.level < last[run.chain].level and run not in needed and (of is None or run in of):
            path = store.folder(run) / "weights.safetensors"
            freed = (path.stat().st_size if path.exists() else 0) if dry_run else store.drop(run, keep)
            runs, size = runs + (freed > 0), size + freed
    return runs, size
