"""Label noise: by hand."""

import pytest
import torch

from sddcli.analyses.label_noise import measure
from tests.analyses.networks import subject


def test_by_hand() -> None:
    usual = subject()
    train = usual.data.train._replace(y=torch.tensor([0, 0, 0, 0, 1, 1, 2]))
    labels = torch.tensor([0, 0, 0, 2, 1, 0, 2])
    found = measure(usual._replace(data=usual.data._replace(train=train), labels=labels))
    assert found.values == pytest.approx({"label_noise": 2 / 7, "label_noise_worst_class": 1 / 2})
    assert found.rows == [
        {"class": 0, "called": 0, "examples": 3, "share": 0.75},
        {"class": 0, "called": 2, "examples": 1, "share": 0.25},
        {"class": 1, "called": 0, "examples": 1, "share": 0.5},
        {"class": 1, "called": 1, "examples": 1, "share": 0.5},
        {"class": 2, "called": 2, "examples": 1, "share": 1.0},
    ]
