"""Learning speed: by hand, and against the history of a training with held-out examples."""

from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from sddcli.analyses.learning_speed import measure
from sddcli.core.types import Data, Examples, Subject, Trained
from sddcli.core.words import UsageError
from sddcli.store import Store
from tests.conftest import Sdd

EPOCHS = (5, 10, 15, 17)
TEST, LOSSES = (0.5, 0.8, 0.7, 0.9), (1.0, 0.4, 0.6, 0.4)


def rows(**columns: Sequence[float]) -> list[Mapping[str, float]]:
    epochs = EPOCHS[: len(next(iter(columns.values())))]
    return [
        {"epoch": epoch, "step": 3 * epoch, **{name: values[k] for name, values in columns.items()}}
        for k, epoch in enumerate(epochs)
    ]


def subject(history: list[Mapping[str, float]], dense: list[Mapping[str, float]]) -> Subject:
    data = Data(*[Examples(torch.zeros(6, 1), torch.zeros(6).long())] * 2, 2, "")
    forward, draw = (lambda w, x, t: x), np.random.default_rng
    there = {"history": lambda: history, "dense_history": lambda: dense}
    return Subject(Trained({}, {}, {}), forward, data, data.train.y, draw, dict, lambda: None, **there)


def test_by_hand() -> None:
    dense = rows(test_accuracy=(0.9, 0.75))
    values = measure(subject(rows(test_accuracy=TEST, validation_loss=LOSSES), dense)).values
    assert values == {
        "target_accuracy": 0.75,
        "reached_step": 30,
        "reached_epoch": 10,
        "early_stop_step": 30,  # the first of two equal losses
        "early_stop_epoch": 10,
        "early_stop_accuracy": 0.8,
    }


@pytest.mark.parametrize(("accuracy", "epoch"), [(0.5, 5), (0.6, 10), (0.8, 10), (0.81, 17), (0.9, 17)])
def test_the_first_evaluation_that_reaches_an_accuracy(accuracy: float, epoch: int) -> None:
    values = measure(subject(rows(test_accuracy=TEST), []), accuracy=accuracy).values
    assert values["reached_epoch"] == epoch and values["target_accuracy"] == accuracy


def test_what_was_not_reached_and_not_held_out_is_no_number() -> None:
    values = measure(subject(rows(test_accuracy=TEST), rows(test_accuracy=(0.95,)))).values
    assert {name for name, value in values.items() if isnan(value)} == set(values) - {"target_accuracy"}


@pytest.mark.parametrize("accuracy", [-0.1, 1.5])
def test_an_accuracy_is_a_share(accuracy: float) -> None:
    with pytest.raises(UsageError, match="takes an accuracy from 0 to 1"):
        measure(subject([], []), accuracy=accuracy)


def test_of_a_sweep_with_held_out_examples(sdd: Sdd, tmp_path: Path) -> None:
    words = "sweep --model lenet-16-8 --levels 0-2 --seeds 0 --epochs 6 --validation 0.2 --batch-size 50 --eval-every 2"
    assert sdd(*words.split(), "--runs", str(tmp_path)).code == 0
    assert sdd("analyze", "learning-speed:accuracy=0.5", str(tmp_path)).code == 0
    (path,) = (tmp_path / "measures").glob("learning-speed*0.5.csv")
    values = pd.read_csv(path, dtype={"run": str}).set_index("run")
    for run, manifest in Store(tmp_path).manifests():
        history = pd.read_csv(Store(tmp_path).folder(run) / "history.csv")
        there = history[history["test_accuracy"] >= 0.5]
        stop = history.loc[history["validation_loss"].idxmin()]
        steps = -(-manifest["metrics"]["examples"] // 50)
        assert values.loc[run.id, "early_stop_accuracy"] == stop["test_accuracy"]
        assert values.loc[run.id, "early_stop_step"] == stop["epoch"] * steps
        reached = values.loc[run.id, "reached_epoch"]
        assert reached == there["epoch"].iloc[0] if len(there) else isnan(reached)
