"""Sharpness: the curvature of the training loss where training has ended, and how fast the loss rises around it."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize
from torch import Tensor

from sddcli.core import curvature
from sddcli.core.curvature import Loss
from sddcli.core.seeds import stream
from sddcli.core.types import Found, Subject, Tensors, learned
from sddcli.core.words import unknown

ROOM = 2**17
"""The most numbers of inputs that are differentiated at once: twice through a ResNet takes 25 MB an example."""
DECADES = np.arange(-3, 3.01, 0.25)
EDGES = np.concatenate([-(10 ** DECADES[::-1]), 10**DECADES])
"""Bins of eigenvalues: four to a decade from 0.001 to 1000 on either side, and one around 0."""
ITERATIONS = 10


def measure(
    subject: Subject,
    *,
    examples: int = 256,
    directions: str = "unmasked",
    top: int = 5,
    steps: int = 25,
    starts: int = 2,
    probes: int = 20,
    rho: float = 0.05,
    epsilon: float = 1e-3,
) -> Found:
    """Of the mean cross-entropy L on training labels as trained on, evaluation mode, at the final weights w.

    On so many training examples, the same of every run of the data set. Directions are all learned parameters but
    pruned weights, or with directions=all these too. `hessian_top` is the largest eigenvalue of the Hessian,
    `hessian_top_error` how far from it an eigenvalue lies at most, by `steps` of Lanczos; `hessian_trace` and its
    standard error are Hutchinson's of so many probes. `sam_sharpness` is L(w + rho g / |g|) - L(w) for the gradient
    g (Foret et al. 2021), `epsilon_sharpness` 100 (max L(w + z) - L(w)) / (1 + L(w)) over |z_i| <= epsilon (|w_i| + 1),
    by ten iterations of L-BFGS-B (Keskar et al. 2017). Rows: part `eigenvalue`: the `top` largest, at 1, 2, ...;
    part `density`: the share of eigenvalues in the bin with its middle at `at`, by Lanczos quadrature from `starts`
    of the probes. Memory: `steps` vectors of the size of the network, and the graph of ROOM numbers of inputs.
    """
    if directions not in ("unmasked", "all"):
        raise unknown("directions", directions, ("unmasked", "all"))
    if min(examples, top, steps, starts, probes - 1) < 1 or starts > probes:
        raise ValueError(f"sharpness needs 1 <= starts <= probes, probes > 1, not starts={starts}, probes={probes}")
    at = subject.net.final
    ways = _directions(subject, directions)
    losses = _losses(subject, examples)
    operator = curvature.hessian(losses, at, ways)
    signs = _signs(subject, probes, sum(int(way.sum()) for way in ways.values()))
    runs = [curvature.lanczos(operator, v, steps) for v in signs[:starts]]
    ritz = [curvature.ritz(run) for run in runs]
    samples = [float(run.diagonal[0]) * len(v) for run, v in zip(runs, signs, strict=False)]
    samples += [float(v @ operator(v)) for v in signs[starts:]]
    trace, error = curvature.hutchinson(torch.tensor(samples))
    first, last = ritz[0], len(ritz[0].values)
    values = {
        "hessian_top": float(first.values[-1]),
        "hessian_top_error": float(first.errors[-1]),
        "hessian_trace": trace,
        "hessian_trace_error": error,
        "sam_sharpness": sam(losses, at, ways, rho),
        "epsilon_sharpness": box(losses, at, ways, epsilon),
    }
    rows = [
        {"part": "eigenvalue", "at": k + 1.0, "value": float(first.values[last - 1 - k])} for k in range(min(top, last))
    ]
    shares = curvature.spectral_density(ritz, torch.from_numpy(EDGES)).tolist()
    rows += [{"part": "density", "at": at, "value": share} for at, share in zip(_middles(), shares, strict=True)]
    return Found(values, rows)


def _directions(subject: Subject, directions: str) -> Tensors:
    """Where there is a direction, (*shape) bool, of each parameter."""
    masks = subject.net.masks if directions == "unmasked" else {}
    return {
        name: masks[name].bool() if name in masks else torch.ones_like(w, dtype=torch.bool)
        for name, w in sorted(learned(subject.net.final).items())
    }


def _losses(subject: Subject, examples: int) -> Sequence[Loss]:
    """The mean loss on the chosen examples, in pieces that add up to it."""
    x, n = subject.data.train.x, len(subject.labels)
    chosen = stream(0, "analysis", "sharpness", "examples").permutation(n)[:examples]
    pieces = torch.from_numpy(np.sort(chosen)).to(x.device).split(max(1, ROOM // x[0].numel()))

    def share(piece: Tensor) -> Loss:
        def loss(weights: Tensors) -> Tensor:
            together = {name: w.unsqueeze(0) for name, w in weights.items()}
            logits = subject.forward(together, x[piece].unsqueeze(0), False).squeeze(0)
            return F.cross_entropy(logits, subject.labels[piece], reduction="sum") / len(chosen)

        return loss

    return [share(piece) for piece in pieces]


def _signs(subject: Subject, probes: int, size: int) -> list[Tensor]:
    draws = [subject.stream("sharpness", "probe", k).integers(0, 2, size, dtype=np.int8) for k in range(probes)]
    device = subject.labels.device
    return [torch.from_numpy(2 * draw - 1).to(device, torch.float32) for draw in draws]


def sam(losses: Sequence[Loss], at: Tensors, ways: Tensors, rho: float) -> float:
    """L(w + rho g / |g|) - L(w), 0 where g is (Foret et al. 2021)."""
    here, slope = curvature.value_and_gradient(losses, at, ways)
    step = rho * slope / slope.norm().clamp_min(torch.finfo(slope.dtype).tiny)
    return curvature.value(losses, curvature.moved(at, ways, step)) - here


def box(losses: Sequence[Loss], at: Tensors, ways: Tensors, epsilon: float) -> float:
    """100 (max L(w + z) - L(w)) / (1 + L(w)) over |z_i| <= epsilon (|w_i| + 1) (Keskar et al. 2017, metric 2.1).

    The highest that ten iterations of L-BFGS-B find, as there.
    """
    here = curvature.vector(at, ways)
    most = epsilon * (here.abs().double().cpu().numpy() + 1)

    def loss(u: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """L(w + most u) and its slope in u, which is between -1 and 1."""
        moved = curvature.moved(at, ways, torch.from_numpy(most * u).to(here))
        value, slope = curvature.value_and_gradient(losses, moved, ways)
        return value, most * slope.double().cpu().numpy()

    start = np.zeros_like(most)
    low, first = loss(start)
    # In units of its first slope and without tolerances: the loss of a fitted network and its slope are nearly 0.
    unit = max(float(np.abs(first).mean()), np.finfo(float).tiny)
    highest = minimize(
        lambda u: tuple(-part / unit for part in loss(u)),
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(-np.ones_like(most), np.ones_like(most)),
        options={"maxiter": ITERATIONS, "ftol": 0.0, "gtol": 0.0},
    )
    return 100 * (-float(highest.fun) * unit - low) / (1 + low)


def _middles() -> list[float]:
    """Of each bin, geometric, 0 of the one around 0."""
    lows, highs = EDGES[:-1], EDGES[1:]
    found = np.where(lows * highs > 0, np.sign(lows) * np.sqrt(np.abs(lows * highs)), 0.0)
    return [float(f"{middle:.3g}") for middle in found]
