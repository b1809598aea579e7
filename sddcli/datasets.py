"""Data sets: name -> (train, test) tensors. The only reader of data files."""

import gzip
import hashlib
import os
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sddcli.core.noise import SIMILAR
from sddcli.core.seeds import stream
from sddcli.core.types import Data, Examples
from sddcli.core.words import pick


@cache
def load(name: str, train_size: int = 0) -> Data:
    """The data set `name`, in memory; of its training examples all (0), or a fixed part.

    Parts are balanced by class and nest: a smaller one lies within a larger one. Raises ValueError for an
    unknown name or a part larger than the whole, OSError for missing or damaged files.
    """
    if not train_size:
        return pick("data set", name, DATASETS)()
    data = load(name)
    if train_size > len(data.train.y):
        raise ValueError(f"train_size {train_size} is more than the {len(data.train.y)} examples of {name}")
    part = torch.from_numpy(_balanced(data.train.y.numpy(), stream(0, name, "part"))[:train_size]).sort().values
    return data._replace(train=Examples(data.train.x[part], data.train.y[part]))


def _balanced(labels: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """All indices in random order, such that every beginning has the classes in about their shares."""
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place[generator.permutation(members)] = (np.arange(len(members)) + generator.random()) / len(members)
    return np.argsort(place, kind="stable")


def digits() -> Data:
    """1,797 handwritten digits of 8x8 pixels (Alpaydin & Kaynak 1998), 1,297 to train on and 500 to test.

    x: (N, 64). The file comes with scikit-learn; importing scikit-learn to read it would cost as much as torch.
    """
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise FileNotFoundError("the digits come with scikit-learn, which is not installed: pip install scikit-learn")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(path, "rt") as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    train, test = _stratified(rows[:, 64].astype(np.int64), 500)
    return _data(rows[:, :64], rows[:, 64], train, test, 4.884, 6.017, SIMILAR["digits"])


def mnist() -> Data:
    """MNIST (LeCun et al. 1998), read and, on first use, downloaded by torchvision. x: (N, 1, 28, 28).

    The folder is that of SDD_DATA, in torchvision's layout: MNIST/raw/train-images-idx3-ubyte and so on.
    """
    from torchvision.datasets import MNIST

    root = folder()
    raw = root / "MNIST" / "raw"
    try:
        splits = [MNIST(str(root), train=train, download=True) for train in (True, False)]
        images = [split.data.numpy() for split in splits]
        labels = [split.targets.numpy().astype(np.uint8) for split in splits]
    except Exception as error:  # torchvision says AssertionError, RuntimeError, ValueError, URLError, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        hint = "remove damaged files, or say --data-dir"
        raise OSError(f"cannot read or download mnist in {raw} ({reason}); {hint}") from None
    for x, y in zip(images, labels, strict=True):
        if len(x) != len(y) or x.shape[1:] != (28, 28) or y.max(initial=0) > 9:
            found = f"{len(x)} images of {x.shape[1:]}, {len(y)} labels up to {y.max(initial=0)}"
            raise OSError(f"the files in {raw} are not MNIST's: {found}")
    n = len(images[0])
    whole = np.concatenate(images)[:, None]
    train, test = np.arange(n), np.arange(n, len(whole))
    return _data(whole, np.concatenate(labels), train, test, 255 * 0.1307, 255 * 0.3081, SIMILAR["mnist"])


def folder() -> Path:
    """Where data sets that are downloaded live: SDD_DATA, or the user's cache."""
    return Path(os.environ.get("SDD_DATA") or Path.home() / ".cache" / "sdd")


def _stratified(labels: NDArray[np.int64], n_test: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(train, test) indices of a fixed split in which each class has its share of the test set."""
    counts = np.bincount(labels)
    exact = counts * n_test / len(labels)
    share = np.floor(exact).astype(np.int64)
    share[np.argsort(share - exact, kind="stable")[: n_test - share.sum()]] += 1  # the largest remainders
    test = []
    for label, n in enumerate(share):
        members = np.flatnonzero(labels == label)
        test.append(stream(0, "digits", "split", label).permutation(members)[:n])
    chosen = np.sort(np.concatenate(test))
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen


def _data(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    mean: float,
    deviation: float,
    similar: tuple[int, ...],
) -> Data:
    """Raw bytes (N, *features) as normalized tensors, in two splits; the hash is of the bytes and the split."""
    content = hashlib.sha256()
    splits = []
    for part in (train, test):
        content.update(images[part].tobytes() + labels[part].tobytes())
        x = torch.from_numpy(((images[part].astype(np.float32) - mean) / deviation).astype(np.float32))
        splits.append(Examples(x, torch.from_numpy(labels[part].astype(np.int64))))
    return Data(splits[0], splits[1], len(similar), content.hexdigest(), similar)


DATASETS: dict[str, Callable[[], Data]] = {"digits": digits, "mnist": mnist}
