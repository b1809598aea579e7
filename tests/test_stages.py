"""Stages: chains of masks, labels and metrics of real digits."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sddcli import stages
from sddcli.core import masks
from sddcli.core.criteria import CRITERIA
from sddcli.core.types import Trained
from sddcli.datasets import load
from sddcli.spec import Run

DATA = load("digits")
DENSE = Run("digits", "lenet-300-100", noise=0.4, epochs=2, batch_size=64, momentum=0.9, seed=1)
MODEL = stages.model_of(DENSE, DATA)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_chains_keep_exact_counts_and_nest(criterion: str) -> None:
    weights, kept = stages.dense(DENSE, MODEL)
    for level in range(1, 6):
        run = replace(DENSE, criterion=criterion, retraining="lottery", rate=0.2, level=level)
        inner = stages.prune(run, MODEL, Trained(weights, weights, kept))
        assert sum(int(mask.sum()) for mask in inner.values()) == masks.kept(MODEL.size, 0.2, level)
        assert all((kept[name] | ~inner[name]).all() for name in inner) and set(inner) == set(MODEL.prunable)
        kept = inner


def test_magnitude_prunes_the_smallest_of_all_layers() -> None:
    weights, kept = stages.dense(DENSE, MODEL)
    run = replace(DENSE, criterion="magnitude", retraining="lottery", rate=0.5, level=1)
    chosen = stages.prune(run, MODEL, Trained(weights, weights, kept))
    magnitudes = np.concatenate([weights[name].abs().numpy().ravel() for name in MODEL.prunable])
    mask = np.concatenate([chosen[name].numpy().ravel() for name in MODEL.prunable])
    assert magnitudes[mask].min() >= magnitudes[~mask].max() and mask.sum() == mask.size // 2


def test_noise_is_that_of_the_seed_and_leaves_the_data_alone() -> None:
    before = DATA.train.y.clone()
    labels = stages.noisy_labels(DENSE, DATA)
    assert 0.3 < (labels != DATA.train.y).double().mean() < 0.4  # 0.4 * (1 - 1/10) in expectation
    assert torch.equal(labels, stages.noisy_labels(replace(DENSE, epochs=9, lr=0.5), DATA))
    assert not torch.equal(labels, stages.noisy_labels(replace(DENSE, seed=2), DATA))
    assert torch.equal(before, DATA.train.y)
    assert torch.equal(stages.noisy_labels(replace(DENSE, noise=0), DATA), before)


def test_training_evaluates_when_due_and_at_the_end() -> None:
    run = replace(DENSE, epochs=5, eval_every=2)
    start = stages.dense(run, MODEL)
    seen = list(stages.train([run], MODEL, DATA, [start[0]], [start[1]]))
    assert [now.epoch for now in seen] == [1, 2, 3, 4, 5]
    assert [now.epoch for now in seen if now.metrics] == [2, 4, 5]


def test_it_learns_clean_digits() -> None:
    run = replace(DENSE, noise=0, epochs=5)
    start = stages.dense(run, MODEL)
    for now in stages.train([run], MODEL, DATA, [start[0]], [start[1]]):
        last = now
    assert last.metrics is not None
    assert last.metrics[0]["test_accuracy"] > 0.93 and np.isnan(last.metrics[0]["memorized"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(model="lenet"), "unknown model 'lenet'; did you mean 'lenet-300-100'"),
        (dict(noise_kind="flop"), "unknown noise_kind 'flop'; did you mean 'flip'"),
        (dict(criterion="magnitud"), "unknown criterion 'magnitud'; did you mean 'magnitude'"),
        (dict(level=60), "level 60 leaves none of 49200 weights; the last possible is 51"),
    ],
)
def test_check_finds_words_and_levels_that_cannot_be(change: dict[str, str], message: str) -> None:
    run = replace(DENSE, criterion="magnitude", retraining="lottery", rate=0.2, level=1)
    stages.check(run, DATA)
    with pytest.raises(ValueError, match=message):
        stages.check(replace(run, **change), DATA)  # type: ignore[arg-type]
