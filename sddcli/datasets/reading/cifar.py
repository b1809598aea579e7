"""CIFAR: how the archives of CIFAR-10 and CIFAR-100 are read (Krizhevsky 2009), as torchvision unpacks them too.

Their files are pickles, and unpickling may run any code. The unpickler here can make arrays of numbers, and refuses
everything else.
"""

import io
import tarfile
from pathlib import Path
from pickle import Unpickler, UnpicklingError
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sddcli.datasets.reading.files import Arrays, Tell, data_folder, fetch


class Archive(NamedTuple):
    """One of the two data sets.

    name, md5: of the packed archive; folder: what it unpacks to; train, test: the files of each split in that folder;
    labels: the key of the labels in such a file; classes: how many there are.
    """

    name: str
    md5: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    labels: bytes
    classes: int


ADDRESSES = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")


def read(archive: Archive, tell: Tell) -> Arrays:
    """train.x, test.x: (N, 3, 32, 32) uint8; train.y, test.y: (N,) int64. Downloaded on first use.

    Raises OSError for files that are missing and cannot be downloaded, are damaged or not CIFAR's.
    """
    unpacked = data_folder() / archive.folder
    paths = {"train": [unpacked / name for name in archive.train], "test": [unpacked / name for name in archive.test]}
    if not all(path.exists() for path in (*paths["train"], *paths["test"])):
        _unpack(archive, tell)

    arrays: Arrays = {}
    for done, (split, files) in enumerate(paths.items(), 1):
        parts = [_batch(path, archive) for path in files]
        arrays[f"{split}.x"], arrays[f"{split}.y"] = (np.concatenate(column) for column in zip(*parts, strict=True))
        tell(f"reading {archive.folder}", done, 2)
    return arrays


def _unpack(archive: Archive, tell: Tell) -> None:
    packed = data_folder() / archive.name
    if not packed.exists():
        fetch([address + archive.name for address in ADDRESSES], packed, archive.md5, tell)
    try:
        with tarfile.open(packed) as tar:
            tar.extractall(data_folder(), filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise OSError(f"{packed} is damaged ({error}); remove it to download it again") from None


class ArrayUnpickler(Unpickler):
    """Makes arrays of numbers. Raises UnpicklingError for anything else that a pickle wants to call."""

    def find_class(self, module: str, name: str) -> Any:
        """What makes an array. Raises UnpicklingError for all other names."""
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            from numpy._core.multiarray import _reconstruct

            return _reconstruct
        if (module, name) == ("_codecs", "encode"):
            return lambda text, coding: text.encode("latin1" if coding == "latin1" else "ascii")
        raise UnpicklingError(f"it wants to run {module}.{name}")


def _batch(path: Path, archive: Archive) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The images (N, 3, 32, 32) and labels (N,) of one file."""
    try:
        content = ArrayUnpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        x, y = np.asarray(content[b"data"]), np.asarray(content[archive.labels])
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
