"""Lessons: gradients against autograd in double precision, by hand where they are drawn."""

import pytest
import torch
import torch.nn.functional as F

from sddcli.core import lessons
from sddcli.core.lessons import LESSONS
from sddcli.core.losses import cross_entropy
from sddcli.core.models import mlp
from sddcli.core.seeds import stream
from sddcli.core.types import Tensors
from sddcli.core.words import UsageError

MODEL = mlp((9, 7), (5,), 3)
X = torch.from_numpy(stream(0, "x").standard_normal((2, 12, 5), dtype="float32"))
Y = torch.from_numpy(stream(0, "y").integers(3, size=(2, 12)))


def weights() -> Tensors:
    draw = stream(0, "weights")
    return {n: torch.from_numpy(draw.standard_normal((2, *s), dtype="float32")) for n, s in MODEL.shapes.items()}


def test_a_score_learns_as_if_its_gate_were_its_probability() -> None:
    """dL/dscore by autograd in double precision, through p in place of the gate that was drawn."""
    learned, fixed = LESSONS["supermask"].split(weights(), MODEL.prunable, 0.6)
    chance = torch.from_numpy(stream(0, "chance").random((2, MODEL.size), dtype="float32"))
    gradients = {name: torch.zeros_like(score) for name, score in learned.items()}
    LESSONS["supermask"].lesson(MODEL.forward, cross_entropy)(learned, fixed, gradients)(X, Y, chance)

    gates = lessons.gates(learned, chance)
    assert all(0.4 < gate.mean() < 0.8 and set(gate.unique().tolist()) == {0, 1} for gate in gates.values())
    for m in range(2):
        scores = {name: score[m].double().requires_grad_() for name, score in learned.items()}
        h = X[m].double()
        for layer in ("hidden1", "hidden2", "output"):
            w = fixed[f"{layer}.weight"][m].double()
            if f"{layer}.weight" in scores:
                p = scores[f"{layer}.weight"].sigmoid()
                w = w * (gates[f"{layer}.weight"][m].double() + p - p.detach())
            h = F.linear(h, w, fixed[f"{layer}.bias"][m].double())
            h = h if layer == "output" else h.relu()
        F.cross_entropy(h, Y[m]).backward()
        for name, score in scores.items():
            torch.testing.assert_close(gradients[name][m].double(), score.grad, rtol=1e-4, atol=1e-7)


def test_gates_open_as_often_as_their_probability_says() -> None:
    scores = {"a": torch.full((1, 100, 100), -1.2), "b": torch.full((1, 50, 100), 2.0)}
    chance = torch.from_numpy(stream(4, "gates").random((1, 15_000), dtype="float32"))
    for name, gate in lessons.gates(scores, chance).items():
        p = float(scores[name].sigmoid().mean())
        assert abs(float(gate.mean()) - p) < 4 * (p * (1 - p) / gate.numel()) ** 0.5
    likely = lessons.gates(scores, None)
    assert not likely["a"].any() and likely["b"].all()


def test_the_network_of_a_supermask_is_the_frozen_weights_behind_open_gates() -> None:
    start = weights()
    learned, fixed = LESSONS["supermask"].split(start, MODEL.prunable, 0.6)
    learned["hidden1.weight"][:, 0] = -1.0
    network = LESSONS["supermask"].network(learned, fixed, None)
    assert not network["hidden1.weight"][:, 0].any() and torch.equal(
        network["hidden1.weight"][:, 1:], start["hidden1.weight"][:, 1:]
    )
    assert all(torch.equal(network[name], start[name]) for name in start if name != "hidden1.weight")


def test_gates_start_at_the_share_asked_for() -> None:
    learned, _ = LESSONS["supermask"].split(weights(), MODEL.prunable, 0.3)
    assert all(torch.allclose(score.sigmoid(), torch.tensor(0.3)) for score in learned.values())
    with pytest.raises(UsageError, match="cannot be open with probability 1"):
        LESSONS["supermask"].split(weights(), MODEL.prunable, 1.0)


@pytest.mark.parametrize("name", LESSONS)
def test_what_is_learned_and_fixed_makes_a_network_of_the_models_weights(name: str) -> None:
    start = weights()
    learned, fixed = LESSONS[name].split(start, MODEL.prunable, 0.5)
    network = LESSONS[name].network(learned, fixed, None)
    assert {key: w.shape for key, w in network.items()} == {key: w.shape for key, w in start.items()}
    assert set(MODEL.prunable) <= set(learned)
