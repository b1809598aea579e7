"""Prune and retrain: the experiment of sparse double descent (He et al. 2022). Dense -> (prune -> retrain) per level."""

import time
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

import torch

from sddcli import stages
from sddcli.analyses import learning_distance
from sddcli.core import masks
from sddcli.core.models import Model
from sddcli.core.retraining import masks_of, start_of
from sddcli.core.types import Data, Tensors, Trained
from sddcli.datasets import load
from sddcli.spec import Run
from sddcli.store import Store, StoreError


class Progress(NamedTuple):
    """After an epoch of a batch of runs: metrics only where it was evaluated."""

    runs: Sequence[Run]
    epoch: int
    metrics: Sequence[Mapping[str, float]] | None


class Saved(NamedTuple):
    """A run is finished and saved."""

    run: Run


class Failed(NamedTuple):
    """A run could not be finished; `missing` where the reason lies in the store's files."""

    run: Run
    reason: str
    missing: bool = False


Report = Callable[[Progress | Saved | Failed], None]


def check(runs: Sequence[Run]) -> None:
    """Raises ValueError where a word is in no table or a level leaves no weight, before anything is written."""
    for run in runs:
        stages.check(run, load(run.dataset))


def bytes_of(run: Run) -> int:
    """About how many bytes `run` will take in the store: kept weights, a bit per mask, the words beside them."""
    model = stages.model_of(run, load(run.dataset))
    parameters = sum(torch.Size(shape).numel() for shape in model.shapes.values())
    dense = parameters - model.size + masks.kept(model.size, run.rate, run.level)
    evaluations = -(-run.epochs // run.eval_every)
    return 4 * dense + model.size // 8 + (4 * parameters if run.level == 0 else 0) + 130 * evaluations + 3000


def work(store: Store, runs: Sequence[Run], facts: Mapping[str, Any], report: Report) -> None:
    """Makes runs whose parents are finished and which agree in `Run.batch`: prune -> retrain -> measure -> save."""
    began = time.perf_counter()
    data = load(runs[0].dataset)
    model = stages.model_of(runs[0], data)
    facts = {**facts, "data": {"name": runs[0].dataset, "sha256": data.sha256}}
    ready = [_prepared(store, run, model, data, facts) for run in runs]
    starts, kept = [start for start, _ in ready], [mask for _, mask in ready]

    history: list[list[dict[str, float | int | None]]] = [[] for _ in runs]
    for epoch, metrics, state in stages.train(runs, model, data, starts, kept):
        for rows, row in zip(history, metrics or [], strict=False):
            rows.append({"epoch": epoch, **_finite(row)})
        report(Progress(runs, epoch, metrics))
    facts = {**facts, "seconds": round((time.perf_counter() - began) / len(runs), 3), "side_by_side": len(runs)}
    for m, run in enumerate(runs):
        final = stages.single(state.parameters, m)
        if not all(w.isfinite().all() for w in final.values()):
            report(Failed(run, "diverged: weights are no longer finite; try a smaller lr"))
            continue
        _save(store, run, Trained(starts[m] if run.level == 0 else store.initial(run), final, kept[m]), history[m], facts)
        report(Saved(run))


def _prepared(
    store: Store, run: Run, model: Model, data: Data, facts: Mapping[str, Any]
) -> tuple[Tensors, Tensors]:
    """The weights that `run`'s training starts from, and its masks: pruned now, or when work was interrupted."""
    for relative in (run, *run.parents):
        known = store.manifest(relative)
        if known and known["data"]["sha256"] != data.sha256:
            raise StoreError(f"{store.folder(relative)} was made from other {run.dataset} data: its hash differs")
    if run.level == 0:
        return stages.dense(run, model)
    if (found := store.pruned(run)) is not None:
        return found
    parent = masks_of(run)
    final, old = store.weights(parent)
    kept = stages.prune(run, model, Trained(store.initial(parent), final, old))
    source, moment = start_of(run)
    start = masks.apply(kept, store.initial(source) if moment == "initial" else store.weights(source)[0])

    cut = stages.stacked([masks.apply(kept, final)], tuple(model.shapes))
    noisy = stages.noisy_labels(run, data).unsqueeze(0)
    after = _finite(stages.metrics(model, cut, data, noisy)[0])
    metrics = {**_size(kept), **{f"pruned_{name}": value for name, value in after.items()}}
    store.save_pruned(run, start, kept, {**facts, "metrics": metrics})
    return start, kept


def _save(
    store: Store, run: Run, net: Trained, history: list[dict[str, float | int | None]], facts: Mapping[str, Any]
) -> None:
    """Measures a finished training and hands it to the store."""
    accuracies = [row["test_accuracy"] for row in history if row["test_accuracy"] is not None]
    last = {name: value for name, value in history[-1].items() if name != "epoch"}
    pruned = store.manifest(run) if run.level else None
    metrics = {
        **(pruned["metrics"] if pruned else _size(net.masks)),
        **last,
        "best_test_accuracy": max(accuracies),
    }
    measures = {"learning-distance": learning_distance.measure(net)}
    initial = net.initial if run.level == 0 else None
    store.save_trained(run, net.final, net.masks, history, measures, {**facts, "metrics": metrics}, initial)


def _size(kept: Tensors) -> dict[str, float | None]:
    density = masks.density(kept)
    return {"sparsity": 1 - density, "density": density}


def _finite(row: Mapping[str, float]) -> dict[str, float | int | None]:
    # JSON has no NaN: a number that is not one, such as `memorized` without wrong labels, is an empty cell.
    return {name: value if isfinite(value) else None for name, value in row.items()}
