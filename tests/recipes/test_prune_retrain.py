"""Prune and retrain: what each retraining starts from, found again in the store."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sddcli import stages
from sddcli.core import masks
from sddcli.core.retraining import RETRAININGS
from sddcli.core.types import Tensors
from sddcli.datasets.load import load
from sddcli.events import Event, Failed, Saved
from sddcli.recipes import prune_retrain
from sddcli.spec import Run, with_parents
from sddcli.store import Store

RUN = Run(
    "digits", "lenet-300-100", noise=0.4, criterion="magnitude", rate=0.5, level=2, retraining="lottery",
    epochs=2, batch_size=200, momentum=0.9, milestones="0.5", seed=1,
)  # fmt: skip
DATA = load("digits")
MODEL = stages.model_of(RUN, DATA)


def made(root: Path, run: Run) -> Store:
    """A store in which everything that `run` grows from is trained, and `run` itself is only pruned."""
    store, events = Store(root), list[Event]()
    for each in with_parents([run])[:-1]:
        if not store.finished(each):
            prune_retrain.work(store, [each], {}, "cpu", events.append)
    assert not [event for event in events if isinstance(event, Failed)]
    prune_retrain._prepared(store, run, MODEL, DATA, {"data": {"sha256": DATA.sha256}, "seconds": 0})
    return store


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("recipe")


def same(a: Tensors, b: Tensors) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("pruning", ["iterative", "one-shot"])
@pytest.mark.parametrize("name", RETRAININGS)
def test_start_weights_and_masks_are_those_of_the_definition(root: Path, name: str, pruning: str) -> None:
    run = replace(RUN, retraining=name, pruning=pruning, rewind="9it")
    store = made(root, run)
    start, kept = store.pruned(run) or ({}, {})
    initial = store.initial(run)
    above = replace(run, level=1 if pruning == "iterative" else 0)
    twin = replace(run, retraining="lottery")
    if name in ("reinit", "redense"):
        made_final, made_masks = store.weights(twin)
    else:
        made_final, old = store.weights(above)
        scores = {key: made_final[key].abs() for key in MODEL.prunable}
        made_masks = masks.keep(scores, old, round(49_200 / 4))
    expected = {
        "lottery": stages.replay(replace(run, level=0), 9, MODEL, DATA, initial),
        "finetune": made_final,
        "lr-rewind": made_final,
        "scratch": stages.fresh(run, MODEL),
        "reinit": stages.fresh(run, MODEL),
        "redense": made_final,
    }[name]
    assert same(kept, stages.full_masks(MODEL, start) if name == "redense" else made_masks)
    assert same(start, masks.apply(made_masks if name == "redense" else kept, expected))
    manifest = store.manifest(run)
    assert manifest and manifest["metrics"]["sparsity"] == 0.75
    assert ("pruned_test_accuracy" in manifest["metrics"]) == (name not in ("reinit", "redense"))


def test_weights_at_a_rewind_step_are_made_once_and_damage_is_noticed(root: Path) -> None:
    run = replace(RUN, rewind="9it", level=1)
    store = made(root, run)
    dense = replace(run, level=0)
    path = store.folder(dense) / "step-9.safetensors"
    before = path.stat().st_mtime_ns
    made(root, replace(run, criterion="random"))
    assert path.stat().st_mtime_ns == before and store.step(dense, 10) is None
    assert store.finished(dense) and same(
        store.step(dense, 9) or {}, stages.replay(dense, 9, MODEL, DATA, store.initial(dense))
    )
    path.write_bytes(b"x")
    events: list[Event] = []
    prune_retrain.work(store, [replace(run, criterion="random", seed=1, rate=0.3)], {}, "cpu", events.append)
    (failed,) = [event for event in events if isinstance(event, Failed)]
    assert failed.damaged and "step-9.safetensors" in failed.reason
    path.unlink()


def test_a_pruned_run_goes_on_from_what_it_wrote(root: Path) -> None:
    run = replace(RUN, retraining="scratch", seed=2, level=1)
    store, events = made(root, run), list[Event]()
    prune_retrain.work(store, [run], {}, "cpu", events.append)
    assert isinstance(events[-1], Saved) and store.finished(run)
    manifest = store.manifest(run)
    assert manifest and {"pruned_test_accuracy", "test_accuracy", "best_test_accuracy"} <= set(manifest["metrics"])


def test_one_that_cannot_be_pruned_fails_alone(root: Path) -> None:
    """Two runs of one batch; the parent of one is damaged."""
    good, bad = replace(RUN, level=1, seed=3), replace(RUN, level=1, seed=4)
    store = made(root, good)
    made(root, bad)
    (store.folder(bad) / "pruned.safetensors").write_bytes(b"x")
    events: list[Event] = []
    prune_retrain.work(store, [bad, good], {}, "cpu", events.append)
    assert [event.run for event in events if isinstance(event, Failed)] == [bad]
    assert [event.run for event in events if isinstance(event, Saved)] == [good]


def test_a_lost_initialization_fails_its_run_alone_though_it_was_pruned_before(root: Path) -> None:
    good, bad = replace(RUN, level=1, seed=5), replace(RUN, level=1, seed=6)
    store = made(root, good)
    made(root, bad)
    (store.folder(replace(bad, level=0)) / "initial.safetensors").write_bytes(b"x")
    events: list[Event] = []
    prune_retrain.work(store, [bad, good], {}, "cpu", events.append)
    assert [event.run for event in events if isinstance(event, Failed)] == [bad] and store.finished(good)


@pytest.mark.parametrize("name", RETRAININGS)
def test_every_retraining_trains(root: Path, name: str) -> None:
    run = replace(RUN, retraining=name, rewind="9it", level=1)
    store, events = made(root, run), list[Event]()
    prune_retrain.work(store, [run], {}, "cpu", events.append)
    assert isinstance(events[-1], Saved)
    final, kept = store.weights(run)
    assert all(not final[key][~mask].any() for key, mask in kept.items())
    assert sum(int(mask.sum()) for mask in kept.values()) == (49_200 if name == "redense" else 24_600)
