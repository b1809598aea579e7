"""Allocation: exact totals, nested from level to level, densities as their papers define them."""

from math import prod

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sddcli.core.allocation import ALLOCATIONS, Kept, Shapes, apportioned
from sddcli.core.masks import kept
from sddcli.core.words import UsageError, pick

SHAPES: Shapes = {"conv1": (16, 3, 3, 3), "conv2": (32, 16, 3, 3), "conv3": (64, 32, 3, 3), "output": (10, 64)}
SIZES = {name: prod(shape) for name, shape in SHAPES.items()}
N = sum(SIZES.values())


def level_of(level: int) -> Kept:
    return lambda size, factor=1.0: kept(size, 0.2 * factor, level)


@pytest.mark.parametrize("name", [*ALLOCATIONS, "roles:output=0:conv=0.75"])
def test_counts_are_exact_within_their_layers_and_nest(name: str) -> None:
    before: dict[str, int] = {}
    chosen = pick("scope", name, ALLOCATIONS)
    for level in range(17 if name == "uniform-plus" else 40):
        counts = chosen.counts(SHAPES, level_of(level), "output")
        assert set(counts) in ({""}, set(SHAPES))
        assert all(0 <= count <= (SIZES[group] if group else N) for group, count in counts.items())
        if chosen.total:
            assert sum(counts.values()) == kept(N, 0.2, level)
        assert all(counts[group] <= was for group, was in before.items())
        before = counts


@pytest.mark.parametrize("name", [name for name, entry in ALLOCATIONS.items() if entry.total])
@settings(max_examples=30, deadline=None)
@example([(3, 8, 0), (1, 8, 0), (2, 4, 0)])  # shares whose ties floats break now so, now so
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from([0, 1, 2])), min_size=1, max_size=4))
def test_any_total_is_kept_exactly_and_none_grows_as_it_shrinks(name: str, sides: list[tuple[int, int, int]]) -> None:
    shapes: Shapes = {str(i): (a, b, k, k) if k else (a, b) for i, (a, b, k) in enumerate(sides)}
    sizes = {name: prod(shape) for name, shape in shapes.items()}
    before = {"": sum(sizes.values())} | sizes
    for total in range(sum(sizes.values()), -1, -1):
        try:
            counts = ALLOCATIONS[name].counts(shapes, lambda size, total=total: total, "none")
        except UsageError as error:
            assert f"keeps {total} weights, and scope uniform-plus keeps {total + 1} or more" in str(error)
            assert name == "uniform-plus" and sum(before[layer] for layer in shapes) == total + 1
            break
        assert sum(counts.values()) == total and all(count <= before[group] for group, count in counts.items())
        before = counts


def test_uniform_has_one_density_and_balanced_one_number() -> None:
    for total in (N, 20_000, 5_000, 77):
        counts = ALLOCATIONS["uniform"].counts(SHAPES, lambda size, total=total: total, "output")
        assert all(abs(counts[name] - size * total / N) <= 1 for name, size in SIZES.items())
    alike = ALLOCATIONS["balanced"].counts(SHAPES, lambda size: 4_000, "output")
    assert alike == {"conv1": 432, "output": 640, "conv2": 1464, "conv3": 1464}
    assert set(ALLOCATIONS["balanced"].counts(SHAPES, lambda size: 400, "output").values()) == {100}


def test_uniform_plus_leaves_the_first_convolution_dense_and_a_fifth_of_the_last_layer() -> None:
    for total in (N, 12_000, 6_000, 5_400, 2_000, 560):
        counts = ALLOCATIONS["uniform-plus"].counts(SHAPES, lambda size, total=total: total, "output")
        density = (total - 432) / (N - 432)
        assert counts["conv1"] == 432 and counts["output"] == max(128, counts["output"])
        if density > 0.2:
            assert all(abs(counts[name] / SIZES[name] - density) < 0.01 for name in ("conv2", "conv3", "output"))
        else:
            assert counts["output"] == 128
            assert abs(counts["conv2"] / 4608 - counts["conv3"] / 18432) < 0.001
    linear = ALLOCATIONS["uniform-plus"].counts({"a": (10, 10), "b": (10, 10)}, lambda size: 22, "b")
    assert linear == {"a": 2, "b": 20}, "a first layer that is no convolution is as the others"


def test_rates_by_role_are_those_of_the_papers() -> None:
    """Conv-6 of Frankle & Carbin: 15 % of the convolutions, 20 % of the hidden layers, 10 % of the output layer."""
    shapes: Shapes = {"conv": (64, 3, 3, 3), "hidden": (256, 100), "output": (10, 256)}
    counts = pick("scope", "roles:conv=0.75", ALLOCATIONS).counts(shapes, level_of(5), "output")
    assert counts == {"conv": kept(1728, 0.15, 5), "hidden": kept(25600, 0.2, 5), "output": kept(2560, 0.1, 5)}
    assert counts == {"conv": 767, "hidden": 8389, "output": 1512}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("roles", "prunes the output layer at 0.5 times the rate, and output.weight of this network is never pruned"),
        ("roles:output=1:conv=0.5", "prunes convolutions at 0.5 times the rate, and this network has none"),
        ("roles:output=-1", "cannot read 'output=-1': it takes a finite number, 0 or more"),
        ("roles:fc=1", "unknown parameter of scope 'roles': 'fc'"),
    ],
)
def test_layers_that_a_network_has_not(word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pick("scope", word, ALLOCATIONS).counts({"hidden1.weight": (3, 4)}, level_of(1), "output.weight")


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
    counts = ALLOCATIONS["erk"].counts(SHAPES, lambda size: total, "output")
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
