"""Starts: what becomes of the values that weights start from."""

from functools import partial

import pytest
import torch

from sddcli.core.seeds import stream
from sddcli.core.starts import STARTS
from sddcli.core.types import Tensors

DRAW = partial(stream, 0, "start")


def weights() -> Tensors:
    return {n: torch.from_numpy(stream(0, n).standard_normal((30, 20), dtype="float32")) * 0.1 for n in ("a", "b")}


@pytest.mark.parametrize("name", STARTS)
def test_each_repeats_and_leaves_what_it_was_given(name: str) -> None:
    given = weights()
    once, again = STARTS[name](given, DRAW), STARTS[name](given, DRAW)
    for key, w in given.items():
        assert torch.equal(once[key], again[key]) and torch.equal(w, weights()[key])
        assert once[key].shape == w.shape and once[key].dtype == w.dtype


def test_permuted_values_are_the_layers_own_at_other_places() -> None:
    for key, w in STARTS["permuted"](weights(), DRAW).items():
        given = weights()[key]
        assert torch.equal(w.flatten().sort().values, given.flatten().sort().values)
        assert (w == given).double().mean() < 0.05


def test_constants_are_the_layers_deviation_with_each_weights_sign() -> None:
    for key, w in STARTS["constant"](weights(), DRAW).items():
        given = weights()[key].numpy()
        assert torch.allclose(w.abs(), torch.tensor(given.std()), rtol=1e-6)
        assert torch.equal(w.sign(), weights()[key].sign())
