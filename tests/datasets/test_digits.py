"""Digits: those of scikit-learn, in a split that is fixed for ever."""

import numpy as np
import torch
from sklearn.datasets import load_digits

from sddcli.data import load


def test_digits_are_scikit_learns_each_once() -> None:
    data, theirs = load("digits"), load_digits()
    assert (len(data.train.x), len(data.test.x)) == (1297, 500)
    ours = np.concatenate(
        [torch.cat([s.x.flatten(1) * 6.017 + 4.884, s.y[:, None].float()], 1).numpy() for s in data[:2]]
    )
    whole = np.column_stack([theirs.data, theirs.target])
    assert np.array_equal(np.unique(np.rint(ours), axis=0), np.unique(whole, axis=0)) and len(ours) == len(whole)


def test_digits_are_split_by_class_and_for_ever() -> None:
    data = load("digits")
    total = torch.cat([data.train.y, data.test.y]).bincount()
    assert ((data.test.y.bincount() - total * 500 / 1797).abs() < 1).all()
    assert data.sha256.startswith("1794a0395951ad1c"), "another split makes all recorded runs incomparable"
