"""Models: shapes, fresh weights and the forward pass of M models, against plain torch modules."""

from math import prod

import pytest
import torch
from torch import nn

from sddcli.core.models import MODELS, fresh

FEATURES, CLASSES = (64,), 10


def test_lenet_has_the_papers_weights() -> None:
    model = MODELS["lenet-300-100"]((1, 28, 28), 10)
    assert model.size == 265_200
    assert sum(prod(shape) for name, shape in model.shapes.items() if name.endswith("weight")) == 266_200
    assert model.prunable == ("hidden1.weight", "hidden2.weight")


def test_forward_is_that_of_torchs_layers() -> None:
    model = MODELS["lenet-300-100"](FEATURES, CLASSES)
    nets = [fresh(model, seed) for seed in range(3)]
    together = {name: torch.stack([net[name] for net in nets]) for name in model.shapes}
    x = torch.randn(3, 7, *FEATURES, generator=torch.Generator().manual_seed(0))
    for m, net in enumerate(nets):
        plain = nn.Sequential(nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))
        for parameter, name in zip(plain.parameters(), model.shapes, strict=True):
            parameter.data = net[name]
        torch.testing.assert_close(model.forward(together, x)[m], plain(x[m]))


@pytest.mark.parametrize("name", MODELS)
def test_fresh_weights_are_kaiming_normal_with_zero_biases(name: str) -> None:
    model = MODELS[name](FEATURES, CLASSES)
    weights = fresh(model, 0)
    assert {key: tuple(w.shape) for key, w in weights.items()} == model.shapes
    for key, w in weights.items():
        if key.endswith("bias"):
            assert not w.any()
        elif w.numel() > 2000:
            fan_in = prod(w.shape[1:])
            assert abs(w.std() * (fan_in / 2) ** 0.5 - 1) < 5 / (2 * w.numel()) ** 0.5
            assert abs(w.mean()) < 5 * w.std() / w.numel() ** 0.5


@pytest.mark.parametrize("name", MODELS)
def test_fresh_weights_depend_on_seed_and_name_only(name: str) -> None:
    model = MODELS[name](FEATURES, CLASSES)
    again, other = fresh(model, 0), fresh(model, 1)
    for key, w in fresh(model, 0).items():
        assert torch.equal(w, again[key])
        assert key.endswith("bias") or not torch.equal(w, other[key])
