"""Effective parameters: how many directions of the weights the training loss decides (Maddox et al. 2020)."""

from math import ceil, hypot

import numpy as np
import torch

from sddcli.core import curvature
from sddcli.core.curvature import Ritz, Tridiagonal
from sddcli.core.types import Measurement, Subject
from sddcli.core.words import Positive, UsageError

ALPHA = Positive(0.001)


def measure(
    subject: Subject, *, alpha: Positive = ALPHA, examples: int = 256, steps: int = 40, probes: int = 8
) -> Measurement:
    """N_eff = sum of eigenvalue / (eigenvalue + alpha) over the positive eigenvalues of the Hessian of the mean loss.

    Of the loss and the directions that `sharpness` looks at: all learned parameters but pruned weights. `n_eff` is by
    Lanczos quadrature with so many `steps` from so many `probes` of random signs. `n_eff_error` is the standard error
    over these and, squares added, how far it is from that of half as many steps or of three quarters, whichever is
    further: about what quadrature lacks, which goes up and down with the steps.
    Of no more directions than steps and probes all unit vectors are taken instead, and it is exact. No rows. Raises
    UsageError for numbers out of range.
    """
    if min(examples, steps, probes - 1) < 1:
        raise UsageError("effective-parameters takes examples and steps from 1, and probes from 2")
    at, ways = subject.net.final, curvature.free(subject)
    operator = curvature.hessian(curvature.mean_losses(subject, examples), at, ways)
    size = len(curvature.vector(at, ways))
    whole = size <= min(steps, probes)
    starts = torch.eye(size) if whole else torch.stack([_signs(subject, k, size) for k in range(probes)])
    runs = [curvature.lanczos(operator, start, steps) for start in starts.to(subject.labels.device)]
    each = torch.tensor([quadrature(curvature.ritz(run), float(alpha)) for run in runs], dtype=torch.float64)
    if whole:
        return Measurement({"n_eff": float(each.sum()), "n_eff_error": 0.0}, [])
    fewer = [
        sum(quadrature(curvature.ritz(_begun(run, steps, share)), float(alpha)) for run in runs) / len(runs)
        for share in (0.5, 0.75)
    ]
    # A vector of signs stands for the mean over all directions.
    spread, lacking = float(each.std()) / len(each) ** 0.5, max(abs(float(each.mean()) - mean) for mean in fewer)
    return Measurement({"n_eff": size * float(each.mean()), "n_eff_error": size * hypot(spread, lacking)}, [])


def _begun(run: Tridiagonal, steps: int, share: float) -> Tridiagonal:
    """What a share of the steps would have given; all of a run that ended early, since it is exact."""
    kept = ceil(share * steps) if len(run.diagonal) == steps else len(run.diagonal)
    return run._replace(diagonal=run.diagonal[:kept], off_diagonal=run.off_diagonal[:kept])


def quadrature(ritz: Ritz, alpha: float) -> float:
    """v' f(H) v of a unit vector v, from the Krylov space that it starts: f(x) = x / (x + alpha) for x > 0, else 0."""
    values = ritz.values.clamp_min(0)
    return float((ritz.weights * values / (values + alpha)).sum())


def _signs(subject: Subject, k: int, size: int) -> torch.Tensor:
    draw = subject.stream("effective-parameters", "probe", k).integers(0, 2, size, dtype=np.int8)
    return torch.from_numpy(2 * draw - 1).to(torch.float32)
