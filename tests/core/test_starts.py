"""Starts: what becomes of the values that weights start from."""

from functools import partial

import numpy as np
import pytest
import torch

from sddcli.core.seeds import stream
from sddcli.core.starts import FREEZINGS, STARTS
from sddcli.core.types import Tensors
from sddcli.core.words import UsageError, pick

DRAW = partial(stream, 0, "start")


def weights() -> Tensors:
    return {n: torch.from_numpy(stream(0, n).standard_normal((30, 20), dtype="float32")) * 0.1 for n in ("a", "b")}


def kept() -> Tensors:
    return {name: torch.from_numpy(stream(2, name).random((30, 20)) < 0.4) for name in ("a", "b")}


def started(word: str) -> Tensors:
    return pick("start", word, STARTS)(weights(), kept(), DRAW)


@pytest.mark.parametrize("name", STARTS)
def test_each_repeats_and_leaves_what_it_was_given(name: str) -> None:
    given = weights()
    once, again = STARTS[name](given, kept(), DRAW), STARTS[name](given, kept(), DRAW)
    for key, w in given.items():
        assert torch.equal(once[key], again[key]) and torch.equal(w, weights()[key])
        assert once[key].shape == w.shape and once[key].dtype == w.dtype


def test_permuted_values_are_the_layers_own_at_other_places() -> None:
    for key, w in started("permuted").items():
        given = weights()[key]
        assert torch.equal(w.flatten().sort().values, given.flatten().sort().values)
        assert (w == given).double().mean() < 0.05


def test_constants_are_the_layers_deviation_with_each_weights_sign() -> None:
    for key, w in started("constant").items():
        given = weights()[key].numpy()
        assert torch.allclose(w.abs(), torch.tensor(given.std()), rtol=1e-6)
        assert torch.equal(w.sign(), weights()[key].sign())


def test_no_constant_is_0_though_a_weight_was_drawn_as_0() -> None:
    for word in ("constant", "permuted:sign=kept"):
        none = {"a": torch.tensor([0.5, -0.5, 0.0, -0.0])}
        begun = pick("start", word, STARTS)(none, {"a": torch.ones(4, dtype=torch.bool)}, DRAW)["a"]
        assert (begun.sign() >= 0).tolist() == [True, False, True, True]
        assert word != "constant" or begun.abs().unique().numel() == 1


@pytest.mark.parametrize("word", [f"{name}:sign={sign}" for name in STARTS for sign in ("kept", "random")])
def test_signs_are_those_of_each_weight_or_drawn(word: str) -> None:
    for key, w in started(word).items():
        same = float((w.sign() == weights()[key].sign()).double().mean())
        assert same == 1 if word.endswith("kept") else 0.4 < same < 0.6
        assert torch.equal(w.abs().sort().values, started(word.partition(":")[0])[key].abs().sort().values)


def test_reshuffled_values_are_those_of_the_remaining_weights_of_the_layer() -> None:
    for key, w in started("reshuffled").items():
        given, mask = weights()[key], kept()[key]
        assert torch.equal(w[mask].sort().values, given[mask].sort().values) and torch.equal(w[~mask], given[~mask])
        assert (w[mask] == given[mask]).double().mean() < 0.1


@pytest.mark.parametrize("name", FREEZINGS)
def test_frozen_values_against_numpy(name: str) -> None:
    """The five of Zhou et al.: what is 0 of pruned and of kept weights."""
    start = weights()
    trained = {key: torch.from_numpy(stream(1, key).standard_normal(w.shape, dtype="float32")) * 0.1
               for key, w in start.items()}  # fmt: skip
    values = FREEZINGS[name](start, trained, kept(), DRAW)
    for key, value in values.items():
        w, after, mask = start[key].numpy(), trained[key].numpy(), kept()[key].numpy()
        fell = np.abs(after) < np.abs(w)
        zero = {
            "start": fell & False,
            "zero-fallen": ~mask & fell,
            "zero-all-fallen": fell,
            "zero-grown": ~mask & ~fell,
        }.get(name, value.numpy() == 0)
        assert np.array_equal(value.numpy(), np.where(zero, 0, w))
        if name == "zero-random":
            assert zero.sum() == (~mask & fell).sum() and not (zero & mask).any() and (zero != (~mask & fell)).any()


@pytest.mark.parametrize(
    ("word", "message"),
    [("constant:sign=moved", "it takes kept or random"), ("permuted:sign=x", "it takes moved, kept or random")],
)
def test_signs_that_cannot_be(word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pick("start", word, STARTS)
