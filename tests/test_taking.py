"""Weights of the best validation epoch: which these are, and that no interruption and no company changes a bit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sddcli.core.types import Tensors
from sddcli.data import load
from sddcli.events import Event, Failed
from sddcli.recipes import prune_retrain, verifying
from sddcli.spec import Run, with_parents
from sddcli.stages import setting, training
from sddcli.store import Store

DENSE = Run(
    "digits", "lenet-30", noise=0.4, train_size=300, validation=0.2, epochs=12, batch_size=60, lr=0.3, momentum=0.9,
    eval_every=2, take="validation", seed=2,
)  # fmt: skip
CHAIN: dict[str, Any] = {"criterion": "magnitude", "rate": 0.5, "level": 1}
KINDS: list[dict[str, Any]] = [
    {},
    {"model": "convnet:width=2", "optimizer": "adam", "lr": 0.01, "epochs": 6},
    {**CHAIN, "retraining": "lr-rewind"},
    {**CHAIN, "retraining": "lottery", "loss": "distill", "regularization": "distance"},
    {**CHAIN, "retraining": "supermask:rescale=yes"},
    {**CHAIN, "retraining": "edge-popup"},
    {**CHAIN, "retraining": "rigl:every=2it:end=0.5"},
    {**CHAIN, "retraining": "events:period=4it:end=0.4", "unit": "neuron"},
]


def work(store: Store, runs: list[Run], pace: prune_retrain.Pace = prune_retrain.USUAL) -> None:
    """Trains `runs` side by side, and before them what they grow from, which is not stopped."""
    events: list[Event] = []
    for parent in with_parents(runs):
        if parent not in runs:
            prune_retrain.work(store, [parent], {}, "cpu", events.append)
    prune_retrain.work(store, runs, {}, "cpu", events.append, pace)
    assert not [event for event in events if isinstance(event, Failed)]


def files(store: Store, run: Run) -> dict[str, bytes]:
    kinds = (".csv", ".safetensors")
    return {path.name: path.read_bytes() for path in store.folder(run).iterdir() if path.suffix in kinds}


def history_of(run: Run, root: Path) -> tuple[list[dict[str, float]], list[Tensors]]:
    """The metrics of each evaluation of a plain training, and the weights at it."""
    data = load(run.dataset, run.train_size, run.validation)
    bench = prune_retrain.bench(Store(root), run, {}, "cpu")
    begun = prune_retrain._ready(bench, run)
    model, rows, weights = setting.model_of(run, data), [], []
    for now in training.train([run], model, data, [begun.begun], [begun.prepared.initial]):
        if now.metrics:
            rows.append({"epoch": now.epoch, **now.metrics[0]})
            weights.append({name: w[0].clone() for name, w in training.network([run], now.state).items()})
    return rows, weights


@pytest.mark.parametrize("change", [{}, {"model": "convnet:width=4", "lr": 0.1, "epochs": 16}])
def test_the_weights_are_those_of_the_first_best_evaluation_and_so_are_the_numbers(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    run = replace(DENSE, **change)
    rows, weights = history_of(replace(run, take="last"), tmp_path / "plain")
    accuracies = [row["validation_accuracy"] for row in rows]
    best = accuracies.index(max(accuracies))
    assert best < len(rows) - 1, "or nothing is shown"
    store = Store(tmp_path / "best")
    work(store, [run])
    stored, metrics = store.weights(run)[0], (store.manifest(run) or {})["metrics"]
    assert all(torch.equal(stored[name], w) for name, w in weights[best].items())
    assert metrics["taken_epoch"] == rows[best]["epoch"]
    assert all(metrics[name] == value for name, value in rows[best].items() if name != "epoch" and value == value)
    assert metrics["chosen_test_accuracy"] == metrics["test_accuracy"]
    assert list(verifying.verified(store, evaluate=True)) == [(store.folder(run), [])]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_stopped_after_any_epoch_the_same_weights_are_taken(tmp_path: Path, kind: dict[str, Any]) -> None:
    run, stores = replace(DENSE, **kind), [Store(tmp_path / name) for name in ("whole", "stopped")]
    for store in stores:
        for parent in with_parents([run])[:-1]:
            work(store, [parent])
    work(stores[0], [run])
    for _ in range(run.epochs - 1):
        asked = iter([False])  # asked before the first epoch and after each
        work(stores[1], [run], prune_retrain.Pace(0.0, lambda asked=asked: next(asked, True)))  # type: ignore[misc]
    assert not stores[1].finished(run) and stores[1].checkpoint(run)
    work(stores[1], [run])
    assert files(stores[0], run) == files(stores[1], run)
    assert list(verifying.verified(stores[0], evaluate=True))[-1][1] == []


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_side_by_side_each_takes_what_it_takes_alone(tmp_path: Path, kind: dict[str, Any]) -> None:
    runs = [replace(DENSE, **kind, seed=seed) for seed in range(3)]
    together, alone = Store(tmp_path / "together"), Store(tmp_path / "alone")
    work(together, runs)
    for run in runs:
        work(alone, [run])
        assert files(together, run) == files(alone, run)
    epochs = [(together.manifest(run) or {})["metrics"]["taken_epoch"] for run in runs]
    assert len(set(epochs)) > 1 or kind, "each its own"


def test_what_is_taken_has_the_masks_of_the_end(tmp_path: Path) -> None:
    """Best before the ramp ends or not: a network of more weights than its level has is no choice."""
    run = replace(DENSE, **CHAIN | {"level": 6}, retraining="gradual:start=0.5:end=0.9:events=4")
    store = Store(tmp_path)
    work(store, [run])
    metrics = (store.manifest(run) or {})["metrics"]
    assert metrics["taken_epoch"] > 0.9 * run.epochs and metrics["density"] == pytest.approx(0.5**6, abs=1e-3)
    kept = store.masks(run)
    assert sum(int(mask.sum()) for mask in kept.values()) == metrics["weights"]
