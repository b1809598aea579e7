"""Stability: by hand, and against what was measured when the level was pruned."""

from math import isnan
from pathlib import Path

import numpy as np
import pytest
import torch

from sddcli.analyses.stability import measure
from sddcli.core.types import Data, Examples, Subject, Tensors, Trained
from sddcli.store import Store

# The class is the greater of two inputs times a weight each: (3, 1) alone says class 1 as soon as the first is gone.
X = torch.tensor([[3.0, 1.0], [2.0, 1.0], [1.0, 3.0], [1.0, 2.0], [4.0, 1.0]])
TEST = Examples(X, torch.tensor([0, 0, 1, 1, 1]))
NAMES = ("instability", "before_pruning_accuracy", "after_pruning_accuracy")


def subject(kept: list[bool], parent: Trained | None) -> Subject:
    weights, masks = {"w": torch.zeros(2)}, {"w": torch.tensor(kept)}
    forward = lambda w, x, training: x * w["w"].unsqueeze(1)  # noqa: E731
    data, start = Data(TEST, TEST, 2, ""), dict[str, torch.Tensor]()
    net = Trained(weights, weights, masks)
    return Subject(net, forward, data, TEST.y, np.random.default_rng, lambda: start, lambda: parent)


def above(masks: list[bool]) -> Trained:
    weights: Tensors = {"w": torch.tensor([1.0, 1.0])}
    return Trained(weights, weights, {"w": torch.tensor(masks)})


def test_by_hand() -> None:
    found = measure(subject([False, True], above([True, True]))).values
    assert [found[name] for name in NAMES] == pytest.approx([(0.8 - 0.6) / 0.8, 0.8, 0.6])


@pytest.mark.parametrize(("kept", "before"), [([True, False], [True, False]), ([True, True], [True, False])])
def test_the_same_masks_or_open_ones_are_no_event(kept: list[bool], before: list[bool]) -> None:
    assert all(isnan(value) for value in measure(subject(kept, above(before))).values.values())
    assert all(isnan(value) for value in measure(subject(kept, None)).values.values())


def test_it_is_what_was_measured_when_the_level_was_pruned(measured: Path) -> None:
    store = Store(measured)
    for run, manifest in store.manifests():
        found = store.measures(run)["stability"]
        if run.level == 0:
            assert found == dict.fromkeys(NAMES)
            continue
        (parent,) = (
            manifest["metrics"]
            for other, manifest in store.manifests()
            if other in run.parents and other.level == run.level - 1
        )
        before, after = parent["test_accuracy"], manifest["metrics"]["pruned_test_accuracy"]
        assert [found[name] for name in NAMES] == [(before - after) / before, before, after]
