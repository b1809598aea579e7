"""Noise: each kind against its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sddcli.core.noise import NOISES, Classes, asymmetric, cycles, flip, pairflip, symmetric
from sddcli.core.seeds import stream
from sddcli.data import outline

N, C = 60_000, 10
TEN = Classes(C, (0, 1, 7, 8, 4, 6, 5, 7, 8, 9))
LABELS = np.arange(N) % C


@pytest.mark.parametrize("kind", NOISES)
@given(rate=st.floats(0, 1), n=st.integers(1, 300))
def test_at_most_the_stated_share_is_touched(kind: str, rate: float, n: int) -> None:
    labels = np.arange(n) % C
    noisy = NOISES[kind](labels, rate, TEN, stream(0, "noise"))
    assert noisy.dtype == np.int64 and noisy.shape == (n,) and noisy.min() >= 0 and noisy.max() < C
    per_class = C if kind == "asymmetric" else 1  # which rounds up in each class
    assert (noisy != labels).sum() <= rate * n + per_class


@pytest.mark.parametrize("kind", NOISES)
def test_the_given_labels_are_left_alone_and_no_noise_is_none(kind: str) -> None:
    before = LABELS.copy()
    assert (NOISES[kind](LABELS, 0.0, TEN, stream(0, "noise")) == LABELS).all()
    NOISES[kind](LABELS, 0.5, TEN, stream(0, "noise"))
    assert (before == LABELS).all()


def test_flip_makes_exactly_its_share_wrong() -> None:
    for rate, n in ((0.2, N), (0.07, 100), (1.0, 50), (0.15, 1297)):
        labels = LABELS[:n]
        assert (flip(labels, rate, TEN, stream(1, "noise")) != labels).sum() == np.ceil(round(rate * n, 6))


def test_confusion_matrices() -> None:
    """symmetric: 1 - e + e/C on the diagonal, e/C off it; flip: 1 - e and e/(C - 1)."""
    rate = 0.4
    for noise, off in ((symmetric, rate / C), (flip, rate / (C - 1))):
        noisy = noise(LABELS, rate, TEN, stream(2, "noise"))
        confusion = np.zeros((C, C))
        np.add.at(confusion, (LABELS, noisy), C / N)
        expected = np.full((C, C), off) + np.eye(C) * (1 - off * C)
        assert np.abs(confusion - expected).max() < 5 * np.sqrt(0.25 * C / N)


def test_pairflip_goes_to_the_next_class_exactly_as_often_as_said() -> None:
    noisy = pairflip(LABELS, 0.3, TEN, stream(0, "noise"))
    wrong = noisy != LABELS
    assert wrong.sum() == 0.3 * N and (noisy[wrong] == (LABELS[wrong] + 1) % C).all()


@pytest.mark.parametrize(
    ("data", "pairs"),
    [
        ("mnist", {2: 7, 3: 8, 5: 6, 6: 5}),
        ("digits", {2: 7, 3: 8, 5: 6, 6: 5}),
        (
            "cifar10",
            {2: 0, 4: 7, 9: 1, 3: 5, 5: 3},
        ),  # bird, deer, truck, cat <-> dog
    ],
)
def test_asymmetric_confuses_the_papers_pairs_exactly(data: str, pairs: dict[int, int]) -> None:
    noisy = asymmetric(LABELS, 0.4, Classes(C, outline(data).similar), stream(0, "noise"))
    for label in range(C):
        given = noisy[label == LABELS]
        assert (given == label).sum() == (0.6 if label in pairs else 1.0) * N / C
        assert label not in pairs or (given == pairs[label]).sum() == 0.4 * N / C


def test_cycles_go_to_the_next_of_a_group_and_from_the_last_to_the_first() -> None:
    assert cycles([0, 1, 0, 1, 0, 2]) == (2, 3, 4, 1, 0, 5)


def test_the_published_blocks_are_another_noise_by_name() -> None:
    labels = np.arange(1000) % 100
    noisy = NOISES["asymmetric"](labels, 1.0, Classes(100), stream(0, "noise"), map="blocks")
    assert (noisy == labels // 5 * 5 + (labels + 1) % 5).all()


def test_asymmetric_needs_to_know_similar_classes() -> None:
    with pytest.raises(ValueError, match="which classes are similar"):
        asymmetric(LABELS, 0.1, Classes(C), stream(0, "noise"))
    with pytest.raises(ValueError, match="did you mean 'blocks'"):
        asymmetric(LABELS, 0.1, TEN, stream(0, "noise"), map="block")
