"""Units: whole ones are kept or removed, exactly as many as fit, nested."""

import pytest
import torch

from sddcli.core import masks, units
from sddcli.core.seeds import stream
from sddcli.core.types import Tensors
from sddcli.core.units import UNITS
from sddcli.core.words import UsageError, pick

SHAPES = {"a": (6, 9), "b": (4, 3, 3, 3)}


def scores(seed: int) -> Tensors:
    return {name: torch.from_numpy(stream(seed, name).random(shape)) for name, shape in SHAPES.items()}


def pruned(word: str, given: Tensors, before: Tensors, count: int) -> Tensors:
    unit = pick("unit", word, UNITS)
    return units.whole(masks.keep(units.averaged(given, before, unit), before, count), before, unit)


@pytest.mark.parametrize("word", [*UNITS, "block:size=2", "block:size=27"])
def test_units_are_kept_whole_as_many_as_fit_and_nest(word: str) -> None:
    unit = pick("unit", word, UNITS)
    before, least = masks.full(scores(0)), units.largest(SHAPES, unit)
    for level, count in enumerate((162, 130, 90, 50, 27)):
        kept = pruned(word, scores(level), before, count)
        left = sum(int(mask.sum()) for mask in kept.values())
        assert count - least < left <= count
        for name, mask in kept.items():
            assert not (mask & ~before[name]).any()
            members = unit(SHAPES[name])
            if members is not None:
                for number in members.unique():
                    alive = before[name][members == number]
                    assert mask[members == number].sum() in (0, alive.sum())
        before = kept


def test_blocks_lie_along_the_inputs_of_one_neuron() -> None:
    members = UNITS["block"]((2, 5), size=2)
    assert members is not None and members.tolist() == [[0, 0, 1, 1, 2], [3, 3, 4, 4, 5]]
    assert units.largest({"a": (2, 5)}, pick("unit", "block:size=2", UNITS)) == 2
    with pytest.raises(UsageError, match="takes a size of 2 or more, got 1"):
        UNITS["block"]((2, 5), size=1)


def test_a_unit_scores_the_mean_of_its_weights_that_are_left() -> None:
    score, mask = {"a": torch.tensor([[1.0, 5.0, 3.0, 9.0]])}, {"a": torch.tensor([[True, False, True, True]])}
    found = units.averaged(score, mask, pick("unit", "block:size=2", UNITS))
    assert found["a"].tolist() == [[1.0, 1.0, 6.0, 6.0]]
