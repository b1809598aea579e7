"""Sharpness: the curvature of the training loss where training has ended, and how fast the loss rises around it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sddcli.core import curvature
from sddcli.core.curvature import LossPart, Ritz
from sddcli.core.types import Measurement, Subject, Tensors
from sddcli.core.words import UsageError, unknown

DECADES = np.arange(-3, 3.01, 0.25)
EDGES = np.concatenate([-(10 ** DECADES[::-1]), 10**DECADES])
"""Bins of eigenvalues: four to a decade from 0.001 to 1000 on either side, and one around 0."""
CORNERS = 10


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
) -> Measurement:
    """Of the mean cross-entropy L at the final weights w: labels as trained on, evaluation mode.

    On so many training examples, the same for each run of a data set. Directions are all learned parameters but
    pruned weights, or with directions=all these too; `hessian_size` is their number. `hessian_top` is the largest
    eigenvalue of the Hessian by `steps` of Lanczos, `hessian_trace` Hutchinson's from so many probes and
    `hessian_trace_error` its standard error; `sam_sharpness` and `epsilon_sharpness` are `sam` and `box` below.
    Rows: part `eigenvalue`: the `top` largest, `at` 1, 2, ...; part `eigenvalue error`: an eigenvalue is at most so
    far from that; part `density`: the share of eigenvalues in the bin around `at`, by Lanczos quadrature from
    `starts` of the probes. Holds `steps` vectors of `hessian_size`, and the graph of a few examples (see
    curvature.ROOM). Raises UsageError for other directions, or numbers out of range.
    """
    if directions not in ("unmasked", "all"):
        raise unknown("directions", directions, ("unmasked", "all"))
    if min(examples, top, steps, starts, probes - 1) < 1 or starts > probes:
        raise UsageError("sharpness takes examples, top, steps and starts from 1, and probes from 2 and from starts")
    at, ways, losses = subject.net.final, curvature.free(subject, directions), curvature.mean_losses(subject, examples)
    signs = _signs(subject, probes, len(curvature.vector(at, ways)))
    operator = curvature.hessian(losses, at, ways)
    runs = [curvature.lanczos(operator, v, steps) for v in signs[:starts]]
    ritz = [curvature.ritz(run) for run in runs]
    samples = [float(run.diagonal[0]) * len(signs[0]) for run in runs]  # v'Hv, for v = sqrt(D) q_1
    samples += [float(v @ operator(v)) for v in signs[starts:]]
    trace, error = curvature.hutchinson(torch.tensor(samples))
    values = {
        "hessian_top": float(ritz[0].values[-1]),
        "hessian_trace": trace,
        "sam_sharpness": sam(losses, at, ways, rho),
        "epsilon_sharpness": box(losses, at, ways, epsilon),
        "hessian_trace_error": error,
        "hessian_size": float(len(signs[0])),
    }
    return Measurement(values, _rows(ritz, top))


def sam(losses: Sequence[LossPart], at: Tensors, directions: Tensors, rho: float) -> float:
    """L(w + rho g / |g|) - L(w), g the gradient; 0 where that is 0 (Foret et al. 2021)."""
    here, slope = curvature.value_and_gradient(losses, at, directions)
    step = rho * slope / slope.norm().clamp_min(torch.finfo(slope.dtype).tiny)
    return curvature.value(losses, curvature.displaced(at, directions, step)) - here


def box(losses: Sequence[LossPart], at: Tensors, directions: Tensors, epsilon: float) -> float:
    """100 (max L(w + z) - L(w)) / (1 + L(w)) over |z_i| <= epsilon (|w_i| + 1) (Keskar et al. 2017, metric 2.1).

    The highest of ten corners of that box, each the one to which the gradient at the corner before points (Frank &
    Wolfe 1956, whole steps): where L is convex, L rises from each to the next. Keskar et al. climb by ten iterations of
    L-BFGS-B.
    """
    most = epsilon * (curvature.vector(at, directions).abs() + 1)
    low, slope = curvature.value_and_gradient(losses, at, directions)
    highest = low
    for _ in range(CORNERS):
        there = curvature.displaced(at, directions, most * slope.sign())
        value, slope = curvature.value_and_gradient(losses, there, directions)
        highest = max(highest, value)
    return 100 * (highest - low) / (1 + low)


def _signs(subject: Subject, probes: int, size: int) -> list[Tensor]:
    draws = [subject.stream("sharpness", "probe", k).integers(0, 2, size, dtype=np.int8) for k in range(probes)]
    return [torch.from_numpy(2 * draw - 1).to(subject.labels.device, torch.float32) for draw in draws]


def _rows(ritz: Sequence[Ritz], top: int) -> list[dict[str, object]]:
    parts = ("eigenvalue", ritz[0].values), ("eigenvalue error", ritz[0].errors)
    shares = curvature.spectral_density(ritz, torch.from_numpy(EDGES)).tolist()
    lows, highs = EDGES[:-1], EDGES[1:]
    middles = np.where(lows * highs > 0, np.sign(lows) * np.sqrt(np.abs(lows * highs)), 0.0)
    centres = [float(f"{middle:.3g}") for middle in middles]
    return [
        *(
            {"part": part, "at": float(k), "value": value}
            for part, values in parts
            for k, value in enumerate(values.flip(0)[:top].tolist(), 1)
        ),
        *({"part": "density", "at": at, "value": share} for at, share in zip(centres, shares, strict=True)),
    ]
