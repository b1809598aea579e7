"""Similarity: a network is like itself, alignment is what plain linear algebra says, dead layers have none."""

import math

import numpy as np
import pytest
import torch

from sddcli.analyses.pairs.similarity import alignment, measure
from sddcli.core.words import UsageError
from tests.analyses.networks import MODELS, subject


@pytest.mark.parametrize("word", MODELS)
def test_a_network_is_like_itself_and_less_like_another(word: str) -> None:
    a, b = subject(word, seed=1, kept=0.3), subject(word, seed=2, kept=0.3)
    same, other = measure(a, a), measure(a, b)
    assert same.values["disagreement"] == 0 and same.values["mask_overlap"] == same.values["agreeing_signs"] == 1
    assert all(row["cka"] == pytest.approx(1) for row in same.rows) and len(same.rows) > 1
    assert 0 < other.values["cka"] < 0.99
    assert 0 < other.values["mask_overlap"] < 0.5 and 0.2 < other.values["agreeing_signs"] < 0.8


def test_disagreement_is_of_the_classes_on_the_whole_test_set() -> None:
    a, b = subject(MODELS[0], seed=1), subject(MODELS[0], seed=2)
    classes = []
    for each in (a, b):
        weights = {name: w[None] for name, w in each.net.final.items()}
        classes.append(each.forward(weights, each.data.test.x[None], False)[0].argmax(1))
    expected = float((classes[0] != classes[1]).double().mean())
    assert 0 < expected < 1
    assert measure(a, b).values["disagreement"] == measure(a, b, examples=2).values["disagreement"] == expected


def test_alignment_is_that_of_the_definition_and_ignores_rotation_and_scale() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((30, 4)), generator.standard_normal((30, 7))
    centered = [each - each.mean(0) for each in (x, y)]
    above = np.linalg.norm(centered[1].T @ centered[0]) ** 2
    below = np.linalg.norm(centered[0].T @ centered[0]) * np.linalg.norm(centered[1].T @ centered[1])
    assert alignment(torch.tensor(x), torch.tensor(y)) == pytest.approx(above / below)
    rotation = np.linalg.qr(generator.standard_normal((4, 4)))[0]
    assert alignment(torch.tensor(x), torch.tensor(3 * x @ rotation + 5)) == pytest.approx(1)
    assert math.isnan(alignment(torch.tensor(x), torch.ones(30, 2)))


def test_what_cannot_be_compared() -> None:
    a = subject(MODELS[0], seed=1)
    with pytest.raises(UsageError, match="different data"):
        measure(a, a._replace(data=a.data._replace(sha256="another")))
    with pytest.raises(UsageError, match="different layers"):
        measure(a, subject(MODELS[1], seed=1)._replace(data=a.data))
    with pytest.raises(UsageError, match="at least 2 examples"):
        measure(a, a, examples=1)
