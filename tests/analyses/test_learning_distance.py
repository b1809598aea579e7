"""Learning distance: by hand."""

from math import sqrt

import numpy as np
import pytest
import torch

from sddcli.analyses.learning_distance import measure
from sddcli.core.types import Data, Examples, Subject, Tensors, Trained

NOTHING = Data(*[Examples(torch.zeros(0), torch.zeros(0, dtype=torch.long))] * 2, 0, "")


def subject(net: Trained, start: Tensors) -> Subject:
    return Subject(net, lambda w, x, t: x, NOTHING, NOTHING.train.y, np.random.default_rng, lambda: start, lambda: None)


def test_by_hand() -> None:
    initial = {"w": torch.tensor([1.0, 2.0, -2.0]), "b": torch.tensor([0.0])}
    final = {"w": torch.tensor([4.0, 0.0, 0.0]), "b": torch.tensor([5.0])}
    start = {"w": torch.tensor([4.0, 0.0, 7.0]), "b": torch.tensor([1.0])}
    found = measure(subject(Trained(initial, final, {"w": torch.tensor([True, False, False])}), start))
    assert found.values["learning_distance"] == pytest.approx(sqrt(9 + 4 + 4))
    assert found.values["learning_distance_all"] == pytest.approx(sqrt(9 + 4 + 4 + 25))
    assert found.values["masking_distance"] == pytest.approx(sqrt(4 + 4))
    assert found.values["own_distance"] == pytest.approx(7)
    assert found.rows == [
        {
            "layer": "w",
            **{name: found.values[name] for name in ("learning_distance", "masking_distance", "own_distance")},
        }
    ]


def test_layers_add_up_to_the_whole() -> None:
    weights = {"a": torch.randn(3, 4), "b": torch.randn(5)}
    zero = {name: torch.zeros_like(w) for name, w in weights.items()}
    masks = {name: w > 0 for name, w in weights.items()}
    found = measure(subject(Trained(weights, zero, masks), zero))
    for name in ("learning_distance", "masking_distance"):
        assert sum(row[name] ** 2 for row in found.rows) == pytest.approx(found.values[name] ** 2)


def test_an_untrained_dense_network_has_not_moved() -> None:
    weights = {"w": torch.randn(3, 4)}
    found = measure(subject(Trained(weights, weights, {"w": torch.ones(3, 4, dtype=torch.bool)}), weights))
    assert set(found.values.values()) == {0.0}
