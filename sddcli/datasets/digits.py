"""Digits: 1,797 handwritten digits of 8x8 pixels (Alpaydin & Kaynak 1998), which come with scikit-learn."""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sddcli.core.seeds import stream
from sddcli.core.types import Data
from sddcli.datasets.reading.files import Tell
from sddcli.datasets.reading.tensors import normalized, outlined

CLASSES, TRAIN, TEST = 10, 1297, 500
SIMILAR = (0, 1, 7, 8, 4, 6, 5, 7, 8, 9)  # as MNIST: 2 -> 7, 3 -> 8, 5 <-> 6 (He et al. 2022)
MEAN, DEVIATION = 4.884, 6.017


def read(tell: Tell) -> Data:
    """The digits, 1,297 to train on and 500 to test. x: (N, 1, 8, 8) float32.

    Raises FileNotFoundError where scikit-learn is not installed.
    """
    # Importing scikit-learn to read its file would cost as much as torch.
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise FileNotFoundError("the digits come with scikit-learn, which is not installed: pip install scikit-learn")
    with gzip.open(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    images, labels = rows[:, :64].reshape(-1, 1, 8, 8), rows[:, 64]
    train, test = ((images[part], labels[part]) for part in _stratified(labels.astype(np.int64)))
    return normalized(train, test, MEAN, DEVIATION, CLASSES, SIMILAR)


def outline() -> Data:
    """What `read` gives, without its content."""
    return outlined(TRAIN, (1, 8, 8), CLASSES, SIMILAR)


def _stratified(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(train, test) indices of a fixed split in which each class has its share of the test set."""
    counts = np.bincount(labels)
    exact = counts * TEST / len(labels)
    sizes = np.floor(exact).astype(np.int64)
    sizes[np.argsort(sizes - exact, kind="stable")[: TEST - sizes.sum()]] += 1  # the largest remainders
    test = []
    for label, size in enumerate(sizes):
        of_class = np.flatnonzero(labels == label)
        test.append(stream(0, "digits", "split", label).permutation(of_class)[:size])
    chosen = np.sort(np.concatenate(test))
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen
