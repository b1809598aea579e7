"""Masks: exact counts, nesting, ties, for all inputs."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sddcli.core.masks import apply, density, full, keep, kept, top

SHAPES = {"a": (4, 5), "b": (3,), "c": (2, 2, 3)}
SIZE = 35


def scores_of(values: list[float]) -> dict[str, torch.Tensor]:
    pieces = torch.tensor(values).split([20, 3, 12])
    return {name: piece.view(shape) for (name, shape), piece in zip(SHAPES.items(), pieces, strict=True)}


VALUES = st.lists(st.sampled_from([0.0, 1.0, 2.0, -1.0, 0.5]), min_size=SIZE, max_size=SIZE).map(scores_of)


@given(VALUES, VALUES, st.integers(0, SIZE), st.integers(0, SIZE))
def test_counts_are_exact_and_masks_nest(
    first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], a: int, b: int
) -> None:
    a, b = max(a, b), min(a, b)
    outer = keep(first, full(first), a)
    inner = keep(second, outer, b)
    assert density(outer) == a / SIZE and density(inner) == b / SIZE
    assert all((outer[name] | ~inner[name]).all() for name in SHAPES)


@given(VALUES, VALUES, st.integers(0, 20), st.integers(0, 20))
def test_the_top_of_several_models_is_what_each_would_keep(
    first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], a: int, b: int
) -> None:
    both = torch.stack([first["a"], second["a"]])
    chosen = top(both, torch.tensor([a, b]))
    for m, count in enumerate((a, b)):
        alone = {"a": both[m]}
        assert torch.equal(chosen[m], keep(alone, full(alone), count)["a"]) and chosen[m].sum() == count


@given(VALUES, st.integers(0, SIZE))
def test_the_highest_stay_and_ties_go_to_the_lower_index(scores: dict[str, torch.Tensor], count: int) -> None:
    flat = np.concatenate([score.numpy().ravel() for score in scores.values()])
    expected = np.zeros(SIZE, bool)
    expected[sorted(range(SIZE), key=lambda i: (-flat[i], i))[:count]] = True
    chosen = keep(scores, full(scores), count)
    assert np.array_equal(np.concatenate([mask.numpy().ravel() for mask in chosen.values()]), expected)


@given(st.integers(1, 10**7), st.floats(0.01, 0.9), st.integers(0, 60))
def test_kept_is_the_nearest_whole_number(size: int, rate: float, level: int) -> None:
    assert abs(kept(size, rate, level) - size * (1 - rate) ** level) <= 0.5
    assert kept(size, rate, level + 1) <= kept(size, rate, level) <= size == kept(size, rate, 0)


def test_kept_of_the_paper() -> None:
    assert [kept(265_200, 0.2, level) for level in (0, 1, 2, 26)] == [265_200, 212_160, 169_728, 802]


def test_apply_makes_pruned_weights_exactly_zero() -> None:
    weights = {"a": torch.tensor([float("inf"), -2.0]), "bias": torch.tensor([3.0])}
    assert apply({"a": torch.tensor([False, True])}, weights)["a"].tolist() == [0.0, -2.0]
    assert apply({"a": torch.tensor([False, True])}, weights)["bias"].tolist() == [3.0]


def test_errors() -> None:
    scores = {"a": torch.tensor([1.0, float("nan")])}
    with pytest.raises(ValueError, match="not numbers"):
        keep(scores, full(scores), 1)
    with pytest.raises(ValueError, match="cannot keep 2 weights of 1"):
        keep({"a": torch.ones(2)}, {"a": torch.tensor([True, False])}, 2)


def test_equal_scores_are_kept_by_what_was_drawn_for_them_where_it_was() -> None:
    scores = {"a": torch.tensor([0.0, 5.0, 0.0]), "b": torch.tensor([0.0, 0.0, 7.0])}
    ties = {"a": torch.tensor([0.1, 0.0, 0.9]), "b": torch.tensor([0.8, 0.2, 0.0])}
    kept = keep(scores, full(scores), 4, ties)
    assert kept["a"].tolist() == [False, True, True] and kept["b"].tolist() == [True, False, True]
    first = keep(scores, full(scores), 4)
    assert first["a"].tolist() == [True, True, True] and first["b"].tolist() == [False, False, True]
