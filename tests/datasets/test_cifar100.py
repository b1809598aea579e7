"""CIFAR-100: the superclasses, within which classes are mistaken for each other."""

import numpy as np

from sddcli.datasets.cifar100 import COARSE, SIMILAR


def test_superclasses_have_five_classes_and_cycle_within() -> None:
    assert len(COARSE) == 100 and np.bincount(COARSE).tolist() == [5] * 20
    assert all(COARSE[i] == COARSE[j] and i != j for i, j in enumerate(SIMILAR)) and sorted(SIMILAR) == list(range(100))
    whales = [4, 30, 55, 72, 95]  # beaver, dolphin, otter, seal, whale: aquatic mammals
    assert [SIMILAR[i] for i in whales] == [30, 55, 72, 95, 4]
