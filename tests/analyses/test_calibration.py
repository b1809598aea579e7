"""Calibration: by hand, on logits whose probabilities are known."""

from math import isnan, log

import numpy as np
import pytest
import torch

from sddcli.analyses.calibration import measure
from sddcli.core.types import Data, Examples, Subject, Trained


def told(probabilities: list[float], right: list[bool]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of three classes in which class 0 has these probabilities, the others half of the rest; true labels."""
    p = torch.tensor(probabilities, dtype=torch.float64)
    return torch.stack([p, (1 - p) / 2, (1 - p) / 2], 1).log().float(), torch.tensor([0 if r else 1 for r in right])


def subject(
    test: tuple[torch.Tensor, torch.Tensor], train: tuple[torch.Tensor, torch.Tensor], labels: list[int]
) -> Subject:
    data = Data(Examples(*train), Examples(*test), 3, "")
    nothing = Trained({}, {}, {})
    forward = lambda weights, x, training: x  # noqa: E731
    return Subject(nothing, forward, data, torch.tensor(labels), np.random.default_rng, dict, lambda: None)


TRAIN = told([0.5, 0.7, 0.9, 0.8], [True, True, True, True])
TEST = told([0.61, 0.69, 0.75, 0.88, 0.97], [True, False, True, True, False])


def test_by_hand() -> None:
    found = measure(subject(TEST, TRAIN, [0, 2, 0, 1]), bins=10)
    # Of five: two within (0.6, 0.7], one of them right; (0.7, 0.8], (0.8, 0.9], (0.9, 1].
    gaps = [2 * abs(0.5 - 0.65), abs(1 - 0.75), abs(1 - 0.88), abs(0 - 0.97)]
    nll = -(log(0.61) + log(0.31 / 2) + log(0.75) + log(0.88) + log(0.03 / 2)) / 5
    expected = {"test_ece": sum(gaps) / 5, "test_nll": nll, "test_confidence": (0.61 + 0.69 + 0.75 + 0.88 + 0.97) / 5}
    expected |= {"clean_confidence": (0.5 + 0.9) / 2, "wrong_confidence": (0.7 + 0.8) / 2}
    assert found.values == pytest.approx(expected, abs=1e-6)
    assert [(row["bin"], row["size"]) for row in found.rows] == [
        *((b, 0) for b in range(1, 7)),
        (7, 2),
        (8, 1),
        (9, 1),
        (10, 1),
    ]
    assert [found.rows[6][name] for name in ("confidence", "accuracy")] == pytest.approx([0.65, 0.5], abs=1e-6)
    assert isnan(found.rows[0]["confidence"]) and isnan(found.rows[0]["accuracy"])


def test_fifteen_bins_unless_told_otherwise() -> None:
    assert [row["bin"] for row in measure(subject(TEST, TRAIN, [0, 0, 0, 0])).rows] == list(range(1, 16))
    assert isnan(measure(subject(TEST, TRAIN, [0, 0, 0, 0])).values["wrong_confidence"]), "no label is wrong"
    with pytest.raises(ValueError, match="at least one bin, got bins=0"):
        measure(subject(TEST, TRAIN, [0, 0, 0, 0]), bins=0)


@pytest.mark.parametrize("bins", [1, 2, 15, 49])
def test_every_example_is_in_one_bin_certain_ones_in_the_last(bins: int) -> None:
    certain = torch.tensor([[200.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 3.0, 1.0]])
    found = measure(subject((certain, torch.tensor([0, 0, 0])), TRAIN, [0, 0, 0, 0]), bins=bins)
    assert sum(row["size"] for row in found.rows) == 3 and found.rows[-1]["size"] >= 1
    for row in found.rows:
        assert row["size"] == 0 or (row["bin"] - 1) / bins < row["confidence"] <= row["bin"] / bins


def test_a_network_that_knows_how_often_it_is_right_has_no_error() -> None:
    test = told([0.75] * 4, [True, True, True, False])
    assert measure(subject(test, TRAIN, [0, 0, 0, 0])).values["test_ece"] == pytest.approx(0, abs=1e-6)
