"""Stability: how much of its test accuracy a network loses in the moment in which it is pruned."""

from math import nan

import torch

from sddcli.core import masks
from sddcli.core.evaluate import answers
from sddcli.core.types import Measurement, Subject

UNITS = {"before_pruning_accuracy": "share", "after_pruning_accuracy": "share"}


def measure(subject: Subject) -> Measurement:
    """`instability` = (t_pre - t_post) / t_pre, test accuracy just before and after pruning (Bartoldson et al. 2020).

    t_pre, `before_pruning_accuracy`, is that of the network this level was pruned from; t_post,
    `after_pruning_accuracy`, that of the same weights under this level's masks, before any retraining. They are no
    numbers where nothing was removed: of a dense run, of masks taken from another run as they are, or opened again.
    """
    kept, parent, test = subject.net.masks, subject.parent(), subject.data.test
    before = after = nan
    if parent and any((living & ~kept[name]).any() for name, living in parent.masks.items()):
        both = (parent.final, masks.apply(kept, parent.final))
        together = {name: torch.stack([weights[name] for weights in both]) for name in parent.final}
        predicted, _ = answers(subject.forward, together, test.x, test.y.expand(2, -1))
        before, after = (predicted == test.y).double().mean(1).tolist()
    lost = (before - after) / before if before else nan
    return Measurement({"instability": lost, "before_pruning_accuracy": before, "after_pruning_accuracy": after})
