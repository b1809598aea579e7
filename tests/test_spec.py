"""Spec: identity, equal things are one Run, parents, unfolding."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sddcli.core.words import UsageError
from sddcli.spec import (
    FIELDS,
    KINDS,
    Run,
    differing,
    from_dict,
    last_level,
    named,
    setting,
    to_dict,
    unfold,
    with_parents,
)

DENSE = Run("digits", "lenet-300-100", noise=0.4, epochs=60, batch_size=64, momentum=0.9, milestones="0.5/0.75", seed=3)
PRUNED = replace(DENSE, criterion="magnitude", retraining="lottery", rate=0.2, level=7)

RUNS = st.builds(
    Run,
    dataset=st.sampled_from(["digits", "folder:/a b/ü"]),
    model=st.just("lenet-300-100"),
    noise=st.floats(0, 1),
    noise_kind=st.sampled_from(["symmetric", "flip"]),
    criterion=st.sampled_from(["magnitude", "random"]),
    rate=st.floats(0.01, 0.99),
    level=st.integers(0, 40),
    retraining=st.just("lottery"),
    epochs=st.integers(1, 500),
    lr=st.floats(1e-6, 10),
    milestones=st.sampled_from(["", "80/120", "0.5/0.75", "0.50/.75"]),
    seed=st.integers(0, 10**12),
)


def test_ids_are_pinned() -> None:
    """Runs of older versions are found by these: defaults of Run must never change meaning."""
    assert Run("digits", "lenet-300-100").id == "4766898686ed"
    assert replace(PRUNED, eval_every=5).id == "e5c52cc883be"


@given(RUNS)
def test_a_run_survives_its_manifest(run: Run) -> None:
    assert from_dict(to_dict(run)) == run and from_dict(to_dict(run)).id == run.id
    assert all(character.isascii() and character not in "/: " for character in run.slug)


def test_runs_are_named_by_what_tells_them_apart() -> None:
    tables = {"dataset": "digits", "model": "lenet-8", "lr": [0.1, 0.2], "seed": [0, 1], "level": [0, 1]}
    found = with_parents(unfold(tables | {"criterion": "random", "retraining": "lottery", "rate": [0.2, 0.5]}))
    names = differing(found)
    assert names == ("rate", "lr", "seed")
    assert len({named(run, names) for run in found}) == len(found), "each has a name of its own"
    dense = next(run for run in found if run.lr == 0.2 and run.seed == 1 and not run.level)
    assert named(dense, names) == f"{dense.slug} level 0 (lr 0.2)" and setting(dense, names) == "lr 0.2, seed 1"
    assert differing(run for run in found if not run.level) == ("lr", "seed")
    assert differing(found[:1]) == () and named(dense, ()) == f"{dense.slug} level 0"


OTHERS: dict[str, Any] = {
    "model": "lenet-9", "noise_kind": "flip", "augment": "x", "init": "glorot", "criterion": "magnitude",
    "scope": "layer", "count": "all", "pruning": "one-shot", "retraining": "finetune", "rewind": "1it",
    "loss": "mse", "optimizer": "adam", "milestones": "2", "precision": "bf16", "length": "9it",
    "regularization": "distance", "take": "validation", "schedule": "inverse-square-root",
    **{name: 0.5 if kind is float else 7 for name, kind in KINDS.items() if kind is not str and name != "level"},
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_whatever_field_differs_is_named(name: str) -> None:
    base = Run(
        "digits",
        "lenet-8",
        0.4,
        validation=0.1,
        criterion="random",
        retraining="lottery",
        rate=0.2,
        level=1,
        milestones="1",
    )
    pair = (base, replace(base, **{name: OTHERS[name]}))
    assert name in differing(pair) and len({named(run, differing(pair)) for run in pair}) == 2


@given(RUNS, RUNS)
def test_ids_agree_exactly_when_runs_do(a: Run, b: Run) -> None:
    assert (a.id == b.id) == (a == b)


@pytest.mark.parametrize(
    "same",
    [
        dict(noise=0), dict(noise=0.0, noise_kind="flip"), dict(noise=-0.0), dict(gamma=0.5), dict(lr=1, level=0),
        dict(level=0, criterion="random", rate=0.5, retraining="lottery"),
    ],
)  # fmt: skip
def test_equal_things_are_one_run(same: dict[str, Any]) -> None:
    plain = Run("digits", "lenet-300-100", lr=float(same.get("lr", 0.1)))
    assert Run("digits", "lenet-300-100", **same) == plain
    assert Run("digits", "lenet-300-100", **same).id == plain.id


def test_milestones_have_one_spelling() -> None:
    assert replace(DENSE, milestones="0.50/.750") == DENSE
    precise = replace(DENSE, milestones="0.33333331/0.33333332")
    assert from_dict(to_dict(precise)) == precise and replace(DENSE, milestones="1234567.0").milestones == "1234567"


def test_milestones_matter_where_the_rate_drops_at_them_alone() -> None:
    falling = replace(DENSE, schedule="inverse-square-root:every=100")
    assert falling.milestones == "" and falling == replace(falling, gamma=0.5) != replace(DENSE, milestones="")
    assert falling.batch != DENSE.batch and replace(DENSE, schedule="drops") == DENSE
    with pytest.raises(UsageError, match=r"unknown schedule 'cosine'.*inverse-square-root"):
        replace(DENSE, schedule="cosine")
    with pytest.raises(UsageError, match=r"every=0.*takes 1 or more"):
        replace(DENSE, schedule="inverse-square-root:every=0")


def test_a_chain_is_named_by_its_first_level() -> None:
    assert PRUNED.chain == replace(PRUNED, level=1).id == replace(PRUNED, level=20).chain
    assert DENSE.chain == DENSE.id != PRUNED.chain


def test_only_seed_noise_and_pruning_may_differ_side_by_side() -> None:
    assert PRUNED.batch == DENSE.batch == replace(DENSE, noise=0.1, noise_kind="flip", seed=9).batch
    for name, value in dict(
        model="x", epochs=2, lr=0.2, momentum=0.1, milestones="", batch_size=3, eval_every=4
    ).items():
        assert replace(DENSE, **{name: value}).batch != DENSE.batch  # type: ignore[arg-type]


def test_only_equal_schedules_train_side_by_side() -> None:
    def batch(**change: Any) -> object:
        return replace(PRUNED, **change).batch

    assert batch() == DENSE.batch == batch(retraining="scratch") == batch(retraining="lr-rewind")
    different = [batch(), batch(rewind="9it"), batch(retraining="finetune"), batch(retraining="finetune:lr=0.5")]
    assert len(set(different)) == 4 and batch(rewind="9it") == batch(rewind="9it", retraining="lr-rewind", seed=9)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(noise=1.5), r"noise 1.5 is outside \[0, 1\]"),
        (dict(noise=float("nan")), "noise nan is outside"),
        (dict(lr=float("inf")), "lr inf is outside"),
        (dict(epochs=0), "epochs 0 is outside"),
        (dict(epochs=2.0), "epochs takes a whole number, got 2.0"),
        (dict(seed=True), "seed takes a whole number"),
        (dict(noise="0.2"), "noise takes a number"),
        (dict(seed=10**400), "seed is outside"),
        (dict(level=2), "level 2 needs a criterion"),
        (dict(level=1, criterion="random", rate=0.2, retraining="lotery"), "did you mean 'lottery'"),
        (dict(take="validation"), "take validation chooses by examples that are held out, and none are: hold out a"),
        (dict(take="best"), "unknown take 'best'; did you mean 'last'\\? known: last, validation"),
        (dict(milestones="9/3"), "milestones '9/3' are not increasing"),
    ],
)
def test_errors(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Run("digits", "lenet-300-100", **wrong)
    with pytest.raises(ValueError, match="unknown field of a run 'noize'; did you mean 'noise'"):
        from_dict({"dataset": "digits", "model": "x", "noize": 1})


def test_unfold_is_the_product_of_the_axes_each_once() -> None:
    table = {
        **{name: getattr(PRUNED, name) for name in FIELDS},
        "level": [0, 1, 2],
        "criterion": ["magnitude", "random"],
    }
    found = unfold(table)
    assert len(found) == 5  # the dense run is shared by both chains
    assert found[0] == DENSE and {run.level for run in found} == {0, 1, 2}
    with pytest.raises(ValueError, match="split the sweep"):
        unfold({**table, "seed": list(range(1_000_000))})
    with pytest.raises(ValueError, match="unknown field 'levle'"):
        unfold({"levle": 3})


@given(st.lists(RUNS, max_size=5))
def test_parents_come_first_and_once(runs: list[Run]) -> None:
    family = with_parents(runs)
    assert len(set(family)) == len(family) and set(runs) <= set(family)
    seen: set[Run] = set()
    for run in family:
        assert seen.issuperset(run.parents)
        seen.add(run)


def test_levels_in_between_are_parents() -> None:
    assert [run.level for run in with_parents([PRUNED])] == list(range(8))


def test_levels_that_are_to_be_chosen() -> None:
    assert last_level({"level": ["auto:last=32"]}) == last_level({"level": "auto:last=32"}) == 32
    assert last_level({"level": [0, 1]}) is None and last_level({}) is None
