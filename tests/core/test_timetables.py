"""Timetables: what happens when, on counts alone."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sddcli.core.channels import living
from sddcli.core.masks import apply
from sddcli.core.models import architecture
from sddcli.core.seeds import stream
from sddcli.core.stacking import single
from sddcli.core.timetables import Context, Length, events, gradual, rigl, set_
from sddcli.core.types import State, Tensors
from sddcli.core.words import Answer, UsageError


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


MODEL = architecture("convnet:width=4", (1, 8, 8), 10)
LAYERS = MODEL.channels()


def network(models: int) -> tuple[State, Context]:
    """M networks of four convolutions with BatchNorm, all of it there, and what their events look at: |w|."""
    weights = {
        name: torch.from_numpy(stream(3, name).standard_normal((models, *shape), dtype="float32"))
        for name, shape in (MODEL.shapes | MODEL.statistics).items()
    }
    masks = {name: torch.ones((models, *MODEL.shapes[name]), dtype=torch.bool) for name in MODEL.prunable}
    masks |= {name: torch.ones(models, each.size, dtype=torch.bool) for each in LAYERS for name in each.vectors}

    def scores(state: State, m: int) -> Tensors:
        return {name: state.learned[name][m].abs() for name in MODEL.prunable}

    learned = {name: weights[name] for name in MODEL.shapes}
    fixed = {name: weights[name] for name in MODEL.statistics}
    context = CONTEXT._replace(
        sizes=[{"": 100}] * models, targets=[{"": 50}] * models, scores=scores, channels=LAYERS
    )  # fmt: skip
    return State(learned, fixed, masks, {}), context


def cut_off(state: State) -> State:
    """As the engine has it: what masks remove is 0."""
    return replace(state, learned=apply(state.masks, state.learned))


def left(state: State, m: int = 0) -> list[int]:
    return [int(living(single(state.masks, m), each).sum()) for each in LAYERS]


def test_filters_go_along_the_ramp_of_each_layer() -> None:
    """kept(i) = ceil(final + (N - final) * (n - i) / n), by hand; the widths are 4, 8, 16 and 32."""
    words = {"period": "2ep", "start": "1/2", "end": "7/8", "share": "0.3/0.9", "layers": 2}
    table, (state, context) = events(Length(100, 10, 4), **words), network(2)  # type: ignore[arg-type]
    assert sorted(table) == [10, 20, 30, 40, 50, 60, 70, 80]
    seen = []
    for step in sorted(table):
        state = cut_off(table[step](state, context))
        assert left(state, 0) == left(state, 1)
        seen.append(left(state)[2:])
    ramps = [[np.ceil(n - n * share * i / 4 - 1e-9) for i in (1, 2, 3, 4)] for n, share in ((16, 0.3), (32, 0.9))]
    assert [a for a, _ in seen[::2]] == ramps[0] and [b for _, b in seen[1::2]] == ramps[1]
    assert left(state)[:2] == [4, 8] and seen[-1] == [12, 4]
    gone = ~living(single(state.masks, 0), LAYERS[3])
    for name in LAYERS[3].vectors:
        assert torch.equal(~state.masks[name][0], gone)


@pytest.mark.parametrize("target", ["smallest", "largest"])
def test_which_filters_go_is_up_to_their_scores(target: str) -> None:
    state, context = network(1)
    after = next(iter(events(Length(100, 10, 4), target=target, period="9ep", share="0.25").values()))(state, context)
    (name,) = LAYERS[3].outputs
    means = state.learned[name][0].abs().flatten(1).mean(1)
    gone = set((~living(single(after.masks, 0), LAYERS[3])).nonzero().flatten().tolist())
    assert gone == set(means.argsort(descending=target == "largest")[:8].tolist())


def test_a_share_that_is_not_given_is_that_of_each_models_level() -> None:
    state, context = network(2)
    context = context._replace(targets=[{"": 50}, {"": 25}])
    table = events(Length(100, 10, 4), period="2ep", layers=4)
    for step in sorted(table):
        state = cut_off(table[step](state, context))
    assert left(state, 0) == [2, 4, 8, 16] and left(state, 1) == [1, 2, 4, 8]


def test_filters_that_come_back_are_what_they_were_though_others_trained_on() -> None:
    """Weights, biases, BatchNorm and its statistics; filters of two layers that were away at once, too."""
    words = {"period": "3ep", "start": "0.1/0.15", "end": "0.1/0.15", "share": "0.5", "layers": 2, "batches": 9}
    table, (state, context) = events(Length(100, 10, 4), **words), network(1)  # type: ignore[arg-type]
    assert sorted(table) == [10, 15, 19, 24]
    before, last = state, {step: State({}, {}, {}, {}) for step in table}
    for step in sorted(table):
        state = last[step] = cut_off(table[step](state, context))
        there = {name: state.masks.get(name, torch.ones((), dtype=torch.bool)) for name in state.learned}
        moved = {name: torch.where(there[name], w + 1, w) for name, w in state.learned.items()}
        state = replace(state, learned=moved, fixed={name: w + 1 for name, w in state.fixed.items()})
    assert left(last[10]) == [4, 8, 8, 32] and left(last[15]) == [4, 8, 8, 16] and left(last[19]) == [4, 8, 16, 16]
    assert all(bool(mask.all()) for mask in last[24].masks.values()) and not last[24].aside and last[19].aside
    third, fourth = (~living(single(last[15].masks, 0), each) for each in LAYERS[2:])
    for gone, layer, there, away in ((third, LAYERS[2], 10, 19), (fourth, LAYERS[3], 15, 24)):
        trained = {10: 0, 15: 1}[there]  # a step for all that is there, before the filters went
        for name in (*layer.vectors, f"{layer.vectors[-1].removesuffix('bias')}running_var"):
            old, new = (each.learned.get(name, each.fixed.get(name)) for each in (before, last[away]))
            assert old is not None and new is not None
            assert torch.equal(new[0][gone], old[0][gone] + trained), name
            assert not torch.equal(new[0][~gone], old[0][~gone] + trained), "the others went on"
    (name,) = LAYERS[2].outputs
    assert torch.equal(last[19].learned[name][0][third], before.learned[name][0][third])
    assert not last[15].learned[name][0][third].any()


def test_noise_of_the_deviation_of_the_first_filter_left_alone_is_added_before_each_of_so_many_batches() -> None:
    """A few lines of torch beside it, for two models; what is not chosen keeps its bits, and nothing is masked."""
    words = {"period": "3ep", "start": "1", "end": "1", "share": "0.25", "target": "largest", "batches": 3}
    table, (state, context) = events(Length(100, 10, 4), **words, noise=Answer("yes")), network(2)  # type: ignore[arg-type]
    context = context._replace(draw=lambda m, step, *names: stream(m, step, *names))
    assert sorted(table) == [10, 11, 12]
    (name,) = LAYERS[3].outputs
    size = state.learned[name][:, :, :].abs().flatten(2).mean(2)  # (2, filters)
    largest = [set(each.argsort(descending=True)[:8].tolist()) for each in size]
    for step in sorted(table):
        state.step = step
        after = table[step](state, context)
        assert after.masks is state.masks and (after.aside["chosen/3"] is state.aside.get("chosen/3")) == (step > 10)
        for m in range(2):
            before, now = (each.learned[name][m] for each in (state, after))
            first = min(set(range(32)) - largest[m])
            drawn = torch.from_numpy(stream(m, step, "noise", name).standard_normal(before.shape, dtype="float32"))
            for k in range(32):
                wanted = before[k] + before[first].std() * drawn[k] if k in largest[m] else before[k]
                assert torch.equal(now[k], wanted)
        others = [key for key in state.learned if key != name]
        assert all(after.learned[key] is state.learned[key] for key in others) and after.fixed is state.fixed
        state = after


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"end": "10"}, "events from 0.1 to 10 do not end within the 100 steps of the training"),
        ({"start": "0.6"}, "events from 0.6 to 0.5 do not end within"),
        ({"share": "1"}, "events leave some of each layer: they take shares above 0 and below 1, got 1"),
        ({"layers": 5}, "events in the last 5 layers: of this network 4 have whole units to remove"),
        ({"layers": 4, "share": "0.1/0.2"}, "share of events takes one number, or 4 parted by /.* got '0.1/0.2'"),
        ({"start": "soon"}, "start of events takes one number"),
        ({"batches": 10}, "an event is over after 10 batches, and the next one is 10 steps later"),
        ({"batches": 60, "period": "7ep", "start": "0.5", "noise": Answer("yes")}, "do not end within the 100 steps"),
    ],
)
def test_events_that_cannot_be_are_refused_in_a_line(words: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        events(Length(100, 10, 4), **words)
    with pytest.raises(UsageError, match="take unit filter, neuron or channel"):
        events(Length(100, 10))
