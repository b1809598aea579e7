"""MNIST (LeCun et al. 1998): four files in the format IDX, packed or not, by their names or those of Kaggle's copy."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sddcli.core.types import Data
from sddcli.datasets.reading.files import Arrays, Tell, data_folder, fetch
from sddcli.datasets.reading.tensors import normalized, outlined

CLASSES = 10
SIMILAR = (0, 1, 7, 8, 4, 6, 5, 7, 8, 9)  # 2 -> 7, 3 -> 8, 5 <-> 6 (He et al. 2022)
MEAN, DEVIATION = 255 * 0.1307, 255 * 0.3081
ADDRESSES = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/")
FILES = {
    "train.x": ("train-images-idx3-ubyte", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    "train.y": ("train-labels-idx1-ubyte", "d53e105ee54ea40749a09fcbcd1e9432"),
    "test.x": ("t10k-images-idx3-ubyte", "9fb629c4189551a2d022fa330f9573f3"),
    "test.y": ("t10k-labels-idx1-ubyte", "ec29112dd5afa0611ce80d1b7f02629c"),
}
"""Of each array the name of its file, and the md5 of that file packed by gzip."""
SHAPES = {"x": (28, 28), "y": ()}


def read(tell: Tell) -> Data:
    """60,000 digits to train on, 10,000 to test. x: (N, 1, 28, 28) float32.

    From DATA/MNIST/raw, as torchvision has it, DATA/MNIST or DATA itself, the folder of data sets; a file that is in
    none of them is downloaded into the first. Raises OSError naming a file that is damaged or not MNIST's, or what
    could not be downloaded.
    """
    arrays = _arrays(tell)
    train, test = ((arrays[f"{split}.x"][:, None], arrays[f"{split}.y"]) for split in ("train", "test"))
    return normalized(train, test, MEAN, DEVIATION, CLASSES, SIMILAR)


def outline() -> Data:
    """What `read` gives, without its content."""
    return outlined(60_000, (1, 28, 28), CLASSES, SIMILAR)


def _arrays(tell: Tell) -> Arrays:
    """train.x, test.x: (N, 28, 28) bytes; train.y, test.y: (N,) bytes."""
    paths = {key: _file(name, md5, tell) for key, (name, md5) in FILES.items()}
    arrays: Arrays = {key: _decoded(path, SHAPES[key[-1]]) for key, path in paths.items()}
    for split in ("train", "test"):
        x, y = f"{split}.x", f"{split}.y"
        if len(arrays[x]) != len(arrays[y]):
            counts = f"{len(arrays[x])} images in {paths[x]}, {len(arrays[y])} labels in {paths[y]}"
            raise OSError(f"these files do not belong together, or are not MNIST's: {counts}; remove the wrong one")
        if arrays[y].max(initial=0) >= CLASSES:
            raise OSError(f"{paths[y]} is not MNIST's: it has the label {arrays[y].max()}, and digits go to 9")
    return arrays


def _file(name: str, md5: str, tell: Tell) -> Path:
    """Where the file of this name lies; downloaded if it lies nowhere."""
    if (path := next((path for path in _candidates(name) if path.is_file()), None)) is not None:
        return path
    packed = data_folder() / "MNIST" / "raw" / f"{name}.gz"
    fetch([f"{address}{packed.name}" for address in ADDRESSES], packed, md5, tell)
    return packed


def _candidates(name: str) -> Iterator[Path]:
    """Where a file may have been put by hand. Kaggle's copy has dots in its names, and folders named as the files."""
    kaggle = name.replace("-idx", ".idx")
    for folder in (data_folder() / "MNIST" / "raw", data_folder() / "MNIST", data_folder()):
        for each in (name, kaggle):
            yield from (folder / each, folder / f"{each}.gz", folder / each / each, folder / name / each)


def _decoded(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The array (N, *shape) of an IDX file: two zeros, 8 for bytes, the number of axes, their lengths, the bytes."""
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise OSError(f"{path} is damaged ({error}); remove it to download it again") from None
    except OSError as error:
        raise OSError(f"cannot read {path}: {error.strerror}") from None
    axes = 1 + len(shape)
    lengths = np.frombuffer(content[4 : 4 + 4 * axes], ">u4") if len(content) >= 4 + 4 * axes else np.zeros(0)
    if content[:4] != bytes([0, 0, 8, axes]) or tuple(lengths[1:]) != shape:
        wanted = "images of 28x28 pixels" if shape else "labels"
        raise OSError(
            f"{path} is damaged or not MNIST's: it does not begin as {wanted} do; remove it to download it again"
        )
    expected, size = int(np.prod(lengths, dtype=np.int64)), len(content) - 4 - 4 * axes
    if size != expected:
        raise OSError(
            f"{path} is damaged: MNIST's has {expected} bytes of data, it has {size}; remove it to download it again"
        )
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(-1, *shape)
