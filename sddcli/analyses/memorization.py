"""Memorization: when each training label is learned, which are fitted and which forgotten, clean ones and wrong."""

from math import nan

import torch
from torch import Tensor

from sddcli.core.types import Measurement, Record, Subject
from sddcli.core.words import UsageError


def measure(subject: Subject, *, evaluations: int = 1) -> Measurement:
    """From the record of which labels were fitted at each evaluation during training, of `_clean` and `_wrong` ones.

    `learned_epoch`: the first evaluation from which on an example stays fitted to the end, mean over those that are
    fitted there; `never_fitted`: the share that was fitted at no evaluation; `forgetting_events`: how often an
    example went from fitted to not fitted from one evaluation to the next, mean per example (Toneva et al. 2019).
    `unfitted_since_dense`: the share that the dense network fits at its end and this one does not;
    `fitted_since_dense`: the other way round. Rows: for each true class, how many of its labels are clean and wrong,
    and the share of both that is fitted, after the last of so many evaluations, spread over training.
    Raises UsageError where nothing was recorded, or so many evaluations were not.
    """
    record, dense, truth = subject.record(), subject.dense(), subject.data.train.y
    if record is None or dense is None:
        raise UsageError("its training or its dense network's was not recorded: made by an older sdd, or too large")
    if not 1 <= evaluations <= len(record.epochs):
        raise UsageError(f"memorization needs 1 to {len(record.epochs)} evaluations, got {evaluations}")
    parts = {"clean": subject.labels == truth, "wrong": subject.labels != truth}
    of_examples = _of_examples(record, dense)
    values = {
        f"{measure}_{name}": _mean(value, part)
        for measure, value in of_examples.items()
        for name, part in parts.items()
    }
    rows = []
    for k in torch.linspace(len(record.epochs) / evaluations, len(record.epochs), evaluations).round().long().tolist():
        for label in range(subject.data.classes):
            row: dict[str, float] = {"class": label, "epoch": int(record.epochs[k - 1])}
            for name, part in parts.items():
                of = part & (truth == label)
                row |= {f"{name}_labels": int(of.sum()), f"{name}_fitted": _mean(record.fitted[k - 1].double(), of)}
            rows.append(row)
    return Measurement(values, rows)


def _of_examples(record: Record, dense: Record) -> dict[str, Tensor]:
    """What is measured of each example, (N,) float64; NaN where it has no such number."""
    fitted, before, now = record.fitted, dense.fitted[-1], record.fitted[-1]
    lasting = fitted.flip(0).cumprod(0).sum(0)  # evaluations up to the end at which it was fitted throughout
    learned = record.epochs.double()[(len(fitted) - lasting).clamp(max=len(fitted) - 1)]
    return {
        "learned_epoch": learned.where(now, torch.tensor(nan, dtype=learned.dtype, device=learned.device)),
        "never_fitted": (~fitted.any(0)).double(),
        "forgetting_events": (fitted[:-1] & ~fitted[1:]).sum(0).double(),
        "unfitted_since_dense": (before & ~now).double(),
        "fitted_since_dense": (now & ~before).double(),
    }


def _mean(values: Tensor, of: Tensor) -> float:
    return float(values[of].nanmean())  # NaN of none
