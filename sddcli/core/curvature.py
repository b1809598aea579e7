"""Curvature: a loss around a point by its gradient and Hessian, through products with vectors only.

Vectors are (D,): the entries of the parameters that are directions, one after the other. Nothing of size D x D is
ever held.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sddcli.core.seeds import stream
from sddcli.core.types import Subject, Tensors, learned

LossPart = Callable[[Tensors], Tensor]
"""Parameters (*shape) -> (): a part of the loss, e.g. that of some of the examples. The loss is their sum."""
Operator = Callable[[Tensor], Tensor]
"""v: (D,) -> H v: (D,), symmetric."""
ROOM = 2**17
"""How many input values are differentiated twice at once, at most: their graph has to fit in memory."""
TWICE = 2
"""Gram-Schmidt done twice is enough (Giraud et al. 2005)."""


class Tridiagonal(NamedTuple):
    """T = Q'HQ in the Krylov space of a start vector, float64: its diagonal alpha (K,) and off_diagonal beta (K,).

    beta_K is no entry of T: it couples q_K to the next Krylov vector, and bounds the error of the eigenvalues.
    rounding: the relative rounding error of the products that T was made from.
    """

    diagonal: Tensor
    off_diagonal: Tensor
    rounding: float


class Ritz(NamedTuple):
    """Eigenvalues of T, all (K,) float64: `values`, ascending; their `weights` in the start vector, which sum to 1;
    `errors`: how far from each value the nearest eigenvalue of H is at most.
    """

    values: Tensor
    weights: Tensor
    errors: Tensor


def free(subject: Subject, directions: str = "unmasked") -> Tensors:
    """Parameter -> which of its entries are directions, (*shape) bool: all that are learned, "all", or not pruned."""
    masks = subject.net.masks if directions == "unmasked" else {}
    weights = sorted(learned(subject.net.final).items())  # a file does not keep the order
    return {name: masks.get(name, torch.ones_like(w)).bool() for name, w in weights}


def mean_losses(subject: Subject, examples: int) -> Sequence[LossPart]:
    """The mean cross-entropy on so many training examples, those of a data set, in pieces that add up to it.

    In evaluation mode, against the labels that were trained on.
    """
    x = subject.data.train.x
    # Not the run's own stream: other examples at each level would be noise in the curve.
    order = stream(0, "analysis", "sharpness", "examples").permutation(len(x))
    chosen = torch.from_numpy(np.sort(order[:examples])).to(x.device)

    def part(piece: Tensor) -> LossPart:
        def loss(weights: Tensors) -> Tensor:
            together = {name: w.unsqueeze(0) for name, w in weights.items()}
            logits = subject.forward(together, x[piece].unsqueeze(0), False).squeeze(0)
            return F.cross_entropy(logits, subject.labels[piece], reduction="sum") / len(chosen)

        return loss

    return [part(piece) for piece in chosen.split(max(1, ROOM // x[0].numel()))]


def vector(tensors: Tensors, directions: Tensors) -> Tensor:
    """(D,) the entries of `tensors` (*shape) where `directions` (*shape) bool are True, in the order of their names."""
    return torch.cat([tensors[name][where] for name, where in directions.items()])


def tensors(vector: Tensor, directions: Tensors) -> Tensors:
    """(*shape) the tensors that have the entries of `vector`, (D,), and 0 where there is no direction: its adjoint."""
    parts = vector.split([int(where.sum()) for where in directions.values()])
    return {
        name: torch.zeros(where.shape, dtype=vector.dtype, device=vector.device).masked_scatter(where, part)
        for (name, where), part in zip(directions.items(), parts, strict=True)
    }


def displaced(at: Tensors, directions: Tensors, step: Tensor) -> Tensors:
    """(*shape) w + step, where w = `at`, (*shape), and step is (D,) along the directions."""
    along = tensors(step, directions)
    return at | {name: at[name] + along[name] for name in directions}


@torch.no_grad()
def value(losses: Sequence[LossPart], at: Tensors) -> float:
    """L, the sum of `losses`, at w = `at`, (*shape)."""
    return sum(float(loss(at)) for loss in losses)


def value_and_gradient(losses: Sequence[LossPart], at: Tensors, directions: Tensors) -> tuple[float, Tensor]:
    """L, the sum of `losses`, and dL/dw, (D,), at w = `at`, (*shape)."""
    value, gradient = 0.0, torch.zeros_like(vector(at, directions))
    for loss in losses:
        leaves = _leaves(at, directions)
        part = loss(at | leaves)
        slopes = torch.autograd.grad(part, list(leaves.values()))
        value += float(part.detach())
        gradient += vector(dict(zip(leaves, slopes, strict=True)), directions)
    return value, gradient


def hessian(losses: Sequence[LossPart], at: Tensors, directions: Tensors) -> Operator:
    """H v = d/dw <dL/dw, v> at w = `at`, (*shape), by double backward (Pearlmutter 1994), loss part by loss part.

    Of a ReLU network it is the Hessian where the loss is smooth: kinks have no part in it. The graph of one part is
    in memory at a time; a single part's graph is kept for all products.
    """

    def slopes(loss: LossPart) -> tuple[Tensors, Sequence[Tensor]]:
        leaves = _leaves(at, directions)
        return leaves, torch.autograd.grad(loss(at | leaves), list(leaves.values()), create_graph=True)

    graph = slopes(losses[0]) if len(losses) == 1 else None

    def product(v: Tensor) -> Tensor:
        total, along = torch.zeros_like(v), list(tensors(v, directions).values())
        for loss in losses:
            leaves, first = graph or slopes(loss)
            second = torch.autograd.grad(first, list(leaves.values()), along, retain_graph=graph is not None)
            total += vector(dict(zip(leaves, second, strict=True)), directions)
        return total

    return product


def _leaves(at: Tensors, directions: Tensors) -> Tensors:
    return {name: at[name].detach().requires_grad_() for name in directions}


def lanczos(operator: Operator, start: Tensor, steps: int) -> Tridiagonal:
    """beta_k q_k+1 = H q_k - alpha_k q_k - beta_k-1 q_k-1 from q_1 = start / |start|, (D,) (Lanczos 1950).

    With full reorthogonalization: without it, rounding makes copies of eigenvalues. Holds `steps` vectors. Ends
    early where the Krylov space does.
    """
    steps = min(steps, len(start))
    basis = torch.zeros(steps, len(start), dtype=start.dtype, device=start.device)
    diagonal, off_diagonal, q = [], [], start / start.norm()
    rounding = 10 * torch.finfo(start.dtype).eps
    for k in range(steps):
        basis[k] = q
        w = operator(q)
        size = float(w.norm())
        diagonal.append(float(q @ w))
        for _ in range(TWICE):
            w = w - (basis[: k + 1] @ w) @ basis[: k + 1]
        off_diagonal.append(float(w.norm()))
        if off_diagonal[-1] <= rounding * size:
            break
        q = w / off_diagonal[-1]
    alpha, beta = torch.tensor(diagonal, dtype=torch.float64), torch.tensor(off_diagonal, dtype=torch.float64)
    return Tridiagonal(alpha, beta, rounding)


def ritz(T: Tridiagonal) -> Ritz:
    """T = S diag(theta) S': values theta, weights S_1k^2, errors beta_K |S_Kk| (Parlett 1980) and rounding."""
    inner = T.off_diagonal[:-1]
    values, S = torch.linalg.eigh(torch.diag(T.diagonal) + torch.diag(inner, 1) + torch.diag(inner, -1))
    return Ritz(values, S[0].square(), T.off_diagonal[-1] * S[-1].abs() + T.rounding * values.abs().max())


def spectral_density(samples: Sequence[Ritz], edges: Tensor) -> Tensor:
    """Share of the eigenvalues of H in each of the bins between `edges` (B + 1,): (B,), by Lanczos quadrature.

    (1/D) #{k: lambda_k in bin} = E[sum of the weights of Ritz values in bin] over random start vectors (Ghorbani,
    Krishnan & Xiao 2019; Yao et al. 2020, PyHessian). What lies outside all bins is counted in the outermost.
    """
    total = torch.zeros(len(edges) - 1, dtype=torch.float64)
    for sample in samples:
        bins = torch.bucketize(sample.values, edges[1:-1].double())
        total.index_add_(0, bins, sample.weights)
    return total / len(samples)


def hutchinson(samples: Tensor) -> tuple[float, float]:
    """tr H = E[v'Hv] over v of independent signs (Hutchinson 1990), and its standard error.

    samples: (n,) values of v'Hv, n > 1.
    """
    samples = samples.double()
    return float(samples.mean()), float(samples.std() / len(samples) ** 0.5)
