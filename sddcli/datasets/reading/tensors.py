"""Tensors: the bytes of a data set as Data, and the outline of one that has not been read."""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sddcli.core.types import Data, Examples
from sddcli.core.words import UsageError
from sddcli.datasets.reading.files import Arrays, digest

MEAN = (255 * 0.485, 255 * 0.456, 255 * 0.406)
DEVIATION = (255 * 0.229, 255 * 0.224, 255 * 0.225)
"""Of red, green and blue, in units of a byte: those of ImageNet, which He et al. (2022) took for all photographs."""


def photographs(arrays: Arrays, classes: int, similar: tuple[int, ...] = (), notes: tuple[str, ...] = ()) -> Data:
    """Photographs as Data: they stay bytes, and are normalized when they are used.

    arrays: train.x, test.x: (N, 3, H, W) uint8; train.y, test.y: (N,) int64; and where there is one, train.large:
    (N, 3, height, width) uint8, the training images before they were brought to H x W. similar: (classes,) or ().
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writ")  # mapped files: nobody writes to them
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    train, test = (Examples(tensors[f"{split}.x"], tensors[f"{split}.y"]) for split in ("train", "test"))
    large = tensors.get("train.large")
    return Data(train, test, classes, digest(arrays), similar, MEAN, DEVIATION, large=large, notes=notes)


def normalized(
    train: tuple[NDArray[np.uint8], NDArray[Any]],
    test: tuple[NDArray[np.uint8], NDArray[Any]],
    mean: float,
    deviation: float,
    classes: int,
    similar: tuple[int, ...] = (),
) -> Data:
    """Grey images as Data: float32, less the mean and by the deviation, both in units of a byte.

    train, test: images (N, 1, H, W) uint8 and labels (N,); the hash is of the bytes of both. similar: (classes,) or ().
    """
    content, splits = hashlib.sha256(), []
    for images, labels in (train, test):
        content.update(images.tobytes() + labels.tobytes())
        x = torch.from_numpy(((images.astype(np.float32) - mean) / deviation).astype(np.float32))
        splits.append(Examples(x, torch.from_numpy(labels.astype(np.int64))))
    return Data(splits[0], splits[1], classes, content.hexdigest(), similar)


def given(load: Callable[[], Sequence[Any]]) -> Data:
    """The Data of four arrays or tensors that code of the user's own gives: train_x, train_y, test_x, test_y.

    x: (N, *features) numbers, taken as they are; images of bytes, (N, channels, H, W) uint8, stay bytes and are
    normalized by mean and deviation of each channel of the training images. y: (N,) whole numbers from 0 on; the
    largest says how many classes there are. Raises UsageError for anything else.
    """
    parts = load()
    if not isinstance(parts, (tuple, list)) or len(parts) != 4:
        raise UsageError("a data set is four arrays: train_x, train_y, test_x, test_y")
    arrays = [np.ascontiguousarray(part) for part in parts]
    classes = 1 + max(int(y.max(initial=0)) for y in arrays[1::2])
    for x, y in zip(arrays[::2], arrays[1::2], strict=True):
        if y.shape != x.shape[:1] or not len(y) or y.dtype.kind not in "iu" or y.min() < 0:
            raise UsageError(f"labels are (N,) whole numbers from 0 on, one for each example, not {y.dtype}{y.shape}")
        if x.shape[1:] != arrays[0].shape[1:] or x.ndim < 2 or x.dtype.kind not in "fiub":
            raise UsageError(f"examples are (N, *features) numbers of one shape, not {x.dtype}{x.shape}")
    content = hashlib.sha256()
    for each in arrays:
        content.update(f"{each.dtype}{each.shape}".encode() + each.tobytes())
    bytes_ = arrays[0].dtype == arrays[2].dtype == np.uint8 and arrays[0].ndim == 4
    xs = [torch.from_numpy(x if bytes_ else x.astype(np.float32)) for x in arrays[::2]]
    if not all(x.isfinite().all() for x in xs):
        raise UsageError("some number of its examples is not finite")
    splits = [Examples(x, torch.from_numpy(y.astype(np.int64))) for x, y in zip(xs, arrays[1::2], strict=True)]
    data = Data(splits[0], splits[1], classes, content.hexdigest())
    if not bytes_:
        return data
    of_channels = arrays[0].mean((0, 2, 3)), arrays[0].std((0, 2, 3)).clip(1)  # NumPy adds them up in float64
    return data._replace(mean=tuple(of_channels[0].tolist()), deviation=tuple(of_channels[1].tolist()))


def outlined(
    n: int, shape: tuple[int, ...], classes: int, similar: tuple[int, ...] = (), notes: tuple[str, ...] = ()
) -> Data:
    """The outline of n training images of a shape (channels, H, W): labels in turn, and images that take no memory.

    Of as many test images as classes. Three channels are a photograph, which stays bytes, as in `photographs`.
    """
    train, test = (
        Examples(torch.zeros((), dtype=torch.uint8).expand(size, *shape), torch.arange(size) % classes)
        for size in (n, classes)
    )
    mean, deviation = (MEAN, DEVIATION) if shape[0] == 3 else ((), ())
    return Data(train, test, classes, "", similar, mean, deviation, notes=notes)
