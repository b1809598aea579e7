"""Seeds: streams are reproducible, named, and independent."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sddcli.core.seeds import stream

NAMES = st.lists(st.one_of(st.text(max_size=5), st.integers(0, 9)), max_size=3)


def test_the_bits_are_pinned() -> None:
    """They decide every recorded result: where they change, by us or by NumPy, old runs cannot be repeated."""
    assert stream(3, "order", 12).integers(2**32, size=3).tolist() == [549053878, 2872209067, 1613963150]
    assert stream(3, "order", 12).permutation(8).tolist() == [5, 7, 2, 4, 0, 1, 3, 6]
    assert stream(3, "init").standard_normal(2, np.float32).tolist() == [-1.7158455848693848, 0.5415305495262146]


@given(st.integers(0, 2**70), NAMES, st.integers(0, 2**70), NAMES)
def test_streams_agree_exactly_when_seed_and_names_do(a: int, names_a: list[str], b: int, names_b: list[str]) -> None:
    same = (a, names_a) == (b, names_b)
    left, right = stream(a, *names_a).integers(2**62, size=4), stream(b, *names_b).integers(2**62, size=4)
    assert np.array_equal(left, right) == same


def test_neighbouring_seeds_are_uncorrelated() -> None:
    draws = np.stack([stream(seed, "noise").standard_normal(4000) for seed in range(8)])
    correlation = np.corrcoef(draws) - np.eye(8)
    assert np.abs(correlation).max() < 5 / np.sqrt(4000)
