"""Agenda: every run once, after its parents, in even shares."""

import random

from hypothesis import given
from hypothesis import strategies as st

from sddcli.launchers.agenda import Agenda, width
from sddcli.resolve import runs
from sddcli.spec import Run, with_parents

MOST = 5


def test_no_more_workers_than_chains() -> None:
    assert width(with_parents(runs({"seed": "0-2", "level": "0-9"}))) == 3
    assert width(with_parents(runs({"seed": "0-2", "level": "0-9", "criterion": "magnitude,random"}))) == 6
    assert width(runs({"seed": "0-2", "level": "0"})) == 3 and width([]) == 1
    assert width(with_parents(runs({"seed": "0", "level": "0-9", "pruning": "one-shot"}))) == 9


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.randoms(use_true_random=False))
def test_an_agenda_hands_out_every_run_once_after_its_parents(
    seeds: int, levels: int, workers: int, chance: random.Random
) -> None:
    asked = runs({"seed": f"0-{seeds}", "level": f"0-{levels}", "criterion": "magnitude,random", "lr": "0.1,0.2"})
    agenda, done, working = Agenda(with_parents(asked), MOST), set[Run](), list[Run]()
    while agenda.left:
        batch = agenda.take(workers)
        assert len(batch) <= MOST and len({run.batch for run in batch}) <= 1
        assert all(done.issuperset(run.parents) for run in batch) and not done.intersection(batch)
        working += batch
        if not batch or chance.random() < 0.5:
            run = working.pop(chance.randrange(len(working)))
            done.add(run)
            agenda.finish(run)
    assert done == set(asked)


def test_what_grows_from_a_failed_run_is_dropped_with_it() -> None:
    agenda = Agenda(with_parents(runs({"seed": "0,1", "level": "0-3"})), MOST)
    (first, second) = agenda.take(1)
    lost = agenda.drop(first)
    assert [run.level for run in lost] == [0, 1, 2, 3] and {run.seed for run in lost} == {first.seed}
    agenda.finish(second)
    assert agenda.left == 3 and agenda.drop(first) == []


def test_shares_are_even() -> None:
    agenda = Agenda(with_parents(runs({"seed": "0-4", "level": "0-3"})), MOST)
    assert [len(agenda.take(2)), len(agenda.take(2)), len(agenda.take(2))] == [3, 2, 0]
