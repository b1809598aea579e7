"""Retraining: whose masks, whose weights."""

from dataclasses import replace

import pytest

from sddcli.core.retraining import (
    PRUNINGS,
    RETRAININGS,
    masks_of,
    origin,
    rewind_steps,
    rounds,
    steps_or_epochs,
    teacher,
)
from sddcli.core.words import UsageError
from sddcli.spec import Run, with_parents

RUN = Run("digits", "lenet-300-100", criterion="magnitude", retraining="lottery", rate=0.2, level=3, noise=0.4)


DENSE, ABOVE = replace(RUN, level=0), replace(RUN, level=2)


def test_lottery_prunes_the_level_above_and_starts_from_the_dense_initialization() -> None:
    assert origin(RUN)[:4] == ((ABOVE, "prune", "final"), (DENSE, "initial"), "rewound", 0.0)
    later = replace(RUN, rewind="1000it")
    assert origin(later)[:4] == ((replace(later, level=2), "prune", "final"), (DENSE, "step"), "rewound", 0.0)


@pytest.mark.parametrize(("name", "schedule"), [("finetune", "last"), ("lr-rewind", "rewound")])
def test_finetune_and_lr_rewind_go_on_from_the_level_above(name: str, schedule: str) -> None:
    above = replace(ABOVE, retraining=name)
    assert origin(replace(RUN, retraining=name))[:4] == ((above, "prune", "final"), (above, "final"), schedule, 0.0)


def test_scratch_prunes_its_own_chain_and_starts_anew() -> None:
    run = replace(RUN, retraining="scratch")
    assert origin(run)[:4] == ((replace(run, level=2), "prune", "final"), (DENSE, "fresh"), "full", 0.0)


def test_reinit_and_redense_grow_from_the_ticket_of_the_same_level() -> None:
    assert origin(replace(RUN, retraining="reinit"))[:4] == ((RUN, "same", "final"), (DENSE, "fresh"), "full", 0.0)
    assert origin(replace(RUN, retraining="redense"))[:4] == ((RUN, "open", "final"), (RUN, "final"), "last", 0.0)
    rewound = replace(RUN, retraining="reinit", rewind="5ep")
    assert origin(rewound).masks.run == replace(RUN, rewind="5ep")


def test_one_shot_prunes_the_dense_run_at_every_level() -> None:
    run = replace(RUN, pruning="one-shot")
    assert origin(run).masks == (DENSE, "prune", "final") and with_parents([run]) == (DENSE, run)
    with pytest.raises(ValueError, match="unknown pruning 'oneshot'; did you mean 'one-shot'"):
        replace(RUN, pruning="oneshot")


FROM_THE_START = (
    "finetune",
    "cyclic",
    "scratch",
    "gradual",
    "static",
    "set",
    "rigl",
    "events",
    "supermask",
    "edge-popup",
)


def test_the_rewind_step_is_dropped_where_it_cannot_matter() -> None:
    for name in RETRAININGS:
        same = replace(RUN, retraining=name, rewind="7it") == replace(RUN, retraining=name)
        assert same == (name in FROM_THE_START), name
    assert replace(RUN, rewind="0ep") == RUN


@pytest.mark.parametrize("text", ["", "7", "it", "-1it", "1.5ep", "1000IT"])
def test_unreadable_rewind_points(text: str) -> None:
    with pytest.raises(ValueError, match="rewind takes steps or epochs"):
        steps_or_epochs("rewind", text)


def test_rewind_steps() -> None:
    assert rewind_steps("1000it", 391) == 1000 and rewind_steps("5ep", 391) == 1955


@pytest.mark.parametrize("name", RETRAININGS)
def test_every_retraining_ends_in_dense_runs(name: str) -> None:
    run = replace(RUN, retraining=name)
    family = with_parents([run])
    assert (family[-1] == run and family[0].level == 0) or (masks_of(run).moment == "initial" and family == (run,))
    assert all(parent in family[: family.index(each)] for each in family for parent in each.parents)


SNIP = replace(RUN, criterion="snip")


def test_a_criterion_at_initialization_needs_no_trained_network() -> None:
    assert SNIP.parents == () and replace(SNIP, pruning="one-shot").parents == ()
    assert replace(SNIP, retraining="scratch").parents == ()
    assert replace(SNIP, rewind="5it").parents == (DENSE,)  # whose weights at that step are taken
    assert replace(SNIP, retraining="redense").parents == (SNIP,)
    assert replace(SNIP, retraining="finetune", pruning="one-shot").parents == (DENSE,)
    assert [run.level for run in rounds(SNIP)] == [1, 2, 3] and rounds(replace(SNIP, pruning="one-shot"))[0].level == 3
    assert masks_of(SNIP).moment == "initial" and masks_of(replace(SNIP, retraining="scratch")).moment == "fresh"


@pytest.mark.parametrize("name", ["finetune", "lr-rewind"])
def test_one_level_after_the_other_at_initialization_cannot_go_on_from_trained_weights(name: str) -> None:
    with pytest.raises(ValueError, match=f"snip ranks weights before training, and retraining {name}"):
        with_parents([replace(SNIP, retraining=name)])


@pytest.mark.parametrize("name", RETRAININGS)
@pytest.mark.parametrize("pruning", PRUNINGS)
def test_the_root_is_the_dense_run(name: str, pruning: str) -> None:
    assert replace(RUN, retraining=name, pruning=pruning).root == DENSE == DENSE.root


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("gradual:start=0.5:end=0.2", "takes 0 <= start < end < 1, shares of training, got 0.5 and 0.2"),
        ("gradual:end=1", "0 <= start < end < 1"),
        ("gradual:events=0", "takes 1 event or more, got 0"),
        ("gradual:evnets=3", "did you mean 'events'"),
        ("events:target=small", "unknown target of events: 'small'; did you mean 'smallest'"),
        ("events:period=0it", "events take a period of 1 step or more and 0 batches or more, got 0it and 0"),
        ("events:layers=0", "'layers=0': it takes 1 or more"),
        ("set:drop=0", "retraining set takes shares above 0 and up to 1, got drop=0 and end=0.75"),
        ("rigl:end=1.5", "retraining rigl takes shares above 0 and up to 1, got alpha=0.3 and end=1.5"),
        ("rigl:every=100", "every of retraining rigl takes steps or epochs, such as 1000it or 5ep, got '100'"),
        ("rigl:every=0ep", "every of retraining rigl takes 1 step or epoch or more, got '0ep'"),
        ("supermask:lr=0", "takes a learning rate above 0"),
        ("supermask:lr=nan", "takes a learning rate above 0"),
        ("supermask:rescale=maybe", "cannot read 'rescale=maybe': it takes yes or no"),
        ("edge-popup:lr=0", "it takes a finite number above 0"),
    ],
)
def test_parameters_out_of_range(word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        with_parents([replace(RUN, retraining=word)])


def test_mask_only_has_the_masks_of_the_lottery_chain_from_its_own_values() -> None:
    run = replace(RUN, retraining="mask-only", start="constant")
    assert origin(run)[:3] == ((ABOVE, "prune", "final"), (DENSE, "initial"), "none")
    assert replace(run, pruning="one-shot").parents == (DENSE,) and replace(run, level=1).parents == (DENSE,)
    assert replace(run, criterion="snip").parents == () and run.batch != RUN.batch


def test_a_teacher_is_a_relative_that_learns_from_labels_alone() -> None:
    by_dense, by_level = (
        replace(RUN, loss=f"distill:teacher={word}", retraining="finetune") for word in ("dense", "5")
    )
    assert teacher(RUN) is None and teacher(by_dense) == DENSE == replace(by_level, level=0)
    assert teacher(by_level) == replace(RUN, level=5) and teacher(by_level) in with_parents([by_level])
    assert DENSE in by_dense.parents and with_parents([by_dense])[0] == DENSE
    other = replace(RUN, loss="distill:dataset=mnist")
    assert teacher(other) == replace(DENSE, dataset="mnist") and other.root == DENSE
    assert len({run.batch for run in (RUN, other, replace(RUN, loss="distill"))}) == 3
    assert replace(RUN, loss="distill:share=0") == RUN


def test_trainings_that_make_their_masks_need_no_other() -> None:
    for name in ("gradual", "static", "set", "rigl", "supermask", "edge-popup"):
        run = replace(RUN, retraining=name, pruning="one-shot", rewind="5it")
        assert run.parents == () and run.root == DENSE and run.pruning == "iterative" and run.rewind == "0it"
    free = replace(RUN, retraining="supermask", scope="erk")
    assert free == replace(RUN, retraining="supermask", criterion="") and free.scope == "global"
    assert replace(RUN, retraining="edge-popup", scope="erk", criterion="").scope == "layer"
    assert "dense" not in free.slug and replace(RUN, retraining="gradual").criterion == "magnitude"
    for name in ("static", "set", "rigl"):
        moving = replace(RUN, retraining=name, scope="erk", unit="channel")
        assert moving.scope == "erk" and moving.unit == "weight" and moving.criterion == ""
    apart = {replace(RUN, retraining=word).batch for word in ("gradual", "gradual:events=9", "supermask", "lottery")}
    assert len(apart) == 4 and replace(RUN, retraining="gradual", level=9).batch in apart


@pytest.mark.parametrize("word", ["ticket", "ticket:dataset=digits", "ticket:half=a", "ticket:noise=0.4:take=masks"])
def test_no_ticket_is_circular(word: str) -> None:
    """A ticket is one of a lottery chain, whatever else it differs in, so none comes from a ticket, or from itself."""
    run = replace(RUN, retraining=word)
    relatives = with_parents([run])
    assert relatives[-1] == run and {each.retraining for each in relatives[:-1] if each.level} == {"lottery"}
    with pytest.raises(UsageError, match="unknown parameter of retraining 'ticket': 'retraining'"):
        masks_of(replace(RUN, retraining="ticket:retraining=ticket"))
