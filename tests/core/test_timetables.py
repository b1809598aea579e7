"""Timetables: what happens when, on counts alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sddcli.core.seeds import stream
from sddcli.core.timetables import Context, Length, gradual, rigl, set_
from sddcli.core.types import State, Tensors
from sddcli.core.words import UsageError


def counts_of(steps: int, **ramp: float) -> dict[int, list[dict[str, int]]]:
    """What each event keeps of 1,000 weights, of which two models keep 200 and 999 in the end."""
    asked: list[list[dict[str, int]]] = []

    def pruned(state: State, counts: Sequence[Mapping[str, int]]) -> Tensors:
        asked.append([dict(each) for each in counts])
        return {"a": torch.ones(2, 1, dtype=torch.bool)}

    context = Context([{"": 1000}] * 2, [{"": 200}, {"": 999}], pruned, lambda state: {}, stream)
    table, state = gradual(Length(steps), **ramp), State({}, {}, {}, {})  # type: ignore[arg-type]
    for step in sorted(table):
        assert table[step](state, context).masks["a"].all()
    return dict(zip(sorted(table), asked, strict=True))


def test_sparsity_follows_the_cubic_ramp_to_the_exact_counts() -> None:
    asked = counts_of(1000, start=0.1, end=0.5, events=8)
    assert list(asked) == [150, 200, 250, 300, 350, 400, 450, 500]
    for k, step in enumerate(asked, 1):
        sparsity = 0.8 * (1 - (1 - k / 8) ** 3)
        assert abs(asked[step][0][""] - 1000 * (1 - sparsity)) <= 0.501
    assert asked[500] == [{"": 200}, {"": 999}]
    first = [counts[0][""] for counts in asked.values()]
    assert first == sorted(first, reverse=True)


def test_at_most_one_event_a_step_and_the_last_is_exact() -> None:
    asked = counts_of(10, start=0.0, end=0.5, events=100)
    assert list(asked) == [0, 1, 2, 3, 4, 5] and asked[5] == [{"": 200}, {"": 999}]


def test_a_ramp_leaves_steps_to_train_at_its_density() -> None:
    with pytest.raises(UsageError, match="a ramp that ends at step 3 of 3 leaves no step"):
        gradual(Length(3), end=0.99)


SHAPES = {"a": (40, 25), "b": (30, 4, 3, 3), "empty": (7, 2), "full": (5, 5)}
SHARES = {"a": 0.2, "b": 0.9, "empty": 0.0, "full": 1.0}


def sparse(models: int) -> State:
    """Weights of random values under random masks, pruned ones 0."""
    masks = {name: torch.from_numpy(stream(0, name).random((models, *SHAPES[name])) < SHARES[name]) for name in SHAPES}
    weights = {name: torch.from_numpy(stream(1, name).standard_normal((models, *SHAPES[name]))) for name in SHAPES}
    return State({name: w.where(masks[name], 0.0) for name, w in weights.items()}, {}, masks, {}, step=300)


def slopes_of(state: State) -> Tensors:
    return {
        name: torch.from_numpy(stream(2, name).standard_normal(tuple(w.shape))) for name, w in state.learned.items()
    }


CONTEXT = Context([], [], lambda state, counts: {}, slopes_of, stream)


def by_hand(weight: NDArray[np.float64], mask: NDArray[np.bool_], score: NDArray[np.float64], share: float) -> Any:
    """The same of one layer in NumPy: sort, cut, fill in."""
    w, kept, score = weight.ravel(), mask.ravel(), score.ravel()
    alive, dead = np.flatnonzero(kept), np.flatnonzero(~kept)
    number = min(int(np.floor(share * len(alive) + 0.5)), len(dead))
    after = kept.copy()
    after[alive[np.argsort(np.abs(w[alive]))[:number]]] = False
    after[dead[np.argsort(-score[dead])[:number]]] = True
    return after.reshape(mask.shape)


@pytest.mark.parametrize("word", ["rigl", "set"])
def test_small_weights_go_and_as_many_dead_ones_come_as_a_few_lines_of_numpy_say(word: str) -> None:
    state = sparse(3)
    share = 0.3 / 2 * (1 + np.cos(np.pi * 300 / 750)) if word == "rigl" else 0.3
    after = {"rigl": rigl, "set": set_}[word](Length(1000, 10))[300](state, CONTEXT)
    slopes = slopes_of(state)
    for name, kept in state.masks.items():
        for m in range(3):
            drawn = stream(m, 300, "grow", name).random(SHAPES[name])
            score = slopes[name][m].abs().numpy() if word == "rigl" else drawn
            hand = by_hand(state.learned[name][m].numpy(), kept[m].numpy(), score, share)
            assert np.array_equal(after.masks[name][m].numpy(), hand), (name, m)
            assert int(after.masks[name][m].sum()) == int(kept[m].sum())
        assert torch.equal(after.learned[name], state.learned[name])
        moves = SHARES[name] not in (0, 1)
        assert bool((after.masks[name] != kept).any()) == moves, "a layer that is empty or full stays"


@pytest.mark.parametrize("word", ["rigl", "set"])
def test_growth_never_picks_a_living_weight_though_its_gradient_is_the_largest(word: str) -> None:
    """Also where nearly all are alive, so that fewer are dead than would go."""
    for density in (0.05, 0.5, 0.99):
        state = sparse(1)
        state.masks["a"] = torch.from_numpy(stream(5).random((1, *SHAPES["a"])) < density)
        large = {name: mask * 1e6 + 1.0 for name, mask in state.masks.items()}
        context = CONTEXT._replace(gradients=lambda state, large=large: large)
        after = {"rigl": rigl, "set": set_}[word](Length(1000, 10))[300](state, context).masks["a"]
        gone, new = state.masks["a"] & ~after, after & ~state.masks["a"]
        assert int(gone.sum()) == int(new.sum()) > 0 and not state.masks["a"][new].any()


def test_weights_move_at_whole_intervals_before_the_end() -> None:
    assert list(rigl(Length(1000, 10))) == [100, 200, 300, 400, 500, 600, 700]
    assert list(set_(Length(1000, 100), every="2ep", end=1.0)) == [200, 400, 600, 800]
    with pytest.raises(UsageError, match="would move first before step 100, and last before step 75 of 100: take a sh"):
        rigl(Length(100, 10))


def test_a_diverged_network_is_told_of() -> None:
    state = sparse(1)
    state.learned["a"] = state.learned["a"] * torch.nan
    with pytest.raises(UsageError, match="diverged"):
        set_(Length(1000, 10))[300](state, CONTEXT)
