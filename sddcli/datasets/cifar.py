"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), in the layout of their archives and of torchvision.

Their files are pickles. torchvision would run what they say; here an unpickler reads them that can make
arrays, and nothing else.
"""

import io
import tarfile
from pathlib import Path
from pickle import Unpickler, UnpicklingError
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sddcli.datasets.files import Arrays, Tell, fetch, folder


class Archive(NamedTuple):
    """One of the two: its archive and that one's hash, its folder, the files of its splits, its keys."""

    name: str
    md5: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    labels: bytes
    classes: int


ADDRESSES = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")
CIFAR10 = Archive(
    "cifar-10-python.tar.gz",
    "c58f30108f718f92721af3b95e74349a",
    "cifar-10-batches-py",
    tuple(f"data_batch_{i}" for i in range(1, 6)),
    ("test_batch",),
    b"labels",
    10,
)
CIFAR100 = Archive(
    "cifar-100-python.tar.gz",
    "eb9058c3a382ffc7106e4002c42a8d85",
    "cifar-100-python",
    ("train",),
    ("test",),
    b"fine_labels",
    100,
)


def read(archive: Archive, tell: Tell) -> Arrays:
    """The images and labels of both splits: train.x, train.y, test.x, test.y; x: (N, 3, 32, 32) bytes.

    Downloaded on first use. Raises OSError for files that are missing, damaged or not CIFAR's.
    """
    place = folder() / archive.folder
    paths = {split: [place / name for name in getattr(archive, split)] for split in ("train", "test")}
    every = [path for split in paths.values() for path in split]
    if not all(path.exists() for path in every):
        _unpack(archive, tell)

    arrays: Arrays = {}
    for done, (split, files) in enumerate(paths.items(), 1):
        parts = [_batch(path, archive) for path in files]
        arrays[f"{split}.x"], arrays[f"{split}.y"] = (np.concatenate(column) for column in zip(*parts, strict=True))
        tell(f"reading {archive.folder}", done, 2)
    return arrays


def _unpack(archive: Archive, tell: Tell) -> None:
    packed = folder() / archive.name
    if not packed.exists():
        fetch([address + archive.name for address in ADDRESSES], packed, archive.md5, tell)
    try:
        with tarfile.open(packed) as tar:
            tar.extractall(folder(), filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise OSError(f"{packed} is damaged ({error}); remove it to download it again") from None


class _Arrays(Unpickler):
    """Makes arrays of numbers, and refuses to call anything else that a pickle names."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            from numpy._core.multiarray import _reconstruct

            return _reconstruct
        if (module, name) == ("_codecs", "encode"):
            return lambda text, coding: text.encode("latin1" if coding == "latin1" else "ascii")
        raise UnpicklingError(f"it wants to run {module}.{name}")


def _batch(path: Path, archive: Archive) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        found = _Arrays(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        x, y = np.asarray(found[b"data"]), np.asarray(found[archive.labels])
        if x.dtype != np.uint8 or x.ndim != 2 or x.shape[1] != 3072 or y.shape != x.shape[:1]:
            raise ValueError(f"{x.dtype} {x.shape} with labels {y.shape}")
        if y.dtype.kind != "i" or y.min(initial=0) < 0 or y.max(initial=0) >= archive.classes:
            raise ValueError(f"labels that are not 0 to {archive.classes - 1}")
    except OSError as error:
        raise OSError(f"cannot read {path}: {error.strerror}") from None
    except Exception as error:  # a damaged pickle fails in any way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OSError(f"{path} is damaged or not CIFAR's ({reason}); remove it to unpack it again") from None
    return x.reshape(-1, 3, 32, 32), y.astype(np.int64)
