"""Label noise: how many of the labels that a network was trained on are wrong, and which class is called which."""

import torch

from sddcli.core.types import Measurement, Subject

UNITS = {"label_noise": "share", "label_noise_worst_class": "share"}


def measure(subject: Subject) -> Measurement:
    """`label_noise`: the share of training labels that are not the true ones.

    `label_noise_worst_class`: the largest such share of one class. Rows: the confusion matrix, for each true class and
    each class it is called, how many examples of it are (`examples`) and which share of the class (`share`).
    """
    true, labels, classes = subject.data.train.y, subject.labels, subject.data.classes
    counts = torch.bincount(true * classes + labels, minlength=classes**2).view(classes, classes).double()
    shares = counts / counts.sum(1, keepdim=True).clamp_min(1)
    worst = ((1 - shares.diagonal()) * (counts.sum(1) > 0)).max()
    rows = [
        {"class": k, "called": c, "examples": int(counts[k, c]), "share": float(shares[k, c])}
        for k, c in (counts > 0).nonzero().tolist()
    ]
    noise = float((labels != true).double().mean())
    return Measurement({"label_noise": noise, "label_noise_worst_class": float(worst)}, rows)
