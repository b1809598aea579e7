"""Maskings: each makes masks that it then recognizes as its own, and no others."""

from functools import partial

import pytest
import torch

from sddcli.core import seeds
from sddcli.core.maskings import MASKINGS
from sddcli.core.types import Tensors

DRAW = partial(seeds.stream, 3, "masks", 2)


def masks(seed: int) -> Tensors:
    shapes = {"a": (30, 20), "b": (7, 30)}
    return {name: torch.from_numpy(seeds.stream(seed, name).random(shape) < 0.4) for name, shape in shapes.items()}


def half(kept: Tensors) -> Tensors:
    return {name: mask & masks(9)[name] for name, mask in kept.items()}


@pytest.mark.parametrize("name", MASKINGS)
def test_what_is_made_follows_and_what_is_not_does_not(name: str) -> None:
    rule, above = MASKINGS[name], masks(0)
    own = rule.make(above, half, DRAW)
    again = rule.make(above, half, DRAW)
    assert rule.follows(own, above) and all(torch.equal(own[key], again[key]) for key in own)
    assert all(mask.dtype == torch.bool and mask.shape == above[key].shape for key, mask in own.items())
    one_more = {name: mask.clone() for name, mask in own.items()}
    place = (~one_more["a"] & ~above["a"]).flatten().nonzero()
    if name != "open":
        one_more["a"].view(-1)[place[0]] = True
        assert not rule.follows(one_more, above) and "{other}" in rule.otherwise


def test_shuffled_masks_keep_each_layers_count_at_other_places_drawn_anew_for_each_layer_and_level() -> None:
    above = {name: torch.arange(600).view(30, 20) % 3 == 0 for name in ("a", "b")}
    shuffled, later = (MASKINGS["shuffle"].make(above, half, draw) for draw in (DRAW, partial(seeds.stream, 3, 4)))
    assert all(mask.sum() == 200 for mask in shuffled.values())
    assert not torch.equal(shuffled["a"], above["a"]) and not torch.equal(shuffled["a"], shuffled["b"])
    assert not torch.equal(shuffled["a"], later["a"])
    assert abs(int((shuffled["a"] & above["a"]).sum()) - 200 / 3) < 30, "a third of them coincide by chance"


def test_opened_keeps_everything() -> None:
    assert all(mask.all() for mask in MASKINGS["open"].make(masks(0), half, DRAW).values())
