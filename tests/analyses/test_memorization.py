"""Memorization: by hand, and against the history of a training."""

from math import isnan
from pathlib import Path

import numpy as np
import pytest
import torch

from sddcli.analyses.memorization import measure
from sddcli.core.types import Data, Examples, Record, Subject, Trained
from sddcli.store import Store

# Four evaluations of six examples, of which the last three have wrong labels.
FITTED = torch.tensor([[0, 1, 0, 0, 0, 1], [1, 1, 0, 0, 0, 0], [1, 0, 0, 1, 0, 1], [1, 1, 0, 1, 0, 0]]).bool()
RECORD = Record(torch.tensor([5, 10, 15, 17]), FITTED)
DENSE = Record(torch.tensor([3]), torch.tensor([[1, 0, 1, 1, 1, 0]]).bool())
TRUTH, LABELS = torch.tensor([0, 1, 1, 0, 0, 1]), torch.tensor([0, 1, 1, 1, 1, 0])


def subject(record: Record | None, dense: Record | None) -> Subject:
    data = Data(*[Examples(torch.zeros(6, 1), TRUTH)] * 2, 2, "")
    nothing = Trained({}, {}, {})
    draw = np.random.default_rng
    return Subject(nothing, lambda w, x, t: x, data, LABELS, draw, dict, lambda: None, lambda: record, lambda: dense)


def test_by_hand() -> None:
    found = measure(subject(RECORD, DENSE))
    assert found.values == pytest.approx(
        {
            "learned_epoch_clean": (10 + 17) / 2,  # the second was fitted, forgotten, and learned again
            "learned_epoch_wrong": 15,  # the last one is not fitted at the end
            "never_fitted_clean": 1 / 3,
            "never_fitted_wrong": 1 / 3,
            "forgetting_events_clean": 1 / 3,
            "forgetting_events_wrong": 2 / 3,
            "unfitted_since_dense_clean": 1 / 3,
            "unfitted_since_dense_wrong": 1 / 3,
            "fitted_since_dense_clean": 1 / 3,
            "fitted_since_dense_wrong": 0,
        }
    )
    assert found.rows == [
        {"class": 0, "epoch": 17, "clean_labels": 1, "clean_fitted": 1, "wrong_labels": 2, "wrong_fitted": 1 / 2},
        {"class": 1, "epoch": 17, "clean_labels": 2, "clean_fitted": 1 / 2, "wrong_labels": 1, "wrong_fitted": 0},
    ]


@pytest.mark.parametrize(("evaluations", "epochs"), [(1, [17]), (2, [10, 17]), (3, [5, 15, 17]), (4, [5, 10, 15, 17])])
def test_rows_of_several_evaluations_spread_over_training(evaluations: int, epochs: list[int]) -> None:
    rows = measure(subject(RECORD, DENSE), evaluations=evaluations).rows
    assert [row["epoch"] for row in rows[::2]] == epochs and [row["class"] for row in rows] == [0, 1] * evaluations
    fitted = {5: 1, 10: 0, 15: 1, 17: 0}  # of the one wrong label of class 1
    assert all(row["wrong_fitted"] == fitted[row["epoch"]] for row in rows[1::2])


@pytest.mark.parametrize("evaluations", [0, 5])
def test_more_evaluations_than_there_were_are_refused(evaluations: int) -> None:
    with pytest.raises(ValueError, match=f"needs 1 to 4 evaluations, got {evaluations}"):
        measure(subject(RECORD, DENSE), evaluations=evaluations)


def test_what_was_never_fitted_at_all_was_learned_at_no_epoch() -> None:
    values = measure(subject(Record(RECORD.epochs, FITTED & False), DENSE)).values
    assert isnan(values["learned_epoch_clean"]) and values["never_fitted_clean"] == values["never_fitted_wrong"] == 1


@pytest.mark.parametrize(("record", "dense"), [(None, DENSE), (RECORD, None)])
def test_trainings_that_were_not_recorded_are_named(record: Record | None, dense: Record | None) -> None:
    with pytest.raises(ValueError, match="was not recorded"):
        measure(subject(record, dense))


def test_it_agrees_with_the_history(measured: Path) -> None:
    store = Store(measured)
    for run, manifest in store.manifests():
        rows = store.details(run, "memorization")
        for name, told in (("wrong", "memorized"), ("clean", "clean_accuracy")):
            sizes = [int(row[f"{name}_labels"]) for row in rows]
            fitted = sum(n * float(row[f"{name}_fitted"]) for n, row in zip(sizes, rows, strict=True))
            assert fitted / sum(sizes) == pytest.approx(manifest["metrics"][told])
        found = store.measures(run)["memorization"]
        assert run.level or found["unfitted_since_dense_wrong"] == found["fitted_since_dense_clean"] == 0
