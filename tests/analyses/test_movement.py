"""Movement: by hand."""

from math import isnan

import numpy as np
import pytest
import torch

from sddcli.analyses.movement import measure
from sddcli.core.types import Data, Examples, Subject, Tensors, Trained

NOTHING = Data(*[Examples(torch.zeros(0), torch.zeros(0, dtype=torch.long))] * 2, 0, "")
INITIAL = {"a": torch.tensor([1.0, 2.0, -2.0, 0.5]), "b": torch.tensor([1.0, 1.0])}
FINAL = {"a": torch.tensor([4.0, 0.0, 0.0, 0.0]), "b": torch.tensor([0.0, -2.0])}
MASKS = {"a": torch.tensor([True, False, False, False]), "b": torch.tensor([False, True])}
ABOVE = Trained(
    INITIAL,
    {"a": torch.tensor([3.0, 2.5, -7.0, 0.0]), "b": torch.tensor([1.25, 0.5])},
    {"a": torch.tensor([True, True, True, False]), "b": torch.tensor([True, True])},
)


def subject(net: Trained, start: Tensors, parent: Trained | None) -> Subject:
    return Subject(
        net, lambda w, x, t: x, NOTHING, NOTHING.train.y, np.random.default_rng, lambda: start, lambda: parent
    )


def test_by_hand() -> None:
    start = {"a": torch.tensor([3.5, 0.0, 0.0, 0.0]), "b": torch.tensor([0.0, 0.0])}
    found = measure(subject(Trained(INITIAL, FINAL, MASKS), start, ABOVE))
    assert found.values == pytest.approx(
        {
            "movement": (3 + 3) / 2,
            "own_movement": (0.5 + 2) / 2,
            "movement_kept": (2 + 0.5) / 2,
            "movement_pruned": (0.5 + 5 + 0.25) / 3,  # the fourth of a was gone before
            "movement_largest": 3,
        }
    )
    a, b = found.rows
    assert a == {"layer": "a", "movement": 3, "own_movement": 0.5, "movement_kept": 2, "movement_pruned": 5.5 / 2}
    assert b == {"layer": "b", "movement": 3, "own_movement": 2, "movement_kept": 0.5, "movement_pruned": 0.25}


def test_a_dense_network_was_pruned_from_nothing() -> None:
    full = {name: torch.ones_like(mask) for name, mask in MASKS.items()}
    values = measure(subject(Trained(INITIAL, FINAL, full), INITIAL, None)).values
    assert isnan(values["movement_kept"]) and isnan(values["movement_pruned"])
    assert values["movement"] == values["own_movement"] == pytest.approx((3 + 2 + 2 + 0.5 + 1 + 3) / 6)


@pytest.mark.parametrize("masks", [ABOVE.masks, {name: torch.ones_like(mask) for name, mask in MASKS.items()}])
def test_the_same_masks_or_open_ones_prune_nothing(masks: Tensors) -> None:
    values = measure(subject(Trained(INITIAL, FINAL, masks), INITIAL, ABOVE)).values
    assert isnan(values["movement_pruned"]) and values["movement_kept"] == pytest.approx((2 + 0.5 + 5 + 0.25 + 0.5) / 5)


def test_an_emptied_layer_has_no_number_and_does_not_spoil_the_whole() -> None:
    masks = {"a": MASKS["a"], "b": torch.zeros(2, dtype=torch.bool)}
    found = measure(subject(Trained(INITIAL, FINAL, masks), INITIAL, ABOVE))
    assert isnan(found.rows[1]["movement"]) and found.values["movement"] == 3
