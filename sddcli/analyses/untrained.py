"""Untrained: what a network answers before its training: its starting weights under its masks."""

from sddcli.core import masks
from sddcli.core.evaluate import answers
from sddcli.core.types import Measurement, Subject

UNITS = {"untrained_test_accuracy": "share", "untrained_train_accuracy": "share"}


def measure(subject: Subject) -> Measurement:
    """Its accuracies then: of a dense network those of its initialization, about chance; of a ticket those of its mask
    alone (Zhou et al. 2019, section 4). Test accuracy counts against true labels, train accuracy against those that it
    is trained on."""
    weights = {name: w.unsqueeze(0) for name, w in masks.apply(subject.net.masks, subject.start()).items()}
    pairs = {"test": (subject.data.test.x, subject.data.test.y), "train": (subject.data.train.x, subject.labels)}
    right = {
        part: (answers(subject.forward, weights, x, y.unsqueeze(0))[0].squeeze(0) == y)
        for part, (x, y) in pairs.items()
    }
    return Measurement({f"untrained_{part}_accuracy": float(each.double().mean()) for part, each in right.items()})
