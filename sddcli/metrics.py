"""Metrics: the numbers recorded of a run, each a column of results.csv: their units, and how they are called."""

from functools import cache
from typing import NamedTuple

from sddcli.families import members, words_in


class Metric(NamedTuple):
    """A number of a run.

    unit: "share" (of 1; printed in percent), "count", "loss", or "number" for any other. label: what heads its column
    on the screen and in a report. order: where it comes among the results in a report; 0: it is not shown there.
    """

    unit: str = "number"
    label: str = ""
    order: int = 0


METRICS: dict[str, Metric] = {
    "sparsity": Metric("share", "sparsity"),
    "density": Metric("share", "density"),
    "weights": Metric("count", "weights"),
    "examples": Metric("count", "examples"),
    "train_accuracy": Metric("share", "train", 5),
    "clean_accuracy": Metric("share", "clean", 6),
    "memorized": Metric("share", "memorized", 7),
    "test_accuracy": Metric("share", "test", 1),
    "best_test_accuracy": Metric("share", "best test", 2),
    "train_loss": Metric("loss", "train loss", 9),
    "test_loss": Metric("loss", "test loss", 8),
    "validation_accuracy": Metric("share", "validation", 4),
    "validation_loss": Metric("loss", "validation loss"),
    "chosen_test_accuracy": Metric("share", "chosen test", 3),
    "pruned_train_accuracy": Metric("share", "pruned train"),
    "pruned_test_accuracy": Metric("share", "pruned test"),
    "pruned_clean_accuracy": Metric("share", "pruned clean"),
    "pruned_memorized": Metric("share", "pruned memorized"),
    "pruned_validation_accuracy": Metric("share", "pruned validation"),
    "pruned_train_loss": Metric("loss", "pruned train loss"),
    "pruned_test_loss": Metric("loss", "pruned test loss"),
    "pruned_validation_loss": Metric("loss", "pruned validation loss"),
    "stored_train_accuracy": Metric("share", "stored train", 10),
    "stored_test_accuracy": Metric("share", "stored test", 11),
    "events": Metric("count", "events"),
    "event_instability": Metric("number", "event instability", 12),
    "width": Metric("count", "width"),
    "parameters": Metric("count", "parameters"),
    "settled_test_accuracy": Metric("share", "best test after events", 13),
    "taken_epoch": Metric("count", "taken epoch"),
}
"""What training records, in the order of the columns; a new one comes last, so that older columns stay where they are.

Accuracies are against the labels trained on or, of the test set, the true ones. pruned_: of the network just pruned,
before it is retrained. stored_: of the network that is kept, where the others are means over several that are drawn.
weights: prunable ones that are kept; parameters: all of the dense network; width: units or channels of its first layer.
taken_epoch: the epoch that weights and numbers are of, where that is not the last by intention.
"""


FOLDERS = {"run": "analyses", "curve": "verdicts", "pair": "analyses/pairs", "sizes": "verdicts/sizes"}
"""What a measure is of, and the folder of the package in which each such measure is a file."""


def metric_of(name: str) -> Metric:
    """What the column `name` of results.csv, or of what a measure says, holds."""
    return METRICS.get(name) or Metric(_units().get(name, "number"), name.replace("_accuracy", "").replace("_", " "))


@cache
def _units() -> dict[str, str]:
    """The units of the numbers of all measures that are no plain numbers, as each file says them in its UNITS."""
    files = [
        f"{folder.replace('/', '.')}.{name.replace('-', '_')}"
        for folder in FOLDERS.values()
        for name in members(folder)
    ]
    return {name: unit for file in files for name, unit in words_in(f"{file}.UNITS").items()}
