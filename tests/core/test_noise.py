"""Noise: each kind against its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sddcli.core.noise import NOISES, flip, symmetric
from sddcli.core.seeds import stream

N, C = 60_000, 10
LABELS = np.arange(N) % C


@pytest.mark.parametrize("kind", NOISES)
@given(rate=st.floats(0, 1), n=st.integers(1, 300))
def test_at_most_the_stated_share_is_touched(kind: str, rate: float, n: int) -> None:
    labels = np.arange(n) % C
    noisy = NOISES[kind](labels, rate, C, stream(0, "noise"))
    assert noisy.dtype == np.int64 and noisy.shape == (n,) and noisy.min() >= 0 and noisy.max() < C
    assert (noisy != labels).sum() <= np.ceil(round(rate * n, 6))


@pytest.mark.parametrize("kind", NOISES)
def test_the_given_labels_are_left_alone_and_no_noise_is_none(kind: str) -> None:
    before = LABELS.copy()
    assert (NOISES[kind](LABELS, 0.0, C, stream(0, "noise")) == LABELS).all()
    NOISES[kind](LABELS, 0.5, C, stream(0, "noise"))
    assert (before == LABELS).all()


def test_flip_makes_exactly_its_share_wrong() -> None:
    for rate, n in ((0.2, N), (0.07, 100), (1.0, 50), (0.15, 1297)):
        labels = LABELS[:n]
        assert (flip(labels, rate, C, stream(1, "noise")) != labels).sum() == np.ceil(round(rate * n, 6))


def test_confusion_matrices() -> None:
    """symmetric: 1 - e + e/C on the diagonal, e/C off it; flip: 1 - e and e/(C - 1)."""
    rate = 0.4
    for noise, off in ((symmetric, rate / C), (flip, rate / (C - 1))):
        noisy = noise(LABELS, rate, C, stream(2, "noise"))
        confusion = np.zeros((C, C))
        np.add.at(confusion, (LABELS, noisy), C / N)
        expected = np.full((C, C), off) + np.eye(C) * (1 - off * C)
        assert np.abs(confusion - expected).max() < 5 * np.sqrt(0.25 * C / N)
