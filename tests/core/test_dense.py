"""Dense: the gradient written out is autograd's, for any number of models and any batch, masked or not."""

import pytest
import torch
from torch import Tensor

from sddcli.core.inits import fresh
from sddcli.core.losses import cross_entropy
from sddcli.core.models import mlp
from sddcli.core.precisions import PRECISIONS
from sddcli.core.seeds import stream
from sddcli.core.types import Model, Slopes, Tensors

FEATURES, CLASSES = (1, 8, 8), 10
NETS = {"two hidden layers": mlp((300, 100), FEATURES, CLASSES), "none": mlp((), FEATURES, CLASSES)}


def slopes_of(model: Model) -> Slopes:
    assert model.slopes
    return model.slopes


def weights_of(model: Model, models: int, kept: float = 1.0) -> Tensors:
    """Fresh weights of which a share is kept, the others 0, and biases that are not 0."""
    nets = [fresh(model, "kaiming:bias=uniform", seed) for seed in range(models)]
    weights = {name: torch.stack([net[name] for net in nets]) for name in model.shapes}
    draw = stream(0, "kept")
    return {name: w * torch.from_numpy(draw.random(w.shape) < kept) for name, w in weights.items()}


def batch_of(models: int, size: int) -> tuple[Tensor, Tensor]:
    x = torch.from_numpy(stream(0, "x").standard_normal((models, size, *FEATURES), dtype="float32"))
    return x, torch.from_numpy(stream(0, "y").integers(CLASSES, size=(models, size)))


def by_autograd(model: Model, weights: Tensors, x: Tensor, y: Tensor) -> Tensors:
    """In float64: what the written out one can be wrong by is then its own."""
    leaves = {name: w.double().requires_grad_() for name, w in weights.items()}
    found = torch.autograd.grad(cross_entropy(model.forward(leaves, x.double(), True), y, leaves), [*leaves.values()])
    return {name: gradient.float() for name, gradient in zip(leaves, found, strict=True)}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("kept", [1.0, 0.2])
@pytest.mark.parametrize("models", [1, 2, 3, 8])
def test_it_is_autograds_for_one_batch_after_another(models: int, kept: float, net: str) -> None:
    model = NETS[net]
    weights = weights_of(model, models, kept)
    into = {name: torch.full_like(w, torch.nan) for name, w in weights.items()}
    write = slopes_of(model)(weights, into)
    for size in (64, 17, 1, 64):  # a short last batch, one of 1, and a full one of the next epoch
        x, y = batch_of(models, size)
        write(x, y)
        for name, expected in by_autograd(model, weights, x, y).items():
            torch.testing.assert_close(into[name], expected, rtol=1e-4, atol=1e-6, msg=f"{name}, {size} examples")
        for w in weights.values():
            w.mul_(0.9)  # in place, as training does


@pytest.mark.parametrize("net", NETS)
def test_in_bf16_it_is_as_near_to_the_true_one_as_autograds(net: str) -> None:
    """Of each tensor, by its norm; batches and weights of 8 bits are off by some percent."""
    model = NETS[net]
    weights = weights_of(model, 3, kept=0.5)
    into = {name: torch.full_like(w, torch.nan) for name, w in weights.items()}
    leaves = {name: w.clone().requires_grad_() for name, w in weights.items()}
    write = slopes_of(model)(weights, into)
    for size in (64, 17, 64):
        x, y = batch_of(3, size)
        with PRECISIONS["bf16"]("cpu"):
            write(x, y)
            loss = cross_entropy(model.forward(leaves, x, True), y, leaves)
        rounded = dict(zip(leaves, torch.autograd.grad(loss, [*leaves.values()]), strict=True))
        for name, exact in by_autograd(model, weights, x, y).items():
            mine, usual = (float((each - exact).norm() / exact.norm()) for each in (into[name], rounded[name]))
            assert into[name].dtype == torch.float32 and 1e-4 < mine < 1.5 * usual + 0.01 < 0.2, name


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("models", [2, 3, 5, 8, 16])
def test_bits_do_not_depend_on_m(models: int, precision: str) -> None:
    """At the sizes of LeNet-300-100: small products take other paths, and so do batches of 1."""
    with PRECISIONS[precision]("cpu"):
        _bits_do_not_depend_on_m(models)


def _bits_do_not_depend_on_m(models: int) -> None:
    model = NETS["two hidden layers"]
    weights = weights_of(model, models)
    together = {name: torch.zeros_like(w) for name, w in weights.items()}
    for size in (128, 64, 17, 2, 1):
        x, y = batch_of(models, size)
        slopes_of(model)(weights, together)(x, y)
        for m in range(models):
            own = {name: w[m : m + 1].clone() for name, w in weights.items()}
            alone = {name: torch.zeros_like(w) for name, w in own.items()}
            slopes_of(model)(own, alone)(x[m : m + 1].clone(), y[m : m + 1].clone())
            for name, gradient in alone.items():
                assert torch.equal(gradient[0], together[name][m]), f"{name}, {size} examples"
