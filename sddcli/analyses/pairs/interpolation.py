"""Interpolation: loss and accuracy along the straight line from one network to another (He et al. 2022, figure 7)."""

from collections.abc import Sequence

import torch

from sddcli.core.evaluate import answers
from sddcli.core.types import Found, Subject

ROUNDING = 1e-6
"""What share of the largest loss of a line may be rounding: smaller rises are none."""


def measure(a: Subject, b: Subject, *, points: int = 51) -> Found:
    """Loss and accuracy at (1 - alpha) * a + alpha * b, alpha from 0 to 1, of all weights and BatchNorm statistics.

    Train is against the labels trained on; where those of a and b differ, against each by its share, 1 - alpha and
    alpha, so that the ends of the line are the runs' own metrics. Values: barriers, the most by which loss or error
    is above the straight line between its ends (linear mode connectivity: Frankle et al. 2020, who compare with the
    mean of the ends); `train_loss_rise`, the most by which train loss rises on the way from a to b, and
    `train_loss_falls`, 1 where it never does. Raises ValueError for networks of different shape or data.
    """
    if points < 2:
        raise ValueError(f"interpolation takes at least 2 points, got {points}")
    _comparable(a, b)
    alphas = [k / (points - 1) for k in range(points)]
    lines = {split: [_at(a, b, alpha, split) for alpha in alphas] for split in ("train", "test")}
    rows = [
        {"split": split, "alpha": alpha, "loss": loss, "accuracy": accuracy}
        for split, line in lines.items()
        for alpha, (loss, accuracy) in zip(alphas, line, strict=True)
    ]
    losses = {split: [loss for loss, _ in line] for split, line in lines.items()}
    errors = {split: [1 - accuracy for _, accuracy in line] for split, line in lines.items()}
    rise = max(loss - min(losses["train"][: k + 1]) for k, loss in enumerate(losses["train"]))
    values = {
        "train_loss_barrier": barrier(losses["train"]),
        "test_error_barrier": barrier(errors["test"]),
        "train_loss_rise": rise,
        "train_loss_falls": float(rise <= ROUNDING * max(losses["train"])),
        "test_loss_barrier": barrier(losses["test"]),
        "train_error_barrier": barrier(errors["train"]),
    }
    return Found(values, rows)


def barrier(line: Sequence[float]) -> float:
    """The most by which values at equal distances are above the straight line between the first and the last."""
    shares = [k / (len(line) - 1) for k in range(len(line))]
    straight = [(1 - share) * line[0] + share * line[-1] for share in shares]
    return round(max(value - chord for value, chord in zip(line, straight, strict=True)), 12)  # rounding is no barrier


def _comparable(a: Subject, b: Subject) -> None:
    shapes, others = ({name: tuple(w.shape) for name, w in seen.net.final.items()} for seen in (a, b))
    for name in {**shapes, **others}:
        if shapes.get(name) != others.get(name):
            told = " and ".join(str(found.get(name, "nothing")) for found in (shapes, others))
            raise ValueError(f"no line between networks of different shapes: their {name} are {told}")
    if a.data.sha256 != b.data.sha256 or not torch.equal(a.data.train.y, b.data.train.y):
        raise ValueError("no line between networks of different training examples")


def _at(a: Subject, b: Subject, alpha: float, split: str) -> tuple[float, float]:
    """Loss and accuracy at one place of the line."""
    weights = {name: ((1 - alpha) * w + alpha * b.net.final[name]).unsqueeze(0) for name, w in a.net.final.items()}
    x, y = a.data.test
    told = [(1.0, y)]
    if split == "train":
        x, y = a.data.train.x, a.labels
        told = [(1.0, y)] if torch.equal(y, b.labels) else [(1 - alpha, y), (alpha, b.labels)]
    loss = accuracy = 0.0
    for share, labels in told:
        said, mean = answers(a.forward, weights, x, labels.unsqueeze(0))
        loss += share * float(mean)
        accuracy += share * float((said[0] == labels).double().mean())
    return loss, accuracy
