"""Signs: by hand."""

from math import isnan

import numpy as np
import pytest
import torch

from sddcli.analyses.signs import measure
from sddcli.core.types import Data, Examples, Subject, Tensors, Trained

NOTHING = Data(*[Examples(torch.zeros(0), torch.zeros(0, dtype=torch.long))] * 2, 0, "")
INITIAL = {"a": torch.tensor([1.0, 2.0, -2.0, 0.5]), "b": torch.tensor([1.0, -1.0])}
FINAL = {"a": torch.tensor([4.0, -1.0, -0.1, 0.0]), "b": torch.tensor([0.0, -2.0])}
MASKS = {"a": torch.tensor([True, True, True, False]), "b": torch.tensor([False, True])}


def subject(masks: Tensors, start: Tensors) -> Subject:
    net = Trained(INITIAL, FINAL, masks)
    return Subject(net, lambda w, x, t: x, NOTHING, NOTHING.train.y, np.random.default_rng, lambda: start, lambda: None)


def test_by_hand() -> None:
    found = measure(subject(MASKS, {name: -w for name, w in FINAL.items()}))
    assert found.values == pytest.approx({"same_signs": 3 / 4, "own_same_signs": 0})  # pruned weights do not count
    assert found.rows == [
        {"layer": "a", "same_signs": pytest.approx(2 / 3), "own_same_signs": 0},
        {"layer": "b", "same_signs": 1, "own_same_signs": 0},
    ]


def test_of_a_network_of_which_nothing_is_left_there_is_no_share() -> None:
    none = {name: torch.zeros_like(mask) for name, mask in MASKS.items()}
    assert all(isnan(value) for value in measure(subject(none, FINAL)).values.values())
