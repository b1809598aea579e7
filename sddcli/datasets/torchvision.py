"""torchvision's data sets by their names there: torchvision:FashionMNIST."""

import inspect
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sddcli.core.types import Data
from sddcli.core.words import UsageError, unknown
from sddcli.datasets.reading.files import Tell, data_folder
from sddcli.datasets.reading.tensors import normalized, outlined, photographs

OUTLINES = {
    "FashionMNIST": (60_000, (1, 28, 28), 10),
    "KMNIST": (60_000, (1, 28, 28), 10),
    "SVHN": (73_257, (3, 32, 32), 10),
    "USPS": (7_291, (1, 16, 16), 10),
    "STL10": (5_000, (3, 96, 96), 10),
}
"""Of some data sets how many images they train on, of which shape and how many classes: known before a download."""
OURS = {"MNIST": "mnist", "CIFAR10": "cifar10", "CIFAR100": "cifar100"}
"""What sdd reads itself: torchvision would unpickle two of them, which can run code."""
SIZED = ("train", "split")


def read(tell: Tell, name: str, *, size: int = 0) -> Data:
    """The images of torchvision.datasets.NAME, in the folder of data sets; downloaded by torchvision if it can be.

    x: grey images (N, 1, H, W) float32, less their mean and by their deviation; coloured ones (N, 3, H, W) bytes.
    size: N brings images to NxN pixels; 0 takes them as they are. Raises UsageError for a data set that is no table of
    images with a class each, OSError where it cannot be read or downloaded.
    """
    (train, labels), (test, truth) = (_split(name, each, size, tell) for each in ("train", "test"))
    classes = int(max(labels.max(), truth.max())) + 1
    if train.shape[1] == 3:
        return photographs({"train.x": train, "train.y": labels, "test.x": test, "test.y": truth}, classes)
    return normalized((train, labels), (test, truth), float(train.mean()), max(float(train.std()), 1e-6), classes)


def outline(name: str, *, size: int = 0) -> Data:
    """What `read` gives, without its content; of a data set that is not in OUTLINES from reading it. Raises as read."""
    _class(name)
    if name in OUTLINES:
        n, shape, classes = OUTLINES[name]
        return outlined(n, (shape[0], size or shape[1], size or shape[2]), classes)
    data = read(lambda *_: None, name, size=size)
    return outlined(len(data.train.y), tuple(data.train.x.shape[1:]), data.classes)


def _class(name: str) -> Any:
    """The data set's class. Raises UsageError for an unknown name, or one that has no training and test images."""
    from torchvision import datasets

    if name in OURS:
        raise UsageError(f"sdd reads {name} itself: --dataset {OURS[name]}")
    if name not in datasets.__all__:
        raise unknown("data set of torchvision", name, datasets.__all__)
    if not set(SIZED) & set(inspect.signature(getattr(datasets, name)).parameters):
        raise UsageError(f"{name} of torchvision has no training and test images that are told apart")
    return getattr(datasets, name)


def _split(name: str, split: str, size: int, tell: Tell) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The images (N, channels, H, W) and labels (N,) of a split: "train" or "test"."""
    made = _class(name)
    known = inspect.signature(made).parameters
    words: dict[str, Any] = {"train": split == "train"} if "train" in known else {"split": split}
    words |= {"download": True} if "download" in known else {}
    folder = data_folder() / "torchvision"
    folder.mkdir(parents=True, exist_ok=True)
    tell(f"{name} ({split})", 0, 1)
    try:
        images = made(folder, **words)
    except (RuntimeError, ValueError, ImportError) as error:
        line = " ".join(str(error).split())
        raise OSError(f"torchvision cannot read {name}: {line}; put the file into {folder} by hand") from None
    tell(f"{name} ({split})", 1, 1)
    return _arrays(name, images, size)


def _arrays(name: str, images: Iterable[Any], size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images and labels, image by image. Raises UsageError where an example is no image with a class."""
    pixels, labels = [], []
    for image, label in images:
        if not hasattr(image, "convert") or not isinstance(label, (int, np.integer)):
            raise UsageError(f"{name} of torchvision is no table of images with a class each")
        image = image if image.mode == "L" else image.convert("RGB")
        pixels.append(np.asarray(image.resize((size, size)) if size else image, np.uint8))
        labels.append(int(label))
    if len(shapes := {each.shape for each in pixels}) != 1:
        raise UsageError(
            f"images of {name} have {len(shapes)} sizes: bring them to one, as in torchvision:{name}:size=32"
        )
    x = np.stack(pixels)
    return np.ascontiguousarray(x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2)), np.array(labels, np.int64)
