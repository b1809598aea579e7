"""Inline: what is done in the process that asks for it: estimates, single stages, checks."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from sddcli import auto
from sddcli.core.words import pick
from sddcli.events import Cost
from sddcli.spec import Run, with_parents
from sddcli.store import Store, StoreError


def estimate(store: Store, runs: Sequence[Run], damaged: list[StoreError] | None = None) -> Cost:
    """What `runs` will cost. damaged: as of Store.manifests. Raises UsageError for words that no table knows."""
    from sddcli.recipes import prune_retrain

    prune_retrain.check_outline(runs)
    return prune_retrain.cost(store, runs, damaged)


def training_examples(dataset: str, train_size: int, validation: float) -> int:
    """How many examples of a data set are trained on; loads torch. Raises UsageError, OSError."""
    from sddcli.recipes import prune_retrain

    return prune_retrain.training_examples(dataset, train_size, validation)


def prune(store: Store, run: Run, facts: Mapping[str, Any], device: str) -> None:
    """Prunes one run in this process, ready to be retrained, unless it is. Raises UsageError, StoreError."""
    import torch

    from sddcli.recipes import prune_retrain

    torch.set_num_threads(1)
    prune_retrain.check([run])
    claim = store.claim(run)
    if claim is None:
        raise StoreError(f"another process works on {store.folder(run)}: wait for it")
    try:
        if store.manifest(run) is None:
            prune_retrain.prune(store, run, facts, prune_retrain.place(device))
    finally:
        claim.release(store.finished(run))


def collect(
    store: Store,
    keep: str,
    dry_run: bool = False,
    of: Collection[Run] | None = None,
    damaged: list[StoreError] | None = None,
) -> tuple[int, int]:
    """Drops what `keep` (store.KEEPS) does not keep of runs that no recorded sweep needs: how many runs, and bytes.

    of: only of these runs. damaged: takes what is wrong with folders that cannot be read, which is raised otherwise.

    Dense runs, from which other chains may grow, and the last level of a chain, which may go on, are kept. A dry
    run only counts them; the bytes are then those of the weights.
    """
    finished = [run for run, _ in store.manifests(damaged)]
    tables = [table for plan in store.plans() for table in plan["tables"]]  # unless all are known, none is unneeded
    asked = [run for table in tables for run in auto.asked(store, table, store.failure)]
    needed = {parent for run in with_parents(asked) if not store.finished(run) for parent in run.parents}
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


def verify(store: Store, evaluate: bool) -> Iterator[tuple[Path, list[StoreError]]]:
    """Each run's folder and what is wrong in it, nothing for most. See recipes.verifying."""
    import torch

    from sddcli.recipes import verifying

    torch.set_num_threads(1)
    return verifying.verified(store, evaluate)


def detectable(curves: Sequence[Any], seeds: int, levels: int) -> float | None:
    """The dip, in accuracy, that a sweep of so many seeds and levels would find in 4 of 5 cases.

    curves: (S, K) test accuracies of settings like its own, whose noise is taken to be its; None where none of
    them has two seeds or more at four levels or more, or the sweep itself is too small to be tested.
    """
    from sddcli.verdicts import double_descent

    noises = [double_descent.noise_of(test) for test in curves if len(test) > 1 and test.shape[1] > 3]
    if not noises or seeds < 2 or levels < 4:
        return None
    variance = median(float(level) for variances, _ in noises for level in variances)
    correlation = mean(correlation for _, correlation in noises)
    return double_descent.detectable(variance, correlation, seeds, levels)


def judge(measure: str, folder: str = "verdicts") -> Callable[..., dict[str, Any]]:
    """The function by which a measure of whole curves, of a folder of the package, judges them, parameters bound."""
    from importlib import import_module

    name = measure.split(":")[0]
    found = import_module(f"sddcli.{folder.replace('/', '.')}.{name.replace('-', '_')}")
    judging: Callable[..., dict[str, Any]] = found.judge
    return pick("measure", measure, {name: judging})
