"""Learning distance: by hand."""

from math import sqrt

import pytest
import torch

from sddcli.analyses.learning_distance import measure
from sddcli.core.types import Trained


def test_by_hand() -> None:
    initial = {"w": torch.tensor([1.0, 2.0, -2.0]), "b": torch.tensor([0.0])}
    final = {"w": torch.tensor([4.0, 0.0, 0.0]), "b": torch.tensor([5.0])}
    found = measure(Trained(initial, final, {"w": torch.tensor([True, False, False])}))
    assert found["learning_distance"] == pytest.approx(sqrt(9 + 4 + 4))
    assert found["learning_distance_all"] == pytest.approx(sqrt(9 + 4 + 4 + 25))
    assert found["masking_distance"] == pytest.approx(sqrt(4 + 4))


def test_an_untrained_dense_network_has_not_moved() -> None:
    weights = {"w": torch.randn(3, 4)}
    found = measure(Trained(weights, weights, {"w": torch.ones(3, 4, dtype=torch.bool)}))
    assert set(found.values()) == {0.0}
