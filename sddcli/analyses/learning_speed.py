"""Learning speed: how soon a network reaches an accuracy, and where early stopping would have ended its training."""

from collections.abc import Mapping, Sequence
from math import isnan, nan

from sddcli.core.types import Measurement, Subject
from sddcli.core.words import UsageError

UNITS = {"early_stop_accuracy": "share", "target_accuracy": "share"}

History = Sequence[Mapping[str, float]]


def measure(subject: Subject, *, accuracy: float = 0.0) -> Measurement:
    """From the evaluations during training, as Frankle & Carbin (2019) compare tickets with dense networks.

    `reached_step`, `reached_epoch`: the first evaluation at which test accuracy is `target_accuracy` or more, NaN where
    none is; that is `accuracy`, a share, or for 0 what the dense network has at its end. `early_stop_step`,
    `early_stop_epoch`: the evaluation with the smallest validation loss, the first of several; `early_stop_accuracy`:
    test accuracy there. These three are NaN unless examples were held out (`--validation`). Steps and epochs count from
    the start of the dense network's schedule, also for a network that is rewound to a later step; they are as fine as
    `eval_every`. Raises UsageError unless `accuracy` is a share.
    """
    if not 0 <= accuracy <= 1:
        raise UsageError(f"learning-speed takes an accuracy from 0 to 1, got {accuracy:g}; 0 is the dense network's")
    history = subject.history()
    target = accuracy or _last_accuracy(subject.dense_history())
    reached: Mapping[str, float] = next((row for row in history if row["test_accuracy"] >= target), {})
    watched = [row for row in history if not isnan(row.get("validation_loss", nan))]
    stop: Mapping[str, float] = min(watched, key=lambda row: row["validation_loss"], default={})
    return Measurement(
        {
            "target_accuracy": target,
            **{f"reached_{unit}": reached.get(unit, nan) for unit in ("step", "epoch")},
            **{f"early_stop_{unit}": stop.get(unit, nan) for unit in ("step", "epoch")},
            "early_stop_accuracy": stop.get("test_accuracy", nan),
        }
    )


def _last_accuracy(history: History) -> float:
    return history[-1]["test_accuracy"] if history else nan
