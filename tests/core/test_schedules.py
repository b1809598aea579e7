"""Schedules: against torch's MultiStepLR."""

import pytest
import torch

from sddcli.core.schedules import milestones, piecewise


@pytest.mark.parametrize("drops", ["", "2", "2/5", "0.5/0.75"])
def test_it_is_torchs_multi_step_schedule(drops: str) -> None:
    epochs, steps = 8, 3
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    ends = [round(drop * epochs if drop < 1 else drop) for drop in milestones(drops)]
    theirs = torch.optim.lr_scheduler.MultiStepLR(optimizer, ends, gamma=0.1)
    ours = piecewise(0.1, drops, 0.1, epochs, steps)
    assert len(ours) == epochs * steps
    for epoch in range(epochs):
        assert ours[epoch * steps : (epoch + 1) * steps] == pytest.approx([optimizer.param_groups[0]["lr"]] * steps)
        optimizer.step()
        theirs.step()


def test_a_share_may_fall_inside_an_epoch() -> None:
    assert piecewise(1.0, "0.5", 0.1, 1, 4) == pytest.approx([1, 1, 0.1, 0.1])


@pytest.mark.parametrize("text", ["x", "80/60", "80/80", "0/5", "-1", "nan", "inf", "80/", "0.5/10"])
def test_unreadable_milestones_are_errors(text: str) -> None:
    with pytest.raises(ValueError, match="milestones"):
        milestones(text)
