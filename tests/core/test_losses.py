"""Losses: against NumPy, written from their formulas; a sum over models of each one's mean."""

import numpy as np
import pytest
import torch

from sddcli.core.losses import LOSSES
from sddcli.core.words import pick

DRAW = np.random.default_rng(0)
LOGITS, Y = DRAW.standard_normal((3, 5, 4)), DRAW.integers(4, size=(3, 5))


def cross_entropy(smoothing: float) -> float:
    logs = LOGITS - np.log(np.exp(LOGITS).sum(2, keepdims=True))
    target = np.eye(4)[Y] * (1 - smoothing) + smoothing / 4
    return float(-(target * logs).sum(2).mean(1).sum())


EXPECTED = {
    "cross-entropy": cross_entropy(0),
    "cross-entropy:smoothing=0.3": cross_entropy(0.3),
    "mse": float(((LOGITS - np.eye(4)[Y]) ** 2).sum(2).mean(1).sum()),
}


def test_each_has_a_formula_here() -> None:
    assert set(LOSSES) <= set(EXPECTED)


@pytest.mark.parametrize("word", EXPECTED)
def test_formulas(word: str) -> None:
    found = pick("loss", word, LOSSES)(torch.from_numpy(LOGITS), torch.from_numpy(Y), {})
    assert float(found) == pytest.approx(EXPECTED[word])
