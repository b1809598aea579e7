"""Schedules: against torch's MultiStepLR and LambdaLR."""

from functools import partial

import pytest
import torch

from sddcli.core.schedules import SCHEDULES, Course, drops, inverse_square_root, milestones


@pytest.mark.parametrize("text", ["", "2", "2/5", "0.5/0.75"])
def test_drops_are_torchs_multi_step_schedule(text: str) -> None:
    epochs, steps = 8, 3
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    ends = [round(drop * epochs if drop < 1 else drop) for drop in milestones(text)]
    theirs = torch.optim.lr_scheduler.MultiStepLR(optimizer, ends, gamma=0.1)
    ours = drops(Course(0.1, text, 0.1, steps, epochs * steps))
    assert len(ours) == epochs * steps
    for epoch in range(epochs):
        assert ours[epoch * steps : (epoch + 1) * steps] == pytest.approx([optimizer.param_groups[0]["lr"]] * steps)
        optimizer.step()
        theirs.step()


def test_a_share_may_fall_inside_an_epoch() -> None:
    assert drops(Course(1.0, "0.5", 0.1, 4, 4)) == pytest.approx([1, 1, 0.1, 0.1])


def test_the_rate_falls_with_the_inverse_square_root_of_the_step() -> None:
    """0.1 / sqrt(1 + floor(t / 512)), as Nakkiran et al. (2020) print it: a quarter from step 15 * 512 on."""
    course = Course(0.1, "", 0.1, 390, 512 * 16)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    theirs = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 + step // 512) ** -0.5)
    ours = inverse_square_root(course)
    for rate in ours:
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        theirs.step()
    assert ours[511] == 0.1 and ours[512] == pytest.approx(0.1 / 2**0.5) and ours[-1] == pytest.approx(0.025)
    assert partial(inverse_square_root, every=1)(course._replace(steps=4)) == pytest.approx(
        [0.1, 0.1 / 2**0.5, 0.1 / 3**0.5, 0.05]
    )


@pytest.mark.parametrize("word", SCHEDULES)
def test_every_schedule_has_a_rate_for_each_step_that_never_rises(word: str) -> None:
    rates = SCHEDULES[word](Course(0.3, "2/5", 0.5, 3, 20))
    assert len(rates) == 20 and rates[0] == 0.3 and rates == sorted(rates, reverse=True) and rates[-1] > 0


@pytest.mark.parametrize("text", ["x", "80/60", "80/80", "0/5", "-1", "nan", "inf", "80/", "0.5/10"])
def test_unreadable_milestones_are_errors(text: str) -> None:
    with pytest.raises(ValueError, match="milestones"):
        milestones(text)
