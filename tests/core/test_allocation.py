"""Allocation: exact totals, nested from level to level, densities as their papers define them."""

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sddcli.core.allocation import ALLOCATIONS, Shapes, apportioned
from sddcli.core.masks import kept

SHAPES: Shapes = {"conv1": (16, 3, 3, 3), "conv2": (32, 16, 3, 3), "conv3": (64, 32, 3, 3), "output": (10, 64)}
SIZES = {name: prod(shape) for name, shape in SHAPES.items()}
N = sum(SIZES.values())


@pytest.mark.parametrize("name", ALLOCATIONS)
def test_counts_are_exact_within_their_layers_and_nest(name: str) -> None:
    before: dict[str, int] = {}
    for level in range(40):
        counts = ALLOCATIONS[name].counts(SHAPES, lambda size, level=level: kept(size, 0.2, level))
        assert set(counts) in ({""}, set(SHAPES))
        assert all(0 <= count <= (SIZES[group] if group else N) for group, count in counts.items())
        if ALLOCATIONS[name].total:
            assert sum(counts.values()) == kept(N, 0.2, level)
        assert all(counts[group] <= was for group, was in before.items())
        before = counts


@pytest.mark.parametrize("total", [N, N - 1, 20_000, 10_000, 3_000, 500, 17])
def test_erk_solves_for_its_factor_again_after_clamping(total: int) -> None:
    """Its densities, real numbers, by NumPy: those that would be above 1 are 1, and the rest are solved for again."""
    dims, sizes = (np.array([f(shape) for shape in SHAPES.values()], float) for f in (sum, prod))
    full = np.zeros(len(sizes), bool)
    while True:
        factor = (total - sizes[full].sum()) / dims[~full].sum() if not full.all() else 0.0
        above = ~full & (factor * dims / sizes > 1)
        if not above.any():
            break
        full |= above
    expected = np.where(full, sizes, factor * dims)
    counts = ALLOCATIONS["erk"].counts(SHAPES, lambda size: total)
    assert sum(counts.values()) == total and np.abs(np.array(list(counts.values())) - expected).max() <= 1
    assert (total < 10_000) or full.any(), "a layer is dense in the larger ones"


@given(
    st.lists(st.tuples(st.integers(1, 60), st.floats(0.01, 100)), min_size=1, max_size=6),
    st.integers(0, 10**6),
)
def test_apportioned_is_exact_and_never_grows_when_the_total_shrinks(parts: list[tuple[int, float]], n: int) -> None:
    sizes = {str(i): size for i, (size, _) in enumerate(parts)}
    shares = {str(i): share for i, (_, share) in enumerate(parts)}
    total = n % (sum(sizes.values()) + 1)
    counts = apportioned(shares, sizes, total)
    assert sum(counts.values()) == total and all(0 <= counts[name] <= sizes[name] for name in sizes)
    if total:
        fewer = apportioned(shares, sizes, total - 1)
        assert all(fewer[name] <= counts[name] for name in sizes)


def test_more_than_there_is() -> None:
    with pytest.raises(ValueError, match="11 weights are more than the 10 that there are"):
        apportioned({"a": 1.0}, {"a": 10}, 11)
