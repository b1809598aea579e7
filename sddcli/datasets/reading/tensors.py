"""Tensors: the bytes of a data set as Data, and the outline of one that has not been read."""

import hashlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sddcli.core.types import Data, Examples
from sddcli.datasets.reading.files import Arrays, digest

MEAN = (255 * 0.485, 255 * 0.456, 255 * 0.406)
DEVIATION = (255 * 0.229, 255 * 0.224, 255 * 0.225)
"""Of red, green and blue, in units of a byte: those of ImageNet, which He et al. (2022) took for all photographs."""


def photographs(arrays: Arrays, classes: int, similar: tuple[int, ...] = (), notes: tuple[str, ...] = ()) -> Data:
    """Photographs as Data: they stay bytes, and are normalized when they are used.

    arrays: train.x, test.x: (N, 3, H, W) uint8; train.y, test.y: (N,) int64; and where there is one, train.large:
    (N, 3, height, width) uint8, the training images before they were brought to H x W. similar: (classes,) or ().
    """
    train, test = (
        Examples(*(torch.from_numpy(arrays[f"{split}.{part}"]) for part in "xy")) for split in ("train", "test")
    )
    large = torch.from_numpy(arrays["train.large"]) if "train.large" in arrays else None
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
