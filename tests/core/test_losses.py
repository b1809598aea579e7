"""Losses: against NumPy, written from their formulas; a sum over models of each one's mean."""

from typing import Any

import numpy as np
import pytest
import torch

from sddcli.core.losses import LOSSES
from sddcli.core.words import UsageError, pick

DRAW = np.random.default_rng(0)
LOGITS, Y = DRAW.standard_normal((3, 5, 4)), DRAW.integers(4, size=(3, 5))


def cross_entropy(smoothing: float) -> float:
    logs = LOGITS - np.log(np.exp(LOGITS).sum(2, keepdims=True))
    target = np.eye(4)[Y] * (1 - smoothing) + smoothing / 4
    return float(-(target * logs).sum(2).mean(1).sum())


TAUGHT = DRAW.standard_normal((3, 5, 4))


def softened(logits: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]", temperature: float) -> Any:
    powers = np.exp(logits / temperature)
    return powers / powers.sum(2, keepdims=True)


EXPECTED = {
    "cross-entropy": cross_entropy(0),
    "cross-entropy:smoothing=0.3": cross_entropy(0.3),
    "distill": cross_entropy(0),  # without a teacher, as criteria see it
    "mse": float(((LOGITS - np.eye(4)[Y]) ** 2).sum(2).mean(1).sum()),
}


@pytest.mark.parametrize(("word", "temperature", "share"), [("", 10, 0.8), (":temperature=3:share=0.25", 3, 0.25)])
def test_a_teacher_is_followed_by_the_divergence_from_its_softened_answers(
    word: str, temperature: float, share: float
) -> None:
    """KL(teacher || student): that of the published code, whose other direction would be larger here."""
    p, q = softened(TAUGHT, temperature), softened(LOGITS, temperature)
    apart = float((p * np.log(p / q)).sum(2).mean(1).sum())
    found = pick("loss", f"distill{word}", LOSSES)(*map(torch.from_numpy, (LOGITS, Y)), {}, torch.from_numpy(TAUGHT))
    assert float(found) == pytest.approx(share * temperature**2 * apart + (1 - share) * cross_entropy(0))


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("teacher=best", "it takes dense, or a level of the lottery chain, such as 12"),
        ("teacher=0", "it takes dense, or a level"),
        ("share=1.5", "it takes a share from 0 to 1"),
        ("share=nan", "it takes a share from 0 to 1"),
        ("temperature=0", "it takes a finite number above 0"),
    ],
)
def test_what_a_teacher_cannot_be(setting: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"cannot read '{setting}': {why}"):
        pick("loss", f"distill:{setting}", LOSSES)


def test_each_has_a_formula_here() -> None:
    assert set(LOSSES) <= set(EXPECTED)


@pytest.mark.parametrize("word", EXPECTED)
def test_formulas(word: str) -> None:
    found = pick("loss", word, LOSSES)(torch.from_numpy(LOGITS), torch.from_numpy(Y), {})
    assert float(found) == pytest.approx(EXPECTED[word])
