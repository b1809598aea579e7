"""Effective parameters: against the full matrix of torch.func.hessian, and within the stated error of it."""

import pytest
import torch

from sddcli.analyses.effective_parameters import measure, quadrature
from sddcli.core.curvature import Ritz
from sddcli.core.types import Model
from sddcli.core.words import Positive, UsageError
from tests.analyses.test_sharpness import CONVOLUTIONAL, MLP, full, subject


@pytest.mark.parametrize("alpha", [0.01, 0.1])
@pytest.mark.parametrize("share", [0.4])
def test_it_is_that_of_the_full_matrix(share: float, alpha: float) -> None:
    of = subject(MLP, (4,), share)
    eigenvalues = torch.linalg.eigvalsh(full(of, "unmasked").double()).clamp_min(0)
    exact = float((eigenvalues / (eigenvalues + alpha)).sum())
    found = measure(of, alpha=Positive(alpha), steps=100, probes=100).values
    assert found["n_eff"] == pytest.approx(exact, rel=0.01, abs=0.02) and found["n_eff_error"] == 0


@pytest.mark.parametrize("steps", [10, 20, 40])
@pytest.mark.parametrize(("model", "features"), [(MLP, (4,)), (CONVOLUTIONAL, (1, 5, 5))], ids=["mlp", "convolutional"])
def test_few_steps_and_probes_are_within_their_error(model: Model, features: tuple[int, ...], steps: int) -> None:
    of = subject(model, features, 1.0)
    eigenvalues = torch.linalg.eigvalsh(full(of, "unmasked").double()).clamp_min(0)
    exact = float((eigenvalues / (eigenvalues + 0.01)).sum())
    found = measure(of, alpha=Positive(0.01), steps=steps, probes=30).values
    assert 0 < found["n_eff_error"] < 0.5 * exact
    assert abs(found["n_eff"] - exact) < 2 * found["n_eff_error"]


def test_the_sum_by_hand() -> None:
    ritz = Ritz(torch.tensor([-1.0, 0.0, 0.5, 2.0]), torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.zeros(4))
    assert quadrature(ritz, 0.5) == pytest.approx(0.3 * 0.5 + 0.4 * 0.8)


@pytest.mark.parametrize("words", [{"probes": 1}, {"steps": 0}, {"examples": 0}])
def test_numbers_out_of_range_are_one_line(words: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="takes examples and steps from 1, and probes from 2"):
        measure(subject(MLP, (4,), 1.0), **words)
