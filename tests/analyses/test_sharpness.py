"""Sharpness: against the full Hessian, and by hand on losses whose highest points are known."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sddcli.analyses import sharpness
from sddcli.core import curvature
from sddcli.core.inits import fresh
from sddcli.core.models import architecture
from sddcli.core.modules import of_module
from sddcli.core.seeds import stream
from sddcli.core.types import Data, Examples, Model, Subject, Tensors, Trained

MLP = architecture("lenet-6-5", (4,), 3)
CONVOLUTIONAL = of_module(
    lambda: nn.Sequential(
        nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 3)
    ),
    (1, 5, 5),
)


def subject(model: Model, features: tuple[int, ...], share: float, n: int = 50) -> Subject:
    """An untrained network on random examples, of whose prunable weights about this share is kept."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(n, *features)).astype(np.float32))
    y = torch.from_numpy(rng.integers(0, 3, n))
    weights = fresh(model, "kaiming:bias=uniform", 0)
    weights |= {name: torch.from_numpy(rng.random(shape, np.float32)) for name, shape in model.statistics.items()}
    masks = {name: torch.from_numpy(rng.random(model.shapes[name]) < share) for name in model.prunable}
    final = weights | {name: weights[name] * mask for name, mask in masks.items()}
    data = Data(Examples(x, y), Examples(x, y), 3, "")
    net = Trained(weights, final, masks)
    return Subject(net, model.forward, data, (y + 1) % 3, lambda *names: stream(0, *names), lambda: final, lambda: None)


def full(of: Subject, directions: str) -> Tensor:
    learned = {name: w for name, w in of.net.final.items() if "running" not in name}

    def loss(weights: Tensors) -> Tensor:
        together = {name: w.unsqueeze(0) for name, w in (of.net.final | weights).items()}
        return F.cross_entropy(of.forward(together, of.data.train.x[None], False)[0], of.labels)

    blocks: Any = torch.func.hessian(loss)(learned)
    rows = [[blocks[a][b].reshape(learned[a].numel(), learned[b].numel()) for b in learned] for a in learned]
    ways = [of.net.masks.get(name, torch.ones_like(w, dtype=torch.bool)).flatten() for name, w in learned.items()]
    kept = torch.cat(ways)
    matrix = torch.cat([torch.cat(row, 1) for row in rows])
    return matrix if directions == "all" else matrix[kept][:, kept]


@pytest.mark.parametrize("directions", ["unmasked", "all"])
@pytest.mark.parametrize(("model", "features"), [(MLP, (4,)), (CONVOLUTIONAL, (1, 5, 5))], ids=["mlp", "convolutional"])
def test_against_the_full_matrix(model: Model, features: tuple[int, ...], directions: str) -> None:
    of = subject(model, features, 0.4)
    found = sharpness.measure(of, directions=directions, probes=60)
    matrix = full(of, directions)
    exact = torch.linalg.eigvalsh(matrix).flip(0)
    assert found.values["hessian_size"] == len(matrix)
    assert found.values["hessian_top"] == pytest.approx(float(exact[0]), rel=1e-3)
    assert all(row["value"] < 1e-3 for row in found.rows if row["part"] == "eigenvalue error")
    assert abs(found.values["hessian_trace"] - float(matrix.trace())) < 3 * found.values["hessian_trace_error"]
    top = [row["value"] for row in found.rows if row["part"] == "eigenvalue"]
    np.testing.assert_allclose(top, exact[:5], rtol=1e-3)
    assert sum(row["value"] for row in found.rows if row["part"] == "density") == pytest.approx(1)


def test_examples_in_pieces_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    of = subject(MLP, (4,), 0.4)
    whole = sharpness.measure(of).values
    monkeypatch.setattr(curvature, "ROOM", 4 * 7)
    for name, value in sharpness.measure(of).values.items():
        assert value == pytest.approx(whole[name], rel=1e-3, abs=1e-6)
    assert sharpness.measure(of, examples=20).values["hessian_top"] != pytest.approx(whole["hessian_top"], rel=1e-3)


A, W = torch.tensor([3.0, 1.0, 0.5]), {"w": torch.tensor([1.0, -2.0, 4.0])}
EVERY = {"w": torch.ones(3, dtype=torch.bool)}
TWO = {"w": torch.tensor([True, True, False])}


def quadratic(weights: Tensors) -> Tensor:
    return 2 + (A * weights["w"].square()).sum() / 2


def test_sam_on_a_quadratic() -> None:
    """L(w + rho g / |g|) - L(w) = rho |g| + rho^2 g'Ag / 2|g|^2, g = Aw."""
    for ways, g in ((EVERY, torch.tensor([3.0, -2.0, 2.0])), (TWO, torch.tensor([3.0, -2.0, 0.0]))):
        by_hand = 0.1 * g.norm() + 0.01 * (A * g.square()).sum() / (2 * g.square().sum())
        assert sharpness.sam([quadratic], W, ways, 0.1) == pytest.approx(float(by_hand), rel=1e-5)
    assert sharpness.sam([quadratic], {"w": torch.zeros(3)}, EVERY, 0.1) == 0


def test_the_box_of_keskar_on_a_quadratic() -> None:
    """Its highest point is the corner that leads away from 0: |w_i| + epsilon (|w_i| + 1) in each coordinate."""
    here = float(quadratic(W))
    for ways, moved in ((EVERY, [1.2, 2.3, 4.5]), (TWO, [1.2, 2.3, 4.0])):
        there = float(quadratic({"w": torch.tensor(moved)}))
        assert sharpness.box([quadratic], W, ways, 0.1) == pytest.approx(100 * (there - here) / (1 + here), rel=1e-5)


def test_the_box_goes_on_to_higher_corners() -> None:
    """The first slope points to (1, 1), but (1, -1) is the highest corner of this convex loss."""
    matrix, slope = torch.tensor([[9.0, -4.0], [-4.0, 2.0]]), torch.tensor([0.2, 0.01])

    def convex(weights: Tensors) -> Tensor:
        return slope @ weights["w"] + weights["w"] @ matrix @ weights["w"] / 2

    start, ways = {"w": torch.zeros(2)}, {"w": torch.ones(2, dtype=torch.bool)}
    corners = [float(convex({"w": torch.tensor([a, b])})) for a in (-1.0, 1.0) for b in (-1.0, 1.0)]
    assert corners[2] == max(corners) > corners[3]
    assert sharpness.box([convex], start, ways, 1.0) == pytest.approx(100 * corners[2])


def test_what_it_cannot_be_asked() -> None:
    of = subject(MLP, (4,), 0.4)
    with pytest.raises(ValueError, match="unknown directions 'masked'; did you mean 'unmasked'"):
        sharpness.measure(of, directions="masked")
    with pytest.raises(ValueError, match="probes from 2 and from starts"):
        sharpness.measure(of, starts=3, probes=2)
