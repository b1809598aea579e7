"""Interpolation: loss and accuracy along the straight line from one network to another (He et al. 2022, figure 7)."""

from collections.abc import Sequence

import torch

from sddcli.core.evaluate import answers
from sddcli.core.types import Measurement, Subject
from sddcli.core.words import UsageError

ROUNDING = 1e-6
"""Rises below this share of the largest loss on a line may be rounding, and do not count."""


def measure(a: Subject, b: Subject, *, points: int = 51) -> Measurement:
    """Loss and accuracy at (1 - alpha) * a + alpha * b, alpha from 0 to 1, of all weights and BatchNorm statistics.

    Train is against the labels trained on; where those of a and b differ, against each by its share, 1 - alpha and
    alpha, so that the ends of the line are the runs' own metrics. Values: barriers, the most by which loss or error
    is above the straight line between its ends (linear mode connectivity: Frankle et al. 2020, who compare with the
    mean of the ends); `train_loss_rise`, the most by which train loss rises on the way from a to b, and
    `train_loss_falls`, 1 where it never does. Raises UsageError for networks of different shape or data, or
    fewer than two points.
    """
    if points < 2:
        raise UsageError(f"interpolation takes at least 2 points, got {points}")
    _comparable(a, b)
    alphas = [k / (points - 1) for k in range(points)]
    rows = [{"alpha": alpha, **_at(a, b, alpha)} for alpha in alphas]
    line = {name: [row[name] for row in rows] for name in rows[0]}
    rise = max(loss - min(line["train_loss"][: k + 1]) for k, loss in enumerate(line["train_loss"]))
    values = {
        "train_loss_barrier": barrier(line["train_loss"]),
        "test_error_barrier": barrier([1 - accuracy for accuracy in line["test_accuracy"]]),
        "train_loss_rise": rise,
        "train_loss_falls": float(rise <= ROUNDING * max(line["train_loss"])),
        "test_loss_barrier": barrier(line["test_loss"]),
        "train_error_barrier": barrier([1 - accuracy for accuracy in line["train_accuracy"]]),
    }
    return Measurement(values, rows)


def barrier(line: Sequence[float]) -> float:
    """The most by which values at equal distances are above the straight line between the first and the last."""
    shares = [k / (len(line) - 1) for k in range(len(line))]
    straight = [(1 - share) * line[0] + share * line[-1] for share in shares]
    return round(max(value - chord for value, chord in zip(line, straight, strict=True)), 12)  # rounding is no barrier


def _comparable(a: Subject, b: Subject) -> None:
    shapes, others = ({name: tuple(w.shape) for name, w in seen.net.final.items()} for seen in (a, b))
    for name in {**shapes, **others}:
        if shapes.get(name) != others.get(name):
            both = " and ".join(str(each.get(name, "nothing")) for each in (shapes, others))
            raise UsageError(f"no line between networks of different shapes: their {name} are {both}")
    if a.data.sha256 != b.data.sha256 or not torch.equal(a.data.train.y, b.data.train.y):
        raise UsageError("no line between networks of different training examples")


def _at(a: Subject, b: Subject, alpha: float) -> dict[str, float]:
    """Losses and accuracies at one point of the line."""
    weights = {name: ((1 - alpha) * w + alpha * b.net.final[name]).unsqueeze(0) for name, w in a.net.final.items()}
    same = torch.equal(a.labels, b.labels)
    train = [(1.0, a.labels)] if same else [(1 - alpha, a.labels), (alpha, b.labels)]
    metrics = dict.fromkeys(("train_loss", "train_accuracy", "test_loss", "test_accuracy"), 0.0)
    for split, x, labels in (("train", a.data.train.x, train), ("test", a.data.test.x, [(1.0, a.data.test.y)])):
        for share, y in labels:
            predicted, loss = answers(a.forward, weights, x, y.unsqueeze(0))
            metrics[f"{split}_loss"] += share * float(loss)
            metrics[f"{split}_accuracy"] += share * float((predicted[0] == y).double().mean())
    return metrics
