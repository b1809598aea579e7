"""Calibration: does a network know how often it is right."""

from math import nan

import torch
import torch.nn.functional as F
from torch import Tensor

from sddcli.core.evaluate import logits
from sddcli.core.types import Measurement, Subject
from sddcli.core.words import UsageError


def measure(subject: Subject, *, bins: int = 15) -> Measurement:
    """Expected calibration error: the sum over bins of |B| / N * |accuracy - confidence| (Guo et al. 2017).

    Confidence is the greatest of a network's probabilities; bin b of as many equally wide ones holds the examples
    with confidence in ((b - 1) / bins, b / bins]. `test_ece`, `test_nll`, the mean negative log-likelihood of true
    labels, and `test_confidence` are of the test set; `clean_confidence` and `wrong_confidence` the mean
    confidence on the correctly and on the wrongly labelled examples of the training set. Rows: the reliability
    diagram, of each bin of the test set the mean confidence and accuracy, and how many examples are in it.
    Raises UsageError for less than one bin.
    """
    if bins < 1:
        raise UsageError(f"calibration needs at least one bin, got bins={bins}")
    weights = {name: w.unsqueeze(0) for name, w in subject.net.final.items()}
    train, test = subject.data.train, subject.data.test
    scores = logits(subject.forward, weights, test.x).double()
    confidence, answer = scores.softmax(1).max(1)
    right = (answer == test.y).double()
    rows = _reliability(confidence, right, bins)
    gaps = [row["size"] / len(right) * abs(row["accuracy"] - row["confidence"]) for row in rows if row["size"]]
    known = logits(subject.forward, weights, train.x).double().softmax(1).max(1).values
    wrong = subject.labels != train.y
    values = {
        "test_ece": sum(gaps),
        "test_nll": float(F.cross_entropy(scores, test.y)),
        "test_confidence": float(confidence.mean()),
        "clean_confidence": float(known[~wrong].mean()),
        "wrong_confidence": float(known[wrong].mean()),
    }
    return Measurement(values, rows)


def _reliability(confidence: Tensor, right: Tensor, bins: int) -> list[dict[str, float]]:
    # Edges by a product, not by a sum: the last one is exactly 1.
    edges = torch.arange(1, bins + 1, dtype=torch.float64, device=confidence.device) / bins
    chosen = torch.bucketize(confidence, edges).clamp(max=bins - 1)
    rows = []
    for b in range(bins):
        of, count = chosen == b, int((chosen == b).sum())
        mean, share = (float(confidence[of].mean()), float(right[of].mean())) if count else (nan, nan)
        rows.append({"bin": b + 1, "confidence": mean, "accuracy": share, "size": count})
    return rows
