"""Timetables: what happens when, on counts alone."""

from collections.abc import Mapping, Sequence

import pytest
import torch

from sddcli.core.timetables import Context, gradual
from sddcli.core.types import State, Tensors
from sddcli.core.words import UsageError


def counts_of(steps: int, **ramp: float) -> dict[int, list[dict[str, int]]]:
    """What each event keeps of 1,000 weights, of which two models keep 200 and 999 in the end."""
    asked: list[list[dict[str, int]]] = []

    def pruned(state: State, counts: Sequence[Mapping[str, int]]) -> Tensors:
        asked.append([dict(each) for each in counts])
        return {"a": torch.ones(2, 1, dtype=torch.bool)}

    context, state = Context({"": 1000}, [{"": 200}, {"": 999}], pruned), State({}, {}, {}, {})
    table = gradual(steps, **ramp)  # type: ignore[arg-type]
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
        gradual(3, end=0.99)
