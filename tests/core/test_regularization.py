"""Regularization: steps against a few lines of plain torch; each model's change is its own."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sddcli.core.lessons import supervised
from sddcli.core.losses import cross_entropy
from sddcli.core.models import convnet, mlp
from sddcli.core.regularization import INITIAL, REGULARIZATIONS, changed
from sddcli.core.seeds import stream
from sddcli.core.types import STATISTICS, Model, Tensors
from sddcli.core.words import pick

X = torch.from_numpy(stream(0, "x").standard_normal((2, 12, 1, 8, 8), dtype="float32"))
Y = torch.from_numpy(stream(0, "y").integers(3, size=(2, 12)))
WORDS = ("slimming:strength=0.01", "distance:strength=0.1", "critical:share=0.3")


def drawn(model: Model, name: str) -> Tensors:
    draw = stream(0, name)
    shapes = model.shapes | model.statistics
    return {n: torch.from_numpy(draw.standard_normal((2, *s), dtype="float32")).abs() + 0.1 if n.endswith("var") else
            torch.from_numpy(draw.standard_normal((2, *s), dtype="float32")) for n, s in shapes.items()}  # fmt: skip


def gradients_of(model: Model, word: str, rows: slice = slice(2)) -> tuple[Tensors, Tensors, Tensors]:
    """The weights, the initialization and the gradients that training gets, of these models side by side."""
    weights = {n: w[rows] for n, w in drawn(model, "now").items()}
    initial = {n: w[rows] for n, w in drawn(model, "initial").items()}
    learned = {n: w for n, w in weights.items() if not n.endswith(STATISTICS)}
    fixed = {n: w.clone() for n, w in weights.items() if n not in learned} | {INITIAL + n: initial[n] for n in learned}
    gradients = {n: torch.empty_like(w) for n, w in learned.items()}
    lesson = changed(supervised(model.forward, cross_entropy), pick("regularization", word, REGULARIZATIONS))
    lesson(learned, fixed, gradients)(X[rows], Y[rows])
    return weights, initial, gradients


def loss_of(model: Model, weights: Tensors, leaves: Tensors, m: int) -> Tensor:
    one = {n: leaves.get(n, w[m]).unsqueeze(0) for n, w in weights.items()}
    return F.cross_entropy(model.forward(one, X[m : m + 1], True).squeeze(0), Y[m])


@pytest.mark.parametrize("build", [convnet, lambda *shape: mlp((9,), *shape)], ids=["convnet", "mlp"])
@pytest.mark.parametrize("word", WORDS)
def test_gradients_are_those_of_plain_torch(word: str, build: object) -> None:
    model: Model = build((1, 8, 8), 3)  # type: ignore[operator]
    weights, initial, gradients = gradients_of(model, word)
    for m in range(2):
        leaves = {n: w[m].clone().requires_grad_() for n, w in weights.items() if not n.endswith(STATISTICS)}
        total = loss_of(model, {n: w.clone() for n, w in weights.items()}, leaves, m)
        if word.startswith("slimming"):
            scales = [n for n in leaves if model.statistics.get(n.replace("weight", "running_mean"))]
            assert len(scales) == (4 if model.statistics else 0)
            total = total + 0.01 * sum(leaves[n].abs().sum() for n in scales)
        if word.startswith("distance"):
            total = total + 0.1 / 2 * sum((w - initial[n][m]).square().sum() for n, w in leaves.items())
        total.backward()
        expected = {n: w.grad for n, w in leaves.items()}
        if word.startswith("critical"):
            names = [n for n, w in leaves.items() if w.dim() > 1]
            scores = torch.cat([(leaves[n] * leaves[n].grad).abs().flatten() for n in names]).detach()  # type: ignore[operator]
            least = scores.sort().values[-round(0.3 * len(scores))]
            for n in names:
                expected[n] = torch.where((leaves[n] * expected[n]).abs() >= least, expected[n], 0.0)  # type: ignore[operator, arg-type]
        for n, slope in expected.items():
            torch.testing.assert_close(gradients[n][m], slope, rtol=1e-4, atol=1e-5)


def test_only_so_many_weights_learn_of_those_that_are_left() -> None:
    model = mlp((9,), (1, 8, 8), 3)
    learned = drawn(model, "now")
    learned["hidden1.weight"][:, :4] = 0
    gradients = {n: torch.ones_like(w) for n, w in learned.items()}
    pick("regularization", "critical:share=0.25", REGULARIZATIONS).rule(learned, {}, gradients)()
    left = 5 * 64 + 27
    learning = sum((gradients[n] != 0).flatten(1).sum(1) for n in ("hidden1.weight", "output.weight"))
    assert learning.tolist() == [round(0.25 * left)] * 2 and (gradients["hidden1.bias"] == 1).all()


@pytest.mark.parametrize("word", WORDS)
def test_each_model_has_the_bits_it_has_alone(word: str) -> None:
    model = mlp((9,), (1, 8, 8), 3)
    together = gradients_of(model, word)[2]
    for m in range(2):
        alone = gradients_of(model, word, slice(m, m + 1))[2]
        assert all(torch.equal(slope[m], alone[n][0]) for n, slope in together.items())
