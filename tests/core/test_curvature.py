"""Curvature: against the full Hessian of torch.func, and against curvlinops."""

from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sddcli.core import curvature
from sddcli.core.inits import fresh
from sddcli.core.models import architecture
from sddcli.core.types import Tensors

MODEL = architecture("lenet-6-5", (4,), 3)
AT = {name: w.double() for name, w in fresh(MODEL, "kaiming:bias=uniform", 0).items()}
DRAWN = torch.Generator().manual_seed(0)
X, Y = torch.randn(40, 4, generator=DRAWN, dtype=torch.float64), torch.randint(0, 3, (40,), generator=DRAWN)
ALL = {name: torch.ones_like(w, dtype=torch.bool) for name, w in AT.items()}
HALF = ALL | {name: torch.rand(AT[name].shape, generator=DRAWN) < 0.5 for name in MODEL.prunable}
SIZE = sum(prod(shape) for shape in MODEL.shapes.values())


def share(first: int, last: int) -> curvature.LossPart:
    def loss(weights: Tensors) -> Tensor:
        logits = MODEL.forward({name: w.unsqueeze(0) for name, w in weights.items()}, X[None, first:last], False)[0]
        return F.cross_entropy(logits, Y[first:last], reduction="sum") / len(Y)

    return loss


WHOLE, PIECES = [share(0, 40)], [share(0, 17), share(17, 40)]


def full(directions: Tensors) -> Tensor:
    """The Hessian as a matrix, of the entries that are directions: (D, D)."""
    blocks: Any = torch.func.hessian(WHOLE[0])(AT)
    rows = [[blocks[a][b].reshape(AT[a].numel(), AT[b].numel()) for b in AT] for a in AT]
    kept = torch.cat([directions[name].flatten() for name in AT])
    return torch.cat([torch.cat(row, 1) for row in rows])[kept][:, kept]


def signs(n: int, size: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).choice([-1.0, 1.0], (n, size)))


@pytest.mark.parametrize("losses", [WHOLE, PIECES], ids=["whole", "pieces"])
@pytest.mark.parametrize("directions", [ALL, HALF], ids=["all", "half"])
def test_products_and_gradient_are_those_of_the_full_matrix(
    losses: list[curvature.LossPart], directions: Tensors
) -> None:
    matrix, operator = full(directions), curvature.hessian(losses, AT, directions)
    for v in signs(3, len(matrix)):
        torch.testing.assert_close(operator(v), matrix @ v)
    value, slope = curvature.value_and_gradient(losses, AT, directions)
    slopes: Any = torch.func.grad(WHOLE[0])(AT)
    torch.testing.assert_close(slope, torch.cat([slopes[name][way] for name, way in directions.items()]))
    assert value == pytest.approx(float(WHOLE[0](AT))) == curvature.value(losses, AT)


def test_a_vector_and_its_tensors_are_each_others() -> None:
    v = torch.arange(1.0, float(sum(way.sum() for way in HALF.values())) + 1)
    spread = curvature.tensors(v, HALF)
    assert torch.equal(curvature.vector(spread, HALF), v)
    assert all(not spread[name][~way].any() for name, way in HALF.items())
    moved = curvature.displaced(AT, HALF, v.double())
    assert all(torch.equal(moved[name] - AT[name] != 0, way) for name, way in HALF.items())


@pytest.mark.parametrize("directions", [ALL, HALF], ids=["all", "half"])
def test_eigenvalues_are_those_of_the_full_matrix(directions: Tensors) -> None:
    matrix = full(directions)
    exact = torch.linalg.eigvalsh(matrix)
    operator = curvature.hessian(WHOLE, AT, directions)
    found = curvature.ritz(curvature.lanczos(operator, signs(1, len(matrix))[0], 30))
    torch.testing.assert_close(found.values[-5:], exact[-5:], rtol=1e-3, atol=0)
    nearest = (found.values[:, None] - exact).abs().min(1).values
    assert (nearest <= found.errors).all() and float(found.errors.max()) > 1e-6 > float(found.errors[-1])
    assert float(found.weights.sum()) == pytest.approx(1)


def test_in_single_precision_too() -> None:
    exact = torch.linalg.eigvalsh(full(HALF))
    matrix = full(HALF).float()
    found = curvature.ritz(curvature.lanczos(lambda v: matrix @ v, signs(1, len(matrix))[0].float(), len(matrix)))
    torch.testing.assert_close(found.values[-5:], exact[-5:], rtol=1e-3, atol=0)
    assert (found.values > 0.5 * exact[-1]).sum() == (exact > 0.5 * exact[-1]).sum(), "no eigenvalue comes twice"


def test_lanczos_ends_where_the_krylov_space_does() -> None:
    eigenvalues = torch.tensor([1.0, 1.0, 1.0, 4.0, 4.0], dtype=torch.float64)
    found = curvature.ritz(curvature.lanczos(lambda v: eigenvalues * v, signs(1, 5)[0], 30))
    torch.testing.assert_close(found.values, torch.tensor([1.0, 4.0], dtype=torch.float64))
    torch.testing.assert_close(found.weights, torch.tensor([0.6, 0.4], dtype=torch.float64))


def test_quadrature_over_a_basis_counts_every_eigenvalue() -> None:
    matrix = full(HALF)
    exact, size = torch.linalg.eigvalsh(matrix), len(matrix)
    edges = torch.tensor([-1.0, -0.01, 0.001, 0.02, 0.1, 0.5, 1.0], dtype=torch.float64)
    runs = [
        curvature.ritz(curvature.lanczos(lambda v: matrix @ v, start, size))
        for start in torch.eye(size, dtype=torch.float64)
    ]
    shares = curvature.spectral_density(runs, edges)
    counts = torch.stack([((exact > a) & (exact <= b)).sum() for a, b in pairwise(edges)])
    counts[0] += (exact <= edges[0]).sum()
    counts[-1] += (exact > edges[-1]).sum()
    torch.testing.assert_close(shares * size, counts.double(), rtol=0, atol=1e-4)
    assert (counts > 0).sum() > 3


@pytest.mark.parametrize("directions", [ALL, HALF], ids=["all", "half"])
def test_the_trace_is_within_its_stated_error(directions: Tensors) -> None:
    matrix = full(directions)
    samples = torch.stack([v @ matrix @ v for v in signs(400, len(matrix))])
    trace, error = curvature.hutchinson(samples)
    assert abs(trace - float(matrix.trace())) < 3 * error < 0.5 * trace
    # The variance of v'Hv over signs is twice the sum of the squares off the diagonal.
    spread = 2 * (matrix.square().sum() - matrix.diagonal().square().sum())
    assert error == pytest.approx(float((spread / 400).sqrt()), rel=0.15)


def test_against_curvlinops() -> None:
    pytest.importorskip("curvlinops", reason="a development dependency, which a borrowed machine need not have")
    from curvlinops import HessianLinearOperator, hutchinson_trace
    from scipy.sparse.linalg import eigsh

    sizes = [(4, 6), (6, 5), (5, 3)]
    layers = [nn.Linear(*size, dtype=torch.float64) for size in sizes]
    parameters = [p for layer in layers for p in layer.parameters()]
    for parameter, w in zip(parameters, AT.values(), strict=True):
        parameter.data = w.clone()
    net = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    theirs = HessianLinearOperator(net, nn.CrossEntropyLoss(), parameters, [(X[:17], Y[:17]), (X[17:], Y[17:])])
    ours = curvature.hessian(PIECES, AT, ALL)
    for v in signs(3, SIZE):
        torch.testing.assert_close(ours(v), theirs @ v)
    top = eigsh(theirs.to_scipy(), k=5, which="LA", return_eigenvectors=False)
    found = curvature.ritz(curvature.lanczos(ours, signs(1, SIZE)[0], 30)).values[-5:]
    np.testing.assert_allclose(found, np.sort(top), rtol=1e-3)
    torch.manual_seed(0)
    trace, error = curvature.hutchinson(torch.stack([v @ ours(v) for v in signs(80, SIZE)]))
    assert abs(trace - float(hutchinson_trace(theirs, 80))) < 3 * 2**0.5 * error
