"""Prune and retrain: what each retraining starts from, found again in the store."""

import contextlib
import errno
import gc
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import torch

from sddcli import table
from sddcli.core import evaluate, masks, seeds
from sddcli.core.losses import LOSSES, distill
from sddcli.core.retraining import RETRAININGS, masks_of
from sddcli.core.stacking import single, stacked
from sddcli.core.types import Tensors
from sddcli.core.words import UsageError
from sddcli.data import forget, load
from sddcli.events import Advanced, Busy, Event, Failed, Noted, Saved
from sddcli.recipes import measuring, planning, prune_retrain, verifying
from sddcli.spec import Run, with_parents
from sddcli.stages import pruning, setting, training
from sddcli.store import Store, StoreError
from tests.datasets import small

RUN = Run(
    "digits", "lenet-300-100", noise=0.4, criterion="magnitude", rate=0.5, level=2, retraining="lottery",
    epochs=2, batch_size=200, momentum=0.9, milestones="0.5", seed=1,
)  # fmt: skip
DATA = load("digits")
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
MODEL = setting.model_of(RUN, DATA)


def made(root: Path, run: Run) -> Store:
    """A store in which everything that `run` grows from is trained, and `run` itself is only pruned."""
    store, events = Store(root), list[Event]()
    for each in with_parents([run])[:-1]:
        if not store.finished(each):
            prune_retrain.work(store, [each], {}, "cpu", events.append)
    assert not [event for event in events if isinstance(event, Failed)]
    prune_retrain.prune(store, run, {"seconds": 0}, "cpu")
    return store


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipe")


def same(a: Tensors, b: Tensors) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


OF_TICKET = ("reinit", "redense", "shuffle", "permute", "freeze", "ticket")
CHAINED = [name for name, entry in RETRAININGS.items() if entry.chained]


@pytest.mark.parametrize("way", ["iterative", "one-shot"])
@pytest.mark.parametrize("name", CHAINED)
def test_start_weights_and_masks_are_those_of_the_definition(root: Path, name: str, way: str) -> None:
    run = replace(RUN, retraining=name, pruning=way, rewind="9it")
    store = made(root, run)
    start, kept = store.pruned(run) or ({}, {})
    initial = store.initial(run)
    twin = replace(run, retraining="lottery")
    above = replace(twin if name == "mask-only" else run, level=1 if way == "iterative" else 0)
    if name in OF_TICKET:
        made_final, made_masks = store.weights(twin)
    else:
        made_final, old = store.weights(above)
        scores = {key: made_final[key].abs() for key in MODEL.prunable}
        made_masks = masks.keep(scores, old, round(49_200 / 4))
    rewound = training.replay(replace(run, level=0), 9, MODEL, DATA, initial)
    expected = {
        "lottery": rewound,
        "mask-only": rewound,
        "finetune": made_final,
        "lr-rewind": made_final,
        "scratch": setting.fresh(run, MODEL),
        "reinit": setting.fresh(run, MODEL),
        "redense": made_final,
        "lottery-finetune": rewound,
        "cyclic": made_final,
        "shuffle": rewound,
        "permute": rewound,
        "ticket": rewound,
        "freeze": rewound,
    }[name]
    if name == "shuffle":  # as many in each layer, at other places
        assert all(kept[key].sum() == mask.sum() for key, mask in made_masks.items()) and not same(kept, made_masks)
        made_masks = kept
    if name == "permute":  # as many in all
        assert masks.density(kept) == masks.density(made_masks) and not same(kept, made_masks)
        made_masks = kept
    assert same(kept, pruning.full_masks(MODEL, start) if name in ("redense", "freeze") else made_masks)
    assert same(start, masks.apply(made_masks if name == "redense" else kept, expected))
    manifest = store.manifest(run)
    assert manifest and manifest["metrics"]["sparsity"] == 0.75
    assert ("pruned_test_accuracy" in manifest["metrics"]) == (name not in OF_TICKET)


@pytest.mark.parametrize("name", ["snip", "grasp", "synflow:rounds=5"])
def test_masks_made_before_training_go_on_from_those_of_the_level_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A level prunes once where the one above is there, with the masks that pruning all levels again makes."""
    levels, calls = [replace(RUN, criterion=name, level=level) for level in (1, 2, 3)], list[Run]()
    one_by_one, alone, prune = Store(tmp_path / "chain"), Store(tmp_path / "alone"), pruning.prune

    def counted(run: Run, *more: Any) -> Tensors:
        calls.append(run)
        return prune(run, *more)

    monkeypatch.setattr(pruning, "prune", counted)
    for run in levels:
        prune_retrain.prune(one_by_one, run, {"seconds": 0}, "cpu")
    assert calls == levels
    prune_retrain.prune(alone, levels[2], {"seconds": 0}, "cpu")
    assert calls == levels * 2
    (_, chain), (_, again) = (store.pruned(levels[2]) or ({}, {}) for store in (one_by_one, alone))
    assert chain and same(chain, again)


@pytest.mark.parametrize("pruned", ["start", "zero-fallen"])
def test_frozen_weights_stay_at_their_values_and_the_others_learn(root: Path, pruned: str) -> None:
    run = replace(RUN, retraining=f"freeze:pruned={pruned}")
    store = made(root, run)
    prune_retrain.work(store, [run], {}, "cpu", lambda event: None)
    ticket, initial, dense = store.masks(replace(run, retraining="lottery")), store.initial(run), replace(run, level=0)
    weights, kept = store.weights(run)
    trained = store.weights(dense)[0]
    for name, mask in ticket.items():
        fell = (trained[name].abs() < initial[name].abs()) & (pruned != "start")
        assert torch.equal(weights[name][~mask], torch.where(fell, 0.0, initial[name])[~mask])
        assert (weights[name] != initial[name])[mask].double().mean() > 0.5
        assert kept[name].all(), "all weights are in effect"
    manifest = store.manifest(run)
    assert manifest and manifest["metrics"]["sparsity"] == 0.75
    assert not [wrong for _, wrong in verifying.verified(store, evaluate=True) if wrong]


def test_weights_at_a_rewind_step_are_made_once_and_damage_is_noticed(root: Path) -> None:
    run = replace(RUN, rewind="9it", level=1, rate=0.4)  # which no other test measures
    store = made(root, run)
    dense = replace(run, level=0)
    path = store.folder(dense) / "step-9.safetensors"
    before, content = path.stat().st_mtime_ns, path.read_bytes()
    made(root, replace(run, criterion="random"))
    assert path.stat().st_mtime_ns == before and store.step(dense, 10) is None
    assert store.finished(dense) and same(
        store.step(dense, 9) or {}, training.replay(dense, 9, MODEL, DATA, store.initial(dense))
    )
    path.write_bytes(b"x")
    events: list[Event] = []
    prune_retrain.work(store, [replace(run, criterion="random", seed=1, rate=0.3)], {}, "cpu", events.append)
    (failed,) = [event for event in events if isinstance(event, Failed)]
    assert failed.damaged and "step-9.safetensors" in failed.reason
    prune_retrain.work(store, [run], {}, "cpu", events.append)
    assert store.finished(run) and not store.measures(run), "a lost file that only a measure needs costs no training"
    path.write_bytes(content)


def test_a_pruned_run_goes_on_from_what_it_wrote(root: Path) -> None:
    run = replace(RUN, retraining="scratch", seed=2, level=1)
    store, events = made(root, run), list[Event]()
    prune_retrain.work(store, [run], {}, "cpu", events.append)
    assert isinstance(events[-1], Saved) and store.finished(run)
    manifest = store.manifest(run)
    assert manifest and {"pruned_test_accuracy", "test_accuracy", "best_test_accuracy"} <= set(manifest["metrics"])


def test_who_hears_that_a_run_is_saved_finds_no_claim_on_it(tmp_path: Path) -> None:
    """Who hears of the last one may end the process that made it, and nothing of it is to stay behind."""
    store, heard = Store(tmp_path), dict[Run, bool]()

    def report(event: Event) -> None:
        if isinstance(event, Saved):
            heard[event.run] = (store.folder(event.run) / ".lock").exists()

    runs = [tiny(level=0, seed=seed) for seed in (0, 1)]
    prune_retrain.work(store, runs[:1], {}, "cpu", report)
    prune_retrain.work(store, runs, {}, "cpu", report)
    assert heard == dict.fromkeys(runs, False)


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


@pytest.mark.parametrize("name", CHAINED)
def test_every_retraining_trains(root: Path, name: str) -> None:
    run = replace(RUN, retraining=name, rewind="9it", level=1)
    store, events = made(root, run), list[Event]()
    prune_retrain.work(store, [run], {}, "cpu", events.append)
    assert isinstance(events[-1], Saved)
    final, kept = store.weights(run)
    assert all(not final[key][~mask].any() for key, mask in kept.items())
    assert sum(int(mask.sum()) for mask in kept.values()) == (49_200 if name in ("redense", "freeze") else 24_600)


def tiny(**more: object) -> Run:
    """A run of a few hundredths of a second."""
    run = Run("digits", "lenet-8", noise=0.4, train_size=100, epochs=4, batch_size=30, momentum=0.9, eval_every=2)
    return replace(run, **more)  # type: ignore[arg-type]


PRUNED = {"criterion": "magnitude", "retraining": "lottery", "rate": 0.3, "level": 1}


def test_where_products_depend_on_their_place_runs_are_as_alone_and_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A product whose last bit is another one where a model's weights do not lie at the start of a cache line."""
    real = torch.bmm

    def fussy(a: torch.Tensor, b: torch.Tensor, *, out: torch.Tensor) -> torch.Tensor:
        astray = torch.tensor([bool(a[m].data_ptr() % 64 or b[m].data_ptr() % 64) for m in range(len(a))])
        return out.copy_(real(a, b) * torch.where(astray, 1 + 2**-23, 1.0).view(-1, 1, 1))

    monkeypatch.setattr(torch, "bmm", fussy)
    runs = [tiny(model="lenet-31-17", seed=seed) for seed in range(3)]
    together, apart, events = Store(tmp_path / "together"), Store(tmp_path / "apart"), list[Event]()
    prune_retrain.work(together, runs, {}, "cpu", events.append)
    assert [event.sentence for event in events if isinstance(event, Noted)] == [prune_retrain.NOTICES["one by one"]]
    for run in runs:
        prune_retrain.work(apart, [run], {}, "cpu", events.append)
        assert same(together.weights(run)[0], apart.weights(run)[0])
        manifests = [store.manifest(run) or {} for store in (together, apart)]
        assert [manifest["company"] for manifest in manifests] == ["one by one", "together"]


def files(store: Store, run: Run) -> dict[str, bytes]:
    kinds = (".csv", ".safetensors")
    return {path.name: path.read_bytes() for path in store.folder(run).iterdir() if path.suffix in kinds}


class After:
    """Says that it is time to stop from the n-th question on."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize(
    ("model", "precision"), [("lenet-8", "fp32"), ("convnet:width=2", "fp32"), ("convnet:width=2", "bf16")]
)
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_batch_stopped_in_its_middle_goes_on_to_the_same_bits(
    tmp_path: Path, stop: int, model: str, precision: str, optimizer: str
) -> None:
    runs = [tiny(seed=seed, model=model, optimizer=optimizer, precision=precision) for seed in range(3)]
    whole, store, events = Store(tmp_path / "whole"), Store(tmp_path / "stopped"), list[Event]()
    prune_retrain.work(whole, runs, {}, "cpu", events.append)
    prune_retrain.work(store, runs, {}, "cpu", events.append, prune_retrain.Pace(1e9, After(stop)))
    assert not any(store.finished(run) for run in runs)
    begun, said = store.checkpoint(runs[1]) or (None, {})
    assert begun and begun.step == 4 * stop and len(said["history"]) == stop // 2
    heard: list[Event] = []
    # Gone on with in another company, one of it alone.
    prune_retrain.work(store, runs[:1], {}, "cpu", heard.append)
    prune_retrain.work(store, runs[1:], {}, "cpu", heard.append)
    assert len([event for event in heard if isinstance(event, Advanced)]) == 2 * (4 - stop)
    for run in runs:
        assert files(store, run) == files(whole, run), "not the same bytes, or a checkpoint is left"
        assert {path.name for path in store.folder(run).iterdir() if path.name[0] != "m"} == set(files(whole, run))


DROPPED: list[dict[str, Any]] = [
    {}, {"model": "convnet:width=2"}, {"model": "resnet18:width=2", "train_size": 60, "epochs": 3, "optimizer": "adam"},
    {"criterion": "magnitude", "retraining": "supermask", "rate": 0.3, "level": 1},
]  # fmt: skip


@pytest.mark.parametrize("change", DROPPED, ids=str)
def test_what_is_dropped_follows_from_names_whoever_is_there_and_whenever_it_is_stopped(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    runs = [tiny(**change, seed=seed, dropout=0.4) for seed in range(3)]
    whole, store, events = Store(tmp_path / "whole"), Store(tmp_path / "stopped"), list[Event]()
    prune_retrain.work(whole, runs, {}, "cpu", events.append)
    prune_retrain.work(store, runs, {}, "cpu", events.append, prune_retrain.Pace(1e9, After(2)))
    for run in runs:
        assert not store.finished(run) and store.checkpoint(run)
        prune_retrain.work(store, [run], {}, "cpu", events.append)
        assert files(store, run) == files(whole, run)
    assert not [event for event in events if isinstance(event, Failed)]
    assert [wrong for _, wrong in verifying.verified(whole, evaluate=True) if wrong] == [], "nothing is dropped there"
    plain = replace(runs[0], dropout=0.0)
    prune_retrain.work(whole, [plain], {}, "cpu", events.append)
    assert not same(whole.weights(plain)[0], whole.weights(runs[0])[0])


def test_frozen_weights_go_on_to_the_same_bits(tmp_path: Path) -> None:
    run = tiny(**{**PRUNED, "retraining": "freeze:pruned=zero-random"})
    whole, store = Store(tmp_path / "whole"), Store(tmp_path / "stopped")
    for each in with_parents([run]):
        prune_retrain.work(whole, [each], {}, "cpu", lambda event: None)
        stopping = After(2) if each == run else After(100)
        prune_retrain.work(store, [each], {}, "cpu", lambda event: None, prune_retrain.Pace(1e9, stopping))
    assert not store.finished(run) and store.checkpoint(run)
    prune_retrain.work(store, [run], {}, "cpu", lambda event: None)
    assert files(store, run) == files(whole, run)


@pytest.mark.parametrize("change", [{}, {**PRUNED, "rewind": "5it"}, {"train_size": 1297, "epochs": 2}])
def test_what_is_fitted_at_each_evaluation_is_recorded(tmp_path: Path, change: dict[str, object]) -> None:
    run, store, events = tiny(**change), Store(tmp_path), list[Event]()
    for each in with_parents([run]):
        prune_retrain.work(store, [each], {}, "cpu", events.append)
    record, history = store.record(run), store.history(run)
    data = load("digits", run.train_size)
    wrong = setting.noisy_labels(run, data) != data.train.y
    assert record and record.fitted.shape == (len(history), len(wrong))
    for epoch, fitted, row in zip(record.epochs, record.fitted, history, strict=True):
        assert int(epoch) == int(row["epoch"])
        assert fitted.double().mean().item() == pytest.approx(float(row["train_accuracy"]))
        assert fitted[wrong].double().mean().item() == pytest.approx(float(row["memorized"]))
    forward = setting.forward_of(setting.model_of(run, data), data)
    weights = {name: w.unsqueeze(0) for name, w in store.weights(run)[0].items()}
    said = forward(weights, data.train.x.unsqueeze(0), False)[0].argmax(1)
    assert torch.equal(record.fitted[-1], said == setting.noisy_labels(run, data))


def test_what_an_older_sdd_began_is_finished_without_a_record(tmp_path: Path) -> None:
    runs = [tiny(seed=seed) for seed in range(2)]
    whole, store, events = Store(tmp_path / "whole"), Store(tmp_path / "older"), list[Event]()
    prune_retrain.work(whole, runs, {}, "cpu", events.append)
    prune_retrain.work(store, runs, {}, "cpu", events.append, prune_retrain.Pace(1e9, After(2)))
    begun, said = store.checkpoint(runs[0]) or (None, {})
    assert begun and begun.fitted is not None and begun.fitted.shape == (1, 13)
    store.save_checkpoint(runs[0], begun._replace(fitted=None), said)
    prune_retrain.work(store, runs, {}, "cpu", events.append)
    assert store.record(runs[0]) is None and store.record(runs[1]) is not None
    assert files(store, runs[1]) == files(whole, runs[1])
    assert {*files(whole, runs[0]).items()} - {*files(store, runs[0]).items()} == {
        ("fitted.safetensors", files(whole, runs[0])["fitted.safetensors"])
    }


def test_of_very_many_examples_nothing_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "RECORDED", 100)
    store, fewer, as_many = Store(tmp_path), tiny(train_size=99), tiny()
    for run in (fewer, as_many):
        prune_retrain.work(store, [run], {}, "cpu", lambda event: None)
    assert store.record(fewer) is not None and store.record(as_many) is None


def test_runs_saved_at_different_steps_and_not_at_all_are_one_batch(tmp_path: Path) -> None:
    runs = [tiny(seed=seed) for seed in range(3)]
    whole, store, events = Store(tmp_path / "whole"), Store(tmp_path / "stopped"), list[Event]()
    prune_retrain.work(whole, runs, {}, "cpu", events.append)
    for run, stop in zip(runs, (1, 3), strict=False):
        prune_retrain.work(store, [run], {}, "cpu", events.append, prune_retrain.Pace(1e9, After(stop)))
    prune_retrain.work(store, runs, {}, "cpu", events.append)
    assert all(files(store, run) == files(whole, run) for run in runs)


@pytest.mark.parametrize("name", ["checkpoint.json", "checkpoint-4.safetensors"])
@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", None])
def test_a_damaged_checkpoint_costs_time_only(tmp_path: Path, name: str, damage: bytes | None) -> None:
    run, events = tiny(), list[Event]()
    whole, store = Store(tmp_path / "whole"), Store(tmp_path / "stopped")
    prune_retrain.work(whole, [run], {}, "cpu", events.append)
    prune_retrain.work(store, [run], {}, "cpu", events.append, prune_retrain.Pace(1e9, After(1)))
    path = store.folder(run) / name
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:] if damage is None else damage)
    prune_retrain.work(store, [run], {}, "cpu", events.append)
    assert files(store, run) == files(whole, run)


def test_a_checkpoint_whose_writer_was_cut_off_until_another_finished_the_run_leaves_nothing(tmp_path: Path) -> None:
    run, store, events = tiny(), Store(tmp_path), list[Event]()
    prune_retrain.work(store, [run], {}, "cpu", events.append, prune_retrain.Pace(1e9, After(1)))
    begun, said = store.checkpoint(run) or (None, {})
    assert begun
    prune_retrain.work(store, [run], {}, "cpu", events.append)
    finished = files(store, run)
    store.save_checkpoint(run, begun, said)
    assert files(store, run) == finished and not list(store.folder(run).glob("checkpoint*"))


def test_checkpoints_come_as_often_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    monkeypatch.setattr(Store, "save_checkpoint", lambda self, run, begun, facts: steps.append(begun.step))
    prune_retrain.work(Store(tmp_path), [tiny()], {}, "cpu", lambda event: None, prune_retrain.Pace(0.0))
    assert steps == [4, 8, 12], "after each epoch but the last"
    prune_retrain.work(Store(tmp_path), [tiny(seed=1)], {}, "cpu", lambda event: None)
    assert len(steps) == 3, "within a minute none"


@pytest.mark.parametrize("most", [1, 2, 3])
def test_what_memory_does_not_hold_is_trained_in_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    runs, sizes, train = [tiny(seed=seed) for seed in range(5)], list[int](), training.train
    whole, store, events = Store(tmp_path / "whole"), Store(tmp_path / "small"), list[Event]()
    prune_retrain.work(whole, runs, {}, "cpu", events.append)

    def small(several: list[Run], *more: object) -> object:
        sizes.append(len(several))
        for now in train(several, *more):  # type: ignore[arg-type]
            if len(several) > most and now.epoch == 2:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            yield now

    monkeypatch.setattr(training, "train", small)
    prune_retrain.work(store, runs, {}, "cpu", events.append)
    assert all(files(store, run) == files(whole, run) for run in runs)
    assert sizes[0] == 5 and max(size for size in sizes[1:]) == 3 and not [e for e in events if isinstance(e, Failed)]


def test_what_fails_is_recorded_with_its_reason_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, diverging = tiny(seed=1), tiny(seed=1, lr=1e30)
    store, events = Store(tmp_path), list[Event]()
    prune_retrain.work(store, [good], {}, "cpu", events.append)
    prune_retrain.work(store, [diverging], {}, "cpu", events.append)
    failure = store.failure(diverging)
    assert failure and failure["reason"].startswith("diverged") and "UsageError" in failure["trace"]
    assert store.finished(good) and not store.finished(diverging) and store.failure(good) is None

    def none(*_: object) -> object:
        raise MemoryError
        yield

    monkeypatch.setattr(training, "train", none)
    alone = tiny(seed=2)
    prune_retrain.work(store, [alone], {}, "cpu", events.append)
    assert "out of memory" in (store.failure(alone) or {})["reason"] and isinstance(events[-1], Failed)
    store.forget_failure(alone)
    assert store.failure(alone) is None


def test_a_run_in_anothers_work_is_busy_and_nothing_of_it_is_touched(tmp_path: Path) -> None:
    run, other, store, events = tiny(), tiny(seed=1), Store(tmp_path), list[Event]()
    claim = store.claim(run)
    assert claim is not None and store.claim(run) is None
    prune_retrain.work(store, [run, other], {}, "cpu", events.append)
    assert Busy(run) in events and not store.finished(run) and store.finished(other)
    claim.release(finished=False)
    prune_retrain.work(store, [run], {}, "cpu", events.append)
    assert store.finished(run) and not list(store.root.rglob(".lock"))


class Crash(BaseException):
    """The process is gone: nobody catches this."""


def interrupted(fault: str, place: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """From the `place`-th call on that changes a disk, `fault`: a full disk stays full, a broken one broken."""
    calls = {"made": 0}

    def faulty(real: Callable[..., object], changes: Callable[..., bool]) -> Callable[..., object]:
        def call(*words: object, **more: object) -> object:
            if not changes(*words, **more):
                return real(*words, **more)
            calls["made"] += 1
            if calls["made"] >= place:
                if fault == "crash":
                    raise Crash
                raise OSError({"full": errno.ENOSPC, "broken": errno.EIO}[fault], fault)
            return real(*words, **more)

        return call

    always = lambda *_, **__: True  # noqa: E731
    monkeypatch.setattr(os, "fsync", faulty(os.fsync, always))
    monkeypatch.setattr(Path, "replace", faulty(Path.replace, always))
    monkeypatch.setattr(Path, "mkdir", faulty(Path.mkdir, always))
    if fault == "crash":  # a full disk still lets files go
        monkeypatch.setattr(Path, "unlink", faulty(Path.unlink, always))
    writes = lambda self, mode="r", *_, **__: "w" in mode  # noqa: E731
    monkeypatch.setattr(Path, "open", faulty(Path.open, writes))
    return calls


@pytest.mark.parametrize("fault", ["full", "broken", "crash"])
def test_at_whatever_call_the_disk_fails_or_the_machine_stops_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Dense run, weights of a step, pruned run, checkpoints: at each write, rename, fsync, removal in turn."""
    monkeypatch.setattr(os, "fsync", lambda file: None)  # which may fail below, and takes most of the time
    pace, first = prune_retrain.Pace(0.0), tiny(seed=3, epochs=2)
    todo = [tiny(epochs=2), tiny(epochs=2, rewind="1it", **PRUNED)]
    whole = Store(tmp_path / "whole")
    for run in (first, *todo):
        prune_retrain.work(whole, [run], {}, "cpu", lambda event: None, pace)
    expected, place, calls = {run: files(whole, run) for run in (first, *todo)}, 0, {"made": 1}
    begun = tmp_path / "begun"
    prune_retrain.work(Store(begun), [first], {}, "cpu", lambda event: None)
    while calls["made"] >= place:
        place += 1
        store = Store(shutil.copytree(begun, tmp_path / str(place)))
        with pytest.MonkeyPatch.context() as patch:
            calls = interrupted(fault, place, patch)
            for run in todo:
                with contextlib.suppress(Crash, StoreError, OSError):
                    prune_retrain.work(store, [run], {}, "cpu", lambda event: None, pace)
        assert files(store, first) == expected[first], "a finished run was lost"
        for run, _ in store.manifests():
            store.verify(run)
        for run in todo:
            if manifest := store.manifest(run):
                assert all((store.folder(run) / name).exists() for name in manifest["files"])
            events: list[Event] = []
            prune_retrain.work(store, [run], {}, "cpu", events.append, pace)
            assert isinstance(events[-1], Saved), f"{fault} at call {place}: {events[-1]}"
        assert {run: files(store, run) for run in expected} == expected, f"{fault} at call {place}"
    assert place > 30, "few calls were tried"


@pytest.mark.slow
def test_memory_and_open_files_do_not_grow_with_the_number_of_runs(tmp_path: Path) -> None:
    """Two hundred runs in one process: what the last hundred and fifty added."""

    def used() -> tuple[int, int]:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE"), len(list(Path("/proc/self/fd").iterdir()))

    store, before = Store(tmp_path), (0, 0)
    for k in range(20):
        for level in range(10):
            run = tiny(seed=k, epochs=1, **(PRUNED | {"level": level} if level else {}))
            prune_retrain.work(store, [run], {}, "cpu", lambda event: None)
        if k == 4:
            before = used()
    (memory, handles) = used()
    assert handles == before[1] and memory < before[0] + 10e6, f"{memory - before[0]} bytes more"
    assert len(list(store.manifests())) == 200


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("model", ["lenet-32", "convnet:width=4"])
def test_a_chain_on_every_device_at_hand(tmp_path: Path, device: str, model: str) -> None:
    """Trained, paused, gone on with, pruned by gradient, rewound, measured; the same files, near numbers."""
    run = tiny(model=model, criterion="gradient", rate=0.5, level=1, retraining="lottery", rewind="3it", epochs=6)
    found = {}
    for where in dict.fromkeys(("cpu", device)):
        store, events = Store(tmp_path / where), list[Event]()
        for each in with_parents([run]):
            prune_retrain.work(store, [each], {}, where, events.append, prune_retrain.Pace(0.0, After(3)))
            prune_retrain.work(store, [each], {}, where, events.append)
        assert not [event for event in events if isinstance(event, Failed)] and store.finished(run)
        assert not [error for *_, error in measuring.measured(store, ["learning-distance"], run, where) if error]
        final, kept = store.weights(run)
        assert all(not final[name][~mask].any() and not mask.is_cuda for name, mask in kept.items())
        found[where] = (store.manifest(run) or {})["metrics"]
    assert found[device]["weights"] == found["cpu"]["weights"]
    assert found[device]["test_accuracy"] == pytest.approx(found["cpu"]["test_accuracy"], abs=0.1)


@pytest.mark.parametrize("name", ["gradual", "supermask", "edge-popup"])
def test_a_training_that_makes_its_masks_starts_from_all_initial_weights(root: Path, name: str) -> None:
    run = replace(RUN, retraining=name, seed=11)
    store, initial = made(root, run), setting.fresh(run.root, MODEL)
    start, kept = store.pruned(run) or ({}, {})
    assert same(start, initial) and all(mask.all() for mask in kept.values())
    assert not store.finished(run.root), "no dense network is trained for it"


def ending(store: Store, run: Run, stop_at: list[int] | None = None) -> tuple[Tensors, Tensors]:
    """What becomes of a run; stopped at each of these epochs and begun again."""
    events: list[Event] = []
    for epoch in stop_at or []:

        def stopping(epoch: int = epoch) -> bool:
            return any(isinstance(event, Advanced) and event.epoch >= epoch for event in events)

        prune_retrain.work(store, [run], {}, "cpu", events.append, prune_retrain.Pace(0.0, stopping))
        assert store.checkpoint(run) and not store.finished(run)
    prune_retrain.work(store, [run], {}, "cpu", events.append)
    assert not [event for event in events if isinstance(event, Failed)] and store.finished(run)
    return store.weights(run)


@pytest.mark.parametrize(
    "word",
    [
        "events:period=4it:end=0.8", "events:period=7it:batches=5:start=0.2:end=0.6",
        "events:period=7it:batches=5:start=0.2:end=0.6:noise=yes",
        "gradual:start=0.1:end=0.7:events=7", "gradual:start=0:end=0.5:events=2", "set:every=1ep:end=1",
        "rigl:every=3it", "static", "supermask", "supermask:rescale=yes", "edge-popup",
    ],
)  # fmt: skip
def test_one_that_moves_its_masks_goes_on_to_the_same_bits_from_wherever_it_was_stopped(
    tmp_path: Path, word: str
) -> None:
    """In each of its epochs, so in each segment; the second ramp has an event just at the end of an epoch."""
    run = replace(RUN, retraining=word, epochs=4, seed=3, unit="neuron" if word.startswith("events") else "weight")
    whole, parts = Store(tmp_path / "whole"), Store(tmp_path / "parts")
    weights, kept = ending(whole, run)
    again, masks_again = ending(parts, run, [1, 2, 3])
    assert same(weights, again) and same(kept, masks_again)
    assert files(whole, run) == files(parts, run)
    assert whole.details(run, "events") == parts.details(run, "events")
    if "noise" in word:
        rows = whole.details(run, "events")
        assert [int(row["step"]) for row in rows] == [6, 13]  # of 28 steps, from 6 to 17
        assert all(float(row["density_after"]) == 1 for row in rows) and all(bool(mask.all()) for mask in kept.values())
    if not word.startswith(("supermask", "events")):
        assert sum(int(mask.sum()) for mask in kept.values()) == 12_300
        assert all(not weights[name][~mask].any() for name, mask in kept.items())


def test_events_are_recorded_with_the_accuracy_before_and_after(tmp_path: Path) -> None:
    run, store = replace(RUN, retraining="gradual:start=0.2:end=0.6:events=4", epochs=5), Store(tmp_path)
    ending(store, run)
    rows = store.details(run, "events")
    assert [int(row["step"]) for row in rows] == [10, 14, 18, 21]  # of 35 steps, from 7 to 21
    densities = [float(row["density_after"]) for row in rows]
    assert densities == pytest.approx([0.25 + 0.75 * (1 - k / 4) ** 3 for k in (1, 2, 3, 4)], abs=1e-4)
    assert [float(row["density_before"]) for row in rows[1:]] == densities[:-1]
    measure = store.measures(run)["events"]
    lost = [1 - float(row["test_accuracy_after"]) / float(row["test_accuracy_before"]) for row in rows]
    assert measure["events"] == 4 and measure["event_instability"] == pytest.approx(sum(lost) / 4)
    manifest = store.manifest(run)
    assert manifest and manifest["metrics"]["density"] == 0.25 and manifest["metrics"]["weights"] == 12_300
    assert list(verifying.verified(store, evaluate=True)) == [(store.folder(run), [])]


def test_a_supermask_leaves_weights_as_they_were_and_records_means_over_gates(tmp_path: Path) -> None:
    run, store = replace(RUN, retraining="supermask", epochs=6, noise=0, level=1), Store(tmp_path)
    weights, kept = ending(store, run)
    initial = setting.fresh(run.root, MODEL)
    for name, w in weights.items():
        assert torch.equal(w, torch.where(kept[name], initial[name], 0.0) if name in kept else initial[name])
    manifest = store.manifest(run)
    assert manifest
    metrics = manifest["metrics"]
    density = masks.density(kept)
    assert metrics["density"] == density and 0.2 < density < 0.8 and metrics["test_accuracy"] > 0.3
    together = stacked([weights], MODEL.weights)
    assert metrics["stored_test_accuracy"] == training.metrics([run], MODEL, together, DATA)[0]["test_accuracy"]
    assert metrics["stored_test_accuracy"] != metrics["test_accuracy"]
    assert list(verifying.verified(store, evaluate=True)) == [(store.folder(run), [])]


@pytest.mark.parametrize("model", ["lenet-300-100:prunable=all", "conv-2", "conv-4", "conv-6"])
def test_edge_popup_keeps_in_each_layer_as_many_as_the_level_says(tmp_path: Path, model: str) -> None:
    """Weights are the signed constants that they started from, and accuracy is that of the stored network."""
    words = {"retraining": "edge-popup", "start": "constant", "model": model, "criterion": "", "scope": "layer"}
    run = replace(RUN, **words, epochs=3 if model[0] == "l" else 1, noise=0)  # type: ignore[arg-type]
    run = replace(run, train_size=0 if model[0] == "l" else 100, level=3)
    store, network = Store(tmp_path), setting.model_of(run, load("digits"))
    weights, kept = ending(store, run)
    assert {name: int(mask.sum()) for name, mask in kept.items()} == setting.counts(run, network)
    for name, mask in kept.items():
        sizes = weights[name][mask].abs().unique()
        assert len(sizes) == 1 and not weights[name][~mask].any()
    assert list(verifying.verified(store, evaluate=True)) == [(store.folder(run), [])]


@pytest.mark.parametrize("pruning", ["iterative", "one-shot"])
def test_masks_alone_are_measured_on_untrained_weights(tmp_path: Path, pruning: str) -> None:
    """The masks are those of the lottery run of the same level, and the accuracy what that run has before training."""
    ticket = replace(RUN, pruning=pruning, criterion="same-sign", noise=0, epochs=8)
    run, store, events = replace(ticket, retraining="mask-only"), Store(tmp_path), list[Event]()
    for each in with_parents([ticket, run, replace(run, start="constant")]):
        prune_retrain.work(store, [each], {}, "cpu", events.append, prune_retrain.Pace(0.0))
    assert not [event for event in events if isinstance(event, Failed)]
    (weights, kept), initial = store.weights(run), store.initial(run)
    assert same(kept, store.masks(ticket))
    assert all(
        torch.equal(w, torch.where(kept[n], initial[n], 0.0) if n in kept else initial[n]) for n, w in weights.items()
    )
    assert [row["epoch"] for row in store.history(run)] == ["0"]
    mine, dense = (
        measuring.analysed("untrained", measuring._seen(store, each, "cpu")).values for each in (ticket, ticket.root)
    )
    metrics = (store.manifest(run) or {})["metrics"]
    assert metrics["test_accuracy"] == mine["untrained_test_accuracy"] and metrics["density"] == 0.25
    assert metrics["train_accuracy"] == mine["untrained_train_accuracy"]
    assert metrics["test_accuracy"] > dense["untrained_test_accuracy"] + 0.1
    signed = store.weights(replace(run, start="constant"))[0]["hidden1.weight"]
    assert len(signed.abs().unique()) == 2
    assert [wrong for _, wrong in verifying.verified(store, evaluate=True) if wrong] == []


def test_a_teacher_is_trained_first_and_answers_in_the_lesson_as_it_does_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, store, seen = replace(RUN, loss="distill:teacher=3"), Store(tmp_path), list[torch.Tensor]()
    source = replace(RUN, level=3)
    for each in with_parents([run])[:-1]:
        prune_retrain.work(store, [each], {}, "cpu", lambda event: None)
    assert store.finished(source)

    def loss(logits: Any, y: Any, parameters: Tensors, answers: Any = None, **words: Any) -> Any:
        seen.append(answers)
        return distill(logits, y, parameters, answers, **words)

    monkeypatch.setitem(LOSSES, "distill", wraps(distill)(loss))
    prune_retrain.work(store, [run], {}, "cpu", lambda event: None)
    assert store.finished(run)
    order = seeds.stream(run.seed_of("order"), "order", 0).permutation(len(DATA.train.y))[: run.batch_size]
    alone = stacked([store.weights(source)[0]], MODEL.weights)
    expected = evaluate.logits(setting.forward_of(MODEL, DATA), alone, DATA.train.x[torch.from_numpy(order)])
    assert torch.equal(seen[0][0], expected)


TAUGHT = ["distill:teacher=dense", "distill:teacher=1:share=0.5"]


@pytest.mark.parametrize("loss", TAUGHT)
@pytest.mark.parametrize("retraining", ["lottery", "freeze"])
def test_one_that_is_taught_goes_on_to_the_same_bits_from_wherever_it_was_stopped(
    tmp_path: Path, loss: str, retraining: str
) -> None:
    run, stores = replace(RUN, loss=loss, retraining=retraining, epochs=3), [Store(tmp_path / k) for k in "ab"]
    for store, stops in zip(stores, ([], [1, 2]), strict=True):
        for each in with_parents([run])[:-1]:
            prune_retrain.work(store, [each], {}, "cpu", lambda event: None)
        ending(store, run, stops)
        assert [wrong for _, wrong in verifying.verified(store, evaluate=True) if wrong] == []
    assert files(stores[0], run) == files(stores[1], run)
    plain = replace(run, loss="cross-entropy")
    for each in with_parents([plain]):
        prune_retrain.work(stores[0], [each], {}, "cpu", lambda event: None)
    assert not same(stores[0].weights(plain)[0], stores[0].weights(run)[0]), "the teacher matters"
    rows = table.export(stores[0])
    of_dense = rows[(rows["chain"] == run.chain) & (rows["level"] == 0)]
    assert list(of_dense["run"]) == [run.root.id] and list(of_dense["loss"]) == [loss], "it is level 0 of the chain too"


@pytest.mark.parametrize("loss", TAUGHT)
@pytest.mark.parametrize("model", ["lenet-300-100", "conv-2"])
def test_networks_that_are_taught_have_the_bits_side_by_side_that_each_has_alone(
    tmp_path: Path, loss: str, model: str
) -> None:
    size = {"train_size": 200, "batch_size": 50, "epochs": 1} if model == "conv-2" else {}
    runs = [replace(RUN, loss=loss, model=model, seed=seed, level=2, **size) for seed in range(3)]
    together, alone = Store(tmp_path / "together"), Store(tmp_path / "alone")
    for store in (together, alone):
        for each in with_parents(runs):
            if each not in runs:
                prune_retrain.work(store, [each], {}, "cpu", lambda event: None)
    prune_retrain.work(together, runs, {}, "cpu", lambda event: None)
    for run in runs:
        prune_retrain.work(alone, [run], {}, "cpu", lambda event: None)
        assert files(together, run) == files(alone, run)


def test_a_teacher_of_other_classes_or_inputs_is_refused_in_one_line() -> None:
    for dataset, classes in (("cifar100", 100), ("mnist", 10)):
        with pytest.raises(UsageError, match=rf"^a teacher of {dataset} \({classes} classes, .*cannot teach on digits"):
            planning.check_outline([replace(RUN, loss=f"distill:dataset={dataset}")])


@pytest.mark.parametrize("word", ["gradual:start=0.1:end=0.7:events=5", "rigl:every=4it:end=0.8"])
def test_one_that_is_killed_in_an_event_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    run = replace(RUN, retraining=word, epochs=4, seed=4)
    whole, parts = Store(tmp_path / "whole"), Store(tmp_path / "parts")
    ending(whole, run)
    happen, count = training._happen, 0

    def killed(*words: Any) -> Any:
        nonlocal count
        count += 1
        if count == 4:
            raise SystemExit(137)
        return happen(*words)

    with monkeypatch.context() as patched:
        patched.setattr(training, "_happen", killed)
        with pytest.raises(SystemExit):
            prune_retrain.work(parts, [run], {}, "cpu", lambda event: None, prune_retrain.Pace(0.0))
    assert parts.checkpoint(run) and not parts.finished(run)
    ending(parts, run)
    assert files(whole, run) == files(parts, run) and whole.details(run, "events") == parts.details(run, "events")


@pytest.mark.parametrize(
    "word",
    [
        "events:period=3it", "events:period=4it:batches=3:target=largest", "events:period=4it:batches=3:noise=yes",
        "gradual:events=5", "set:every=3it",
        "rigl:every=3it",
        "supermask", "supermask:rescale=yes", "edge-popup",
    ],
)  # fmt: skip
@pytest.mark.parametrize("count", [2, 3])
def test_trainings_that_move_masks_have_the_bits_side_by_side_that_each_has_alone(
    tmp_path: Path, word: str, count: int
) -> None:
    unit = "neuron" if word.startswith("events") else "weight"
    runs = [replace(RUN, retraining=word, unit=unit, seed=seed, level=1 + seed) for seed in range(count)]
    together, alone = Store(tmp_path / "together"), Store(tmp_path / "alone")
    prune_retrain.work(together, runs, {}, "cpu", lambda event: None)
    for run in runs:
        prune_retrain.work(alone, [run], {}, "cpu", lambda event: None)
        assert files(together, run) == files(alone, run)
        assert together.details(run, "events") == alone.details(run, "events")


@pytest.mark.parametrize("scope", ["global", "erk"])
@pytest.mark.parametrize("word", ["rigl:every=1it", "set:every=2it"])
def test_masks_that_move_keep_their_number_in_each_layer_at_every_step(tmp_path: Path, word: str, scope: str) -> None:
    """And what goes is forgotten: a weight that is removed has no memory, so none when it comes back."""
    run = replace(RUN, retraining=word, scope=scope, epochs=12, batch_size=1297)  # a step an epoch
    store = Store(tmp_path)
    prepared = prune_retrain._prepared(prune_retrain.bench(store, run, {}, "cpu"), run)
    numbers = {name: int(mask.sum()) for name, mask in prepared.masks.items()}
    assert scope == "global" or numbers == setting.counts(run, MODEL)
    assert sum(numbers.values()) == 12_300 and not store.finished(run.root)
    moved, last = 0, prepared.masks
    begun = training.beginning(run, MODEL, DATA, prepared.start, prepared.masks)
    for now in training.train([run], MODEL, DATA, [begun], [prepared.initial]):
        kept = single(now.state.masks, 0)
        assert {name: int(mask.sum()) for name, mask in kept.items()} == numbers
        for name, mask in kept.items():
            assert not now.state.learned[name][0][~mask].any()
            assert not now.state.memory["velocity"][name][0][~mask].any()
        moved += not same(kept, last)
        last = kept
    assert moved == (8 if word.startswith("rigl") else 4)


def test_pruned_weights_are_0_after_every_step_of_every_segment() -> None:
    run = replace(RUN, retraining="gradual:start=0.1:end=0.8:events=6", epochs=20, batch_size=1297)  # a step an epoch
    start = setting.fresh(run.root, MODEL)
    begun = training.beginning(run, MODEL, DATA, start, pruning.full_masks(MODEL, start))
    left, steps = [], 0
    for now in training.train([run], MODEL, DATA, [begun], [start]):
        steps += 1
        for name, mask in now.state.masks.items():
            assert not now.state.learned[name][~mask].any() and not now.state.memory["velocity"][name][~mask].any()
        left.append(sum(int(mask.sum()) for mask in now.state.masks.values()))
    assert steps == 20 and left == sorted(left, reverse=True) and len(set(left)) == 7 and left[-1] == 12_300


@pytest.mark.parametrize("take", ["masks", "all"])
def test_a_ticket_of_data_with_other_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, take: str) -> None:
    """Masks alone lie over this run's own dense network, whose output layer stays as it is, dense."""
    monkeypatch.setenv("SDD_DATA", str(tmp_path / "data"))
    forget()
    for write in (small.cifar10, small.cifar100):
        write(tmp_path / "data")
    words = {"criterion": "magnitude", "rate": 0.5, "level": 1, "epochs": 1, "batch_size": 4, "seed": 1}
    ticket_of = f"ticket:dataset=cifar100:take={take}"
    run = Run("cifar10", "lenet-6-5:prunable=all", retraining=ticket_of, **words)  # type: ignore[arg-type]
    source, store = masks_of(run).run, made(tmp_path / "runs", run)
    prune_retrain.prune(store, run, {"seconds": 0}, "cpu")
    start, kept = store.pruned(run) or ({}, {})
    ticket, own = store.masks(source), [name for name in kept if name.startswith("hidden")]
    assert kept["output.weight"].shape == (10, 5) and bool(kept["output.weight"].all())
    assert ticket["output.weight"].shape == (100, 5) and not bool(ticket["output.weight"].all())
    assert all(torch.equal(kept[name], ticket[name]) for name in own)
    first = replace(run if take == "masks" else source, level=0)
    dense = setting.fresh(first, setting.model_of(first, load(first.dataset)))
    assert all(torch.equal(start[name], dense[name] * kept[name]) for name in own)
    assert start["output.weight"].shape == (10, 5) and bool((start["output.weight"] != 0).all())
    forget()
