"""Data sets: what they are, fixed for ever."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from sddcli.datasets import DATASETS, load


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_is_normalized_and_complete(name: str) -> None:
    data = load(name)
    assert data.train.x.dtype == torch.float32 and data.train.y.dtype == torch.int64
    assert abs(data.train.x.mean()) < 0.01 and abs(data.train.x.std() - 1) < 0.01
    for split in data[:2]:
        assert len(split.x) == len(split.y) and set(split.y.tolist()) == set(range(data.classes))
    assert load(name) is data


def test_digits_are_scikit_learns_each_once() -> None:
    data, theirs = load("digits"), load_digits()
    assert (len(data.train.x), len(data.test.x)) == (1297, 500)
    ours = np.concatenate([torch.cat([s.x * 6.017 + 4.884, s.y[:, None].float()], 1).numpy() for s in data[:2]])
    whole = np.column_stack([theirs.data, theirs.target])
    assert np.array_equal(np.unique(np.rint(ours), axis=0), np.unique(whole, axis=0)) and len(ours) == len(whole)


def test_digits_are_split_by_class_and_for_ever() -> None:
    data = load("digits")
    total = torch.cat([data.train.y, data.test.y]).bincount()
    assert ((data.test.y.bincount() - total * 500 / 1797).abs() < 1).all()
    assert data.sha256.startswith("1794a0395951ad1c"), "another split makes all recorded runs incomparable"


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="unknown data set 'digit'; did you mean 'digits'"):
        load("digit")


def test_parts_are_balanced_and_nest() -> None:
    whole, parts = load("digits"), [load("digits", n) for n in (100, 300, 1297)]
    rows = [{tuple(x.tolist()) for x in part.train.x} for part in parts]
    assert [len(part.train.x) for part in parts] == [100, 300, 1297] and rows[0] < rows[1] < rows[2]
    assert ((parts[0].train.y.bincount() - 10).abs() <= 1).all()
    assert torch.equal(parts[0].test.x, whole.test.x) and torch.equal(parts[2].train.y, whole.train.y)
    with pytest.raises(ValueError, match="train_size 1298 is more than the 1297 examples of digits"):
        load("digits", 1298)
