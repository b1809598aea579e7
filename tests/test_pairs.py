"""Pairs: which runs belong together."""

import pytest

from sddcli.pairs import PAIRS, Pair, natural
from sddcli.spec import Run, unfold

TABLE = {"dataset": "digits", "model": "lenet-300-100", "criterion": "magnitude", "rate": 0.2, "seed": [0, 1]}
LOTTERY = unfold(TABLE | {"level": [0, 1, 2], "retraining": "lottery"})
ORDERS = unfold(TABLE | {"level": [0, 1], "retraining": "ticket:order_seed=0", "order_seed": [3, 4, 5]})
REDENSE = unfold(TABLE | {"level": [1, 2], "retraining": "redense"})


def said(pairs: list[Pair]) -> set[tuple[object, ...]]:
    return {tuple((run.retraining, run.level, run.seed) for run in pair) for pair in pairs}


def test_levels_are_paired_with_the_one_that_they_were_pruned_from() -> None:
    assert said(natural(LOTTERY)) == {
        ((before, level - 1, seed), ("lottery", level, seed))
        for level, before in ((1, ""), (2, "lottery"))
        for seed in (0, 1)
    }


def test_redense_runs_with_the_sparse_ones_that_they_grew_from_and_they_come_first() -> None:
    expected = {(("lottery", level, seed), ("redense", level, seed)) for level in (1, 2) for seed in (0, 1)}
    assert said(natural([*LOTTERY, *REDENSE])) == said(natural(REDENSE)) == expected


def test_seeds_with_the_next_of_the_same_setting_and_level() -> None:
    three = [
        run for seed in (5, 0, 2) for run in unfold(TABLE | {"level": [0, 1], "retraining": "lottery", "seed": seed})
    ]
    assert said(natural(three, "seeds")) == {
        ((name, level, before), (name, level, seed))
        for name, level in (("", 0), ("lottery", 1))
        for before, seed in ((0, 2), (2, 5))
    }


def test_orders_with_the_next_of_the_same_setting_level_and_other_seeds() -> None:
    pairs = natural(ORDERS, "orders")
    assert len(pairs) == 2 * 2 * 2
    assert all(pair.b.seed_of("order") == pair.a.seed_of("order") + 1 for pair in pairs)
    assert {(pair.a.level, pair.a.seed) for pair in pairs} == {(level, seed) for level in (0, 1) for seed in (0, 1)}
    parents = {pair.a.parents for pair in pairs if pair.a.level and pair.a.seed == 0}
    assert len(parents) == 1, "they grow from one network"


@pytest.mark.parametrize("kind", PAIRS)
def test_a_pair_knows_its_kind(kind: str) -> None:
    assert {pair.kind for pair in natural([*LOTTERY, *(ORDERS if kind == "orders" else REDENSE)], kind)} == {kind}
    assert Pair(LOTTERY[0], Run("mnist", "convnet")).kind == "other"
