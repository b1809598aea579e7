"""Complexity: by hand, in closed form, and of networks of every kind."""

from math import log2

import numpy as np
import pytest
import torch
from torch import nn

from sddcli.analyses.complexity import effective_rank, entropy, measure
from sddcli.core import masks, units
from sddcli.core.channels import completed
from sddcli.core.inits import fresh
from sddcli.core.models import MODELS, architecture
from sddcli.core.modules import of_module
from sddcli.core.types import Data, Examples, Model, Subject, Tensors, Trained
from sddcli.core.units import Layout


def subject(model: Model, weights: Tensors, x: torch.Tensor, masks: Tensors | None = None) -> Subject:
    masks = masks or {name: torch.ones(model.shapes[name], dtype=torch.bool) for name in model.prunable}
    examples = Examples(x, torch.zeros(len(x), dtype=torch.long))
    net = Trained(weights, weights, masks)
    data = Data(examples, examples, 3, "")
    more = {"channels": model.channels}
    return Subject(net, model.forward, data, examples.y, np.random.default_rng, lambda: weights, lambda: None, **more)


def test_effective_rank_in_closed_form() -> None:
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(0)))[0]
    assert effective_rank(turn) == pytest.approx(5)
    assert effective_rank(turn[:, :1] @ turn[:1]) == pytest.approx(1)
    assert effective_rank(turn @ torch.diag(torch.tensor([3.0, 1, 0, 0, 0]))) == pytest.approx(4 / 27**0.25)
    assert effective_rank(torch.zeros(3, 2)) == 0


def test_entropy_in_bits() -> None:
    by_hand = [0, 0.25 * 2 + 0.75 * log2(4 / 3), 1, 0]
    torch.testing.assert_close(entropy(torch.tensor([0, 0.25, 0.5, 1])), torch.tensor(by_hand))


def test_units_by_hand() -> None:
    """Of four examples the units of the first layer see 2, 0, 4; the second layer has one unit that sees 2."""
    model = architecture("lenet-3-1", (1,), 3)
    weights = {name: torch.zeros(shape) for name, shape in model.shapes.items()}
    weights["hidden1.weight"][:, 0] = torch.tensor([1.0, 0.0, 0.0])
    weights["hidden1.bias"] += torch.tensor([0.0, 0.0, 1.0])
    weights["hidden2.weight"][0, 0] = 1.0
    masks = {name: weights[name] != 0 for name in model.prunable}
    found = measure(subject(model, weights, torch.tensor([[-2.0], [-1.0], [1.0], [2.0]]), masks))
    assert found.values == {
        "smaller_parameters": 2 + 2 + 6,  # of lenet-1-1
        "effective_rank": 1,
        "dead_units": 1 / 4,
        "activation_entropy": pytest.approx(2 / 4),
    }
    first, second, output = found.rows
    assert first == {
        "layer": "hidden1.weight",
        "depth": 1,
        "density": pytest.approx(1 / 3),
        "width": 1,
        "effective_rank": pytest.approx(1),
        "units": 3,
        "dead_units": pytest.approx(1 / 3),
        "activation_entropy": pytest.approx(1 / 3),
    }
    assert (second["units"], second["dead_units"], second["activation_entropy"]) == (1, 0, pytest.approx(1))
    assert output["layer"] == "output.weight" and output["density"] == 1 and np.isnan(output["units"])


def test_a_network_pruned_by_neurons_is_the_smaller_one_whose_widths_are_given() -> None:
    model = architecture("lenet-30-20", (4,), 3)
    weights = fresh(model, "kaiming:bias=uniform", 0)
    unit = units.unit("neuron", Layout({name: model.shapes[name] for name in model.prunable}, model.channels()))
    whole = masks.full({name: weights[name] for name in model.prunable})
    kept = unit.keep({name: weights[name].abs() for name in whole}, whole, {"": 300}, None)
    weights = masks.apply(completed(kept, model.channels()), weights)
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    found = measure(subject(model, weights, x, kept))
    first, second, _ = (int(row["width"]) for row in found.rows)
    assert (first, second) == tuple(int(kept[f"hidden{i}.weight"].any(1).sum()) for i in (1, 2)) and second < 20
    small = architecture(f"lenet-{first}-{second}", (4,), 3)
    assert found.values["smaller_parameters"] == small.parameters
    rows = [torch.arange(4), *(kept[f"hidden{i}.weight"].any(1).nonzero().squeeze(1) for i in (1, 2)), torch.arange(3)]
    layers = zip(("hidden1", "hidden2", "output"), rows, rows[1:], strict=False)
    own = {}
    for layer, inputs, outputs in layers:
        own[f"{layer}.weight"] = weights[f"{layer}.weight"][outputs][:, inputs].unsqueeze(0)
        own[f"{layer}.bias"] = weights[f"{layer}.bias"][outputs].unsqueeze(0)
    together = {name: w.unsqueeze(0) for name, w in weights.items()}
    torch.testing.assert_close(small.forward(own, x[None], False), model.forward(together, x[None], False))


def test_all_examples_count_also_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    model = architecture("lenet-30-20", (4,), 3)
    x = torch.randn(101, 4, generator=torch.Generator().manual_seed(0))
    of = subject(model, fresh(model, "kaiming", 0), x)
    whole = repr(measure(of))
    monkeypatch.setattr("sddcli.analyses.complexity.chunk", lambda x: 7)
    assert repr(measure(of)) == whole
    h = x
    for name, row in zip(("hidden1", "hidden2"), measure(of).rows, strict=False):
        h = (h @ of.net.final[f"{name}.weight"].T + of.net.final[f"{name}.bias"]).relu()
        assert row["activation_entropy"] == pytest.approx(float(entropy((h > 0).double().mean(0)).mean()))


def test_places_of_a_channel_are_units_of_the_entropy_and_one_of_the_dead() -> None:
    model = of_module(lambda: nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)), (1, 2, 2))
    weights = {name: torch.zeros(shape) for name, shape in model.shapes.items()}
    weights["0.weight"][0] = 1
    x = torch.zeros(2, 1, 2, 2)
    x[0, 0, 0, 0] = 1  # the one place that is ever above 0, in half of the examples
    found = measure(subject(model, weights, x))
    assert found.values["dead_units"] == 1 / 2 and found.values["activation_entropy"] == pytest.approx(1 / 8)


@pytest.mark.parametrize("word", MODELS)
def test_each_relu_of_every_network_has_its_layer(word: str) -> None:
    features = (3, 32, 32) if word == "vgg16" else (3, 16, 16)
    model = architecture(
        f"{word}:width=2" if word[:3] in ("res", "pre", "vgg") or word == "convnet" else word, features, 3
    )
    weights = fresh(model, "kaiming", 0)
    found = measure(subject(model, weights, torch.randn(3, *features)))
    with_units = {row["layer"] for row in found.rows if row["units"] == row["units"]}
    layers = [name for name in model.shapes if len(model.shapes[name]) > 1]
    assert [row["layer"] for row in found.rows] == layers
    last = layers[-2:] if word == "preresnet18" else layers[-1:]  # what its last addition gives passes no ReLU
    without = {*last, *(name for name in layers if "downsample" in name or "shortcut" in name)}
    assert with_units == {*layers} - without
    widths = {row["layer"]: row["units"] for row in found.rows if row["layer"] in with_units}
    assert widths == {name: model.shapes[name][0] for name in with_units}


def test_a_network_without_relus_is_refused() -> None:
    model = of_module(lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), (4,))
    with pytest.raises(ValueError, match="has none"):
        measure(subject(model, fresh(model, "kaiming", 0), torch.randn(3, 4)))
