"""Retraining: whose masks, whose weights."""

from dataclasses import replace

import pytest

from sddcli.core.retraining import RETRAININGS, masks_of, start_of
from sddcli.spec import Run, with_parents

RUN = Run("digits", "lenet-300-100", criterion="magnitude", retraining="lottery", rate=0.2, level=3, noise=0.4)


def test_lottery_prunes_the_level_above_and_starts_from_the_dense_initialization() -> None:
    assert masks_of(RUN) == replace(RUN, level=2)
    assert start_of(RUN) == (replace(RUN, level=0), "initial")
    assert masks_of(replace(RUN, level=1)) == start_of(RUN).run == Run("digits", "lenet-300-100", noise=0.4)


@pytest.mark.parametrize("name", RETRAININGS)
def test_every_retraining_ends_in_dense_runs(name: str) -> None:
    run = replace(RUN, retraining=name)
    family = with_parents([run])
    assert family[-1] == run and any(each.level == 0 for each in family)
    assert all(parent in family[: family.index(each)] for each in family for parent in each.parents)
