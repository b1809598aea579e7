"""Evaluate: accuracies counted by hand, losses against torch, bits that do not depend on M."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sddcli.core import evaluate as module
from sddcli.core.evaluate import evaluate
from sddcli.core.inits import fresh
from sddcli.core.models import mlp
from sddcli.core.types import Data, Examples, Tensors


def echo(parameters: Tensors, x: Tensor, training: bool) -> Tensor:
    """Logits that favour the class written in x, shifted by the model's parameter."""
    classes = (x.squeeze(-1).long() + parameters["shift"].view(-1, 1).long()) % 4
    return F.one_hot(classes, 4).float() * 5


def test_accuracies_are_those_counted_by_hand() -> None:
    train = Examples(torch.tensor([[0.0], [1], [2], [3], [0]]), torch.tensor([0, 1, 2, 3, 1]))
    noisy = torch.tensor([[0, 1, 2, 0, 0], [0, 1, 2, 3, 1]])  # model 0: examples 3 and 4 wrong; model 1: none
    test = Examples(torch.tensor([[0.0], [1]]), torch.tensor([0, 2]))
    found, fitted = evaluate(
        echo, {"shift": torch.tensor([0.0, 1.0])}, Data(train, test, 4, "", held=test), noisy, noisy[:, :2]
    )
    # Model 0 says 0 1 2 3 0 and 0 1; model 1 says 1 2 3 0 1 and 1 2.
    assert found["train_accuracy"].tolist() == [4 / 5, 1 / 5]
    assert fitted.int().tolist() == [[1, 1, 1, 0, 1], [0, 0, 0, 0, 1]]
    assert found["clean_accuracy"].tolist() == [3 / 3, 1 / 5]
    assert found["memorized"][0] == 1 / 2 and found["memorized"][1].isnan()
    assert found["test_accuracy"].tolist() == [1 / 2, 1 / 2]
    assert found["validation_accuracy"].tolist() == [1, 0], "against the labels given for the examples held out"
    assert "validation_accuracy" not in evaluate(echo, {"shift": torch.zeros(2)}, Data(train, test, 4, ""), noisy)[0]


def test_losses_are_torchs_mean_cross_entropy_in_chunks_too(monkeypatch: object) -> None:
    model = mlp((9,), (5,), 4)
    x, y = torch.randn(50, 5, generator=torch.Generator().manual_seed(1)), torch.arange(50) % 4
    nets = {name: torch.stack([fresh(model, "kaiming", seed)[name] for seed in range(3)]) for name in model.shapes}
    noisy = torch.stack([y, (y + 1) % 4, y])
    data = Data(Examples(x, y), Examples(x[:7], y[:7]), 4, "")
    found, fitted = evaluate(model.forward, nets, data, noisy)
    logits = model.forward(nets, x.expand(3, -1, -1), False)
    for m in range(3):
        torch.testing.assert_close(found["train_loss"][m].float(), F.cross_entropy(logits[m], noisy[m]))
        torch.testing.assert_close(found["test_loss"][m].float(), F.cross_entropy(logits[m, :7], y[:7]))
        alone = {name: w[m : m + 1].clone() for name, w in nets.items()}
        single, bits = evaluate(model.forward, alone, data, noisy[m : m + 1])
        assert all(torch.equal(single[name][0], found[name][m]) for name in ("train_loss", "test_loss"))
        assert torch.equal(bits[0], fitted[m])
    monkeypatch.setattr(module, "CHUNK", 8)  # type: ignore[attr-defined]
    pieces = evaluate(model.forward, nets, data, noisy)[0]
    torch.testing.assert_close(pieces["train_loss"], found["train_loss"])
