"""Flatness: loss and accuracy around a network, along random directions scaled like its filters (Li et al. 2018)."""

from collections.abc import Callable, Sequence
from statistics import fmean

import numpy as np
import torch

from sddcli.core.evaluate import answers
from sddcli.core.types import Measurement, Subject, Tensors, Trained
from sddcli.core.words import UsageError

Point = tuple[float, ...]
"""How many steps from the network along each direction."""
UNITS = {"flatness_lost_train_accuracy": "share", "flatness_lost_test_accuracy": "share"}


def measure(
    subject: Subject, *, directions: int = 5, points: int = 11, reach: float = 0.5, plane: int = 0, masked: int = 1
) -> Measurement:
    """Loss and accuracy at w + step * d: d a random direction whose filters are as long as those of w.

    d is Gaussian, each filter of it scaled to d * |w| / (|d| + 1e-10); biases and all of BatchNorm, its statistics
    too, stay as they are (Li et al. 2018). masked=1: pruned weights stay 0; masked=0: they are moved as well.
    Rows: means over so many `directions` at `points` steps from -reach to reach, against the labels trained on and,
    of the test set, the true ones; with plane=21 one grid of 21 x 21 steps, `across` along a second direction.
    Values: how much loss rises and accuracy is lost at distance `reach`, mean over both ways along each direction.
    Raises UsageError for numbers of directions or points, or a reach, that make no such lines.
    """
    count, size = (2, plane) if plane else (directions, points)
    if count < 1 or size < 3 or size % 2 == 0 or not reach > 0:
        raise UsageError("flatness takes directions from 1, odd numbers of points from 3, and a reach above 0")
    ways = [direction(subject.net, subject.stream, k, bool(masked)) for k in range(count)]
    axis = [reach * k / (size // 2) for k in range(-(size // 2), size // 2 + 1)]
    lines = {(step, 0.0): [_along(k, step, count) for k in range(count)] for step in axis}
    shown = {(step, across): [(step, across)] for across in axis for step in axis} if plane else lines
    points_shown = dict.fromkeys(point for each in shown.values() for point in each)
    metrics = {point: _at(subject, ways, point) for point in points_shown}
    rows = [
        {"step": step, "across": across, **_mean([metrics[point] for point in averaged])}
        for (step, across), averaged in shown.items()
    ]
    here, ends = (
        metrics[(0.0,) * count],
        _mean([metrics[point] for end in (-reach, reach) for point in lines[end, 0.0]]),
    )
    values = {}
    for split in ("train", "test"):
        values[f"flatness_{split}_loss_rise"] = ends[f"{split}_loss"] - here[f"{split}_loss"]
        values[f"flatness_lost_{split}_accuracy"] = here[f"{split}_accuracy"] - ends[f"{split}_accuracy"]
    return Measurement(values, rows)


def _along(number: int, step: float, count: int) -> Point:
    """So many steps along one of `count` directions."""
    return tuple(step if k == number else 0.0 for k in range(count))


def direction(net: Trained, stream: Callable[..., np.random.Generator], number: int, masked: bool) -> Tensors:
    """A random direction (*shape) of each weight matrix and convolution, filters (rows) as long as those of `net`."""
    scaled = {}
    for name, w in net.final.items():
        if w.ndim > 1:
            drawn = stream("flatness", number, name).standard_normal(tuple(w.shape), dtype=np.float32)
            d = torch.from_numpy(drawn).to(w.device)
            d = d * net.masks[name] if masked and name in net.masks else d
            scaled[name] = d * (_lengths(w) / (_lengths(d) + 1e-10))
    return scaled


def _lengths(w: torch.Tensor) -> torch.Tensor:
    """The L2 norm of each filter, (out, 1, ...)."""
    norms: torch.Tensor = w.flatten(1).norm(dim=1)
    return norms.view(-1, *[1] * (w.ndim - 1))


def _at(subject: Subject, ways: Sequence[Tensors], point: Point) -> dict[str, float]:
    """Losses and accuracies at one point."""
    # One point after the other: side by side, MLPs were not faster, since their inner values leave the cache.
    weights = {name: w.unsqueeze(0) for name, w in subject.net.final.items()}
    for step, way in zip(point, ways, strict=True):
        weights |= {name: weights[name] + step * d for name, d in way.items() if step}
    metrics = {}
    for split, x, y in (("train", subject.data.train.x, subject.labels), ("test", *subject.data.test)):
        predicted, loss = answers(subject.forward, weights, x, y.unsqueeze(0))
        metrics[f"{split}_loss"] = float(loss)
        metrics[f"{split}_accuracy"] = float((predicted[0] == y).double().mean())
    return metrics


def _mean(metrics: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: fmean(each[name] for each in metrics) for name in metrics[0]}
