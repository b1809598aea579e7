"""Data sets: name -> (train, test) tensors. The files of this folder are the only readers of data files."""

import functools
import gzip
import hashlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sddcli.core.noise import SIMILAR
from sddcli.core.seeds import stream
from sddcli.core.types import Data, Examples
from sddcli.core.words import UsageError, pick, unknown
from sddcli.datasets import cifar, image_folder, mnist, tiny_imagenet
from sddcli.datasets.files import Arrays, Tell, digest
from sddcli.datasets.layout import Held


class DataSet(NamedTuple):
    """How one is read, and what is known of it without its files: each (..., **parameters) -> Data.

    An outline has the shape of the data and no content: what a sweep will cost can be said before a download.
    """

    read: Callable[..., Data]
    outline: Callable[..., Data]


def silent(what: str, done: int, total: int) -> None:
    """Tells nobody."""


_loaded: dict[tuple[str, int, float, str], Data] = {}
_outlined: dict[tuple[str, int, float], Data] = {}


def load(name: str, train_size: int = 0, validation: float = 0.0, device: str = "cpu", tell: Tell = silent) -> Data:
    """The data set `name`, in the memory of a device; of its training examples all (0), or a fixed part.

    In a part each class has its share of the whole, within an example, and parts nest: a smaller one lies within a
    larger one. validation: the share of them that is held out, of each class alike. What was loaded is kept. Raises
    UsageError for an unknown name or a part larger than the whole, OSError for missing or damaged files.
    """
    key = name, train_size, validation, device
    if key in _loaded:
        return _loaded[key]
    if device != "cpu":
        data = load(name, train_size, validation, "cpu", tell)
        held = None if data.held is None else _moved(data.held, device)
        large = None if data.large is None else data.large.to(device)
        train, test = _moved(data.train, device), _moved(data.test, device)
        _loaded[key] = data._replace(train=train, test=test, held=held, large=large)
    elif train_size or validation:
        _loaded[key] = _part(load(name, tell=tell), name, train_size, validation)
    else:
        _loaded[key] = _called(name, "read")(tell)
    return _loaded[key]


def outline(name: str, train_size: int = 0, validation: float = 0.0) -> Data:
    """What `load` would give, without its content; kept, too. Raises UsageError, OSError as it does."""
    key = name, train_size, validation
    if key not in _outlined:
        part = bool(train_size or validation)
        _outlined[key] = _part(outline(name), *key) if part else _called(name, "outline")()
    return _outlined[key]


def forget() -> None:
    """Frees all that was loaded."""
    _loaded.clear()
    _outlined.clear()


def _moved(examples: Examples, device: str) -> Examples:
    return Examples(examples.x.to(device), examples.y.to(device))


def _called(word: str, what: str) -> Callable[..., Data]:
    """The reader or the outline of the data set that a word means: `name:key=value`, or `folder:PATH:key=value`."""
    members: dict[str, Callable[..., Data]] = {name: getattr(member, what) for name, member in DATASETS.items()}
    name, *more = word.split(":")
    if name != "folder":
        return pick("data set", word, members)
    settings: list[str] = []
    while len(more) > 1 and "=" in more[-1]:
        settings.insert(0, more.pop())
    if not more or not more[0]:
        raise UsageError("say which folder: folder:PATH")
    return functools.partial(pick("data set", ":".join([name, *settings]), members), path=":".join(more))


def _part(data: Data, name: str, size: int, validation: float) -> Data:
    """`size` training examples of `data`, all for 0, each class in its share; the share `validation` is held out."""
    n = len(data.train.y)
    if size > n:
        raise UsageError(f"train_size {size} is more than the {n} examples of {name}")
    # Named without parameters: where a folder lies or how large its images are shall not choose others.
    order = _proportional(data.train.y.numpy(), stream(0, name.split(":")[0], "part"))[: size or n]
    held = round(validation * len(order))
    if validation and not 0 < held < len(order):
        raise UsageError(f"validation {validation} of {len(order)} examples leaves none on one side")
    places = [torch.from_numpy(each).sort().values for each in (order[: len(order) - held], order[len(order) - held :])]
    # The images of an outline are all one, which takes no memory.
    x = data.train.x
    images = [x[place] if x.stride(0) else x[: len(place)] for place in places]
    train, rest = (Examples(image, data.train.y[place]) for image, place in zip(images, places, strict=True))
    large = None if data.large is None else data.large[places[0]]
    return data._replace(train=train, held=rest if held else None, large=large)


def _proportional(labels: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """All indices in random order, such that every beginning has the classes in about their shares."""
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place[generator.permutation(members)] = (np.arange(len(members)) + generator.random()) / len(members)
    return np.argsort(place, kind="stable")


def digits(tell: Tell) -> Data:
    """1,797 handwritten digits of 8x8 pixels (Alpaydin & Kaynak 1998), 1,297 to train on and 500 to test.

    x: (N, 1, 8, 8). The file comes with scikit-learn; importing scikit-learn to read it would cost as much as torch.
    """
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise FileNotFoundError("the digits come with scikit-learn, which is not installed: pip install scikit-learn")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(path, "rt") as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    train, test = _stratified(rows[:, 64].astype(np.int64), 500)
    return _data(rows[:, :64].reshape(-1, 1, 8, 8), rows[:, 64], train, test, 4.884, 6.017, SIMILAR["digits"])


def handwritten(tell: Tell) -> Data:
    """MNIST (LeCun et al. 1998): 70,000 handwritten digits, 10,000 to test on. x: (N, 1, 28, 28)."""
    arrays = mnist.read(tell)
    n = len(arrays["train.y"])
    images, labels = (np.concatenate([arrays[f"{split}.{part}"] for split in ("train", "test")]) for part in "xy")
    train, test = np.arange(n), np.arange(n, len(labels))
    return _data(images[:, None], labels, train, test, 255 * 0.1307, 255 * 0.3081, SIMILAR["mnist"])


def cifar10(tell: Tell) -> Data:
    """CIFAR-10: 60,000 photographs of 32x32 pixels in 10 classes. x: (N, 3, 32, 32) bytes."""
    return _pictures(cifar.read(cifar.CIFAR10, tell), 10, SIMILAR["cifar10"])


def cifar100(tell: Tell) -> Data:
    """CIFAR-100: 60,000 photographs of 32x32 pixels in 100 classes. x: (N, 3, 32, 32) bytes."""
    return _pictures(cifar.read(cifar.CIFAR100, tell), 100, SIMILAR["cifar100"])


def tiny(tell: Tell, *, size: int = 64) -> Data:
    """Tiny ImageNet: 110,000 photographs in 200 classes, 10,000 of them to test on. x: (N, 3, size, size) bytes.

    Of size 32 the training images of 64 pixels are there too, for augmentations: `large`.
    """
    return _pictures(*tiny_imagenet.read(size, tell))


def images(tell: Tell, path: str, *, size: int = 0, corrupt: str = "error", test: float = 0.0, seed: int = 0) -> Data:
    """Any folder of images, laid out as `datasets.layout` says. x: (N, 3, H, W) bytes; size=N brings all to NxN.

    corrupt=skip leaves out images that cannot be read, and counts them. test=SHARE holds out a share of the training
    images of each class to test on, drawn by seed, where a folder has no test images.
    """
    arrays, classes, notes = image_folder.read(path, size, _skipped(corrupt), Held(test, seed), tell)
    return _pictures(arrays, classes)._replace(notes=notes)


def _images_outline(path: str, *, size: int = 0, corrupt: str = "error", test: float = 0.0, seed: int = 0) -> Data:
    n, shape, classes, notes = image_folder.outline(path, size, _skipped(corrupt), Held(test, seed))
    return _shell(n, shape, classes)._replace(notes=notes)


def _skipped(corrupt: str) -> bool:
    if corrupt not in ("error", "skip"):
        raise unknown("way with corrupt images", corrupt, ("error", "skip"))
    return corrupt == "skip"


def _pictures(arrays: Arrays, classes: int, similar: tuple[int, ...] = ()) -> Data:
    """Bytes (N, 3, H, W) and labels as Data, normalized when used: by the numbers that He et al. (2022) took."""
    splits = [Examples(*(torch.from_numpy(arrays[f"{split}.{part}"]) for part in "xy")) for split in ("train", "test")]
    large = torch.from_numpy(arrays["train.large"]) if "train.large" in arrays else None
    return Data(splits[0], splits[1], classes, digest(arrays), similar, MEAN, DEVIATION, large=large)


def _shell(n: int, features: tuple[int, ...], classes: int, similar: tuple[int, ...] = ()) -> Data:
    """The outline of n training examples: labels in turn, and images that take no memory."""
    pixels = (MEAN, DEVIATION) if features[0] == 3 else ((), ())
    splits = [
        Examples(torch.zeros((), dtype=torch.uint8).expand(size, *features), torch.arange(size) % classes)
        for size in (n, classes)
    ]
    return Data(splits[0], splits[1], classes, "", similar, *pixels)


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


MEAN = (255 * 0.485, 255 * 0.456, 255 * 0.406)
DEVIATION = (255 * 0.229, 255 * 0.224, 255 * 0.225)

DATASETS: dict[str, DataSet] = {
    "digits": DataSet(digits, lambda: _shell(1297, (1, 8, 8), 10, SIMILAR["digits"])),
    "mnist": DataSet(handwritten, lambda: _shell(60_000, (1, 28, 28), 10, SIMILAR["mnist"])),
    "cifar10": DataSet(cifar10, lambda: _shell(50_000, (3, 32, 32), 10, SIMILAR["cifar10"])),
    "cifar100": DataSet(cifar100, lambda: _shell(50_000, (3, 32, 32), 100, SIMILAR["cifar100"])),
    "tiny-imagenet": DataSet(tiny, lambda *, size=64: _shell(100_000, (3, size, size), 200)),
    "folder": DataSet(images, _images_outline),
}
