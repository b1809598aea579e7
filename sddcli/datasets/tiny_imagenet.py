"""Tiny ImageNet: 110,000 photographs of 64x64 pixels in 200 classes (Le & Yang 2015), as its archive unpacks."""

import zipfile
from pathlib import Path

import numpy as np

from sddcli.core.types import Data
from sddcli.core.words import UsageError
from sddcli.datasets.reading.files import UNSAVED, Arrays, Tell, cached, data_folder, fetch, stamp
from sddcli.datasets.reading.layout import ANNOTATIONS, annotations
from sddcli.datasets.reading.pictures import Unreadable, decode
from sddcli.datasets.reading.tensors import outlined, photographs

CLASSES, SIZES = 200, (64, 32)
NAME, MD5 = "tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de"
ADDRESSES = ("http://cs231n.stanford.edu/tiny-imagenet-200.zip", "https://cs231n.stanford.edu/tiny-imagenet-200.zip")

Labelled = dict[str, list[tuple[Path, int]]]
"""Split -> its images and their labels."""


def read(tell: Tell, *, size: int = 64) -> Data:
    """100,000 photographs to train on, 10,000 to test, the official validation images. x: (N, 3, size, size) bytes.

    size: 64, images as they are, or 32: brought to 45 pixels and cropped to the middle 32, as the published code of
    He et al. (2022) does for its test images; the training images of 64 pixels are then there too, as `large`.
    Raises OSError for missing or damaged files, UsageError for other sizes.
    """
    if size not in SIZES:
        raise UsageError(f"tiny-imagenet has sizes 64 and 32, not {size}")
    unpacked = data_folder() / NAME.removesuffix(".zip")
    if not (unpacked / "val" / ANNOTATIONS).exists():
        _unpack(tell)
    splits, classes = _labelled(unpacked)
    stamped = stamp(((path, [split, label]) for split in splits for path, label in splits[split]), tell)
    name = f"tiny-imagenet-{size}" + ("-of-64" if size == 32 else "")
    try:
        arrays, facts = cached(name, stamped, lambda: (_decoded(splits, size, tell), {}))
    except Unreadable as error:
        raise OSError(f"{error}; remove {unpacked} to unpack it again") from None
    return photographs(arrays, classes, notes=(facts[UNSAVED],) if UNSAVED in facts else ())


def outline(*, size: int = 64) -> Data:
    """What `read` gives, without its content. Raises UsageError as it does."""
    if size not in SIZES:
        raise UsageError(f"tiny-imagenet has sizes 64 and 32, not {size}")
    return outlined(100_000, (3, size, size), CLASSES)


def _labelled(unpacked: Path) -> tuple[Labelled, int]:
    """The images of both splits, all there, and the number of classes, in the order of their names."""
    classes = sorted(each.name for each in (unpacked / "train").iterdir() if each.is_dir())
    labels = {name: label for label, name in enumerate(classes)}
    listed = annotations(unpacked / "val" / ANNOTATIONS)
    if strange := set(listed.values()).difference(classes):
        raise OSError(f"{unpacked / 'val' / ANNOTATIONS} names the unknown class {min(strange)}")
    folders = {name: sorted((unpacked / "train" / name / "images").glob("*.JPEG")) for name in classes}
    train = [(path, labels[name]) for name, paths in folders.items() for path in paths]
    test = [(unpacked / "val" / "images" / file, labels[name]) for file, name in listed.items()]
    if missing := next((path for path, _ in (*train, *test) if not path.is_file()), None):
        raise OSError(f"{missing} is missing: remove {unpacked} to unpack it again")
    return {"train": train, "test": test}, len(classes)


def _decoded(splits: Labelled, size: int, tell: Tell) -> Arrays:
    """train.x, train.y, test.x, test.y and, of size 32, train.large, as `photographs` takes them."""
    resize, crop = (45, 32) if size == 32 else (0, 0)
    arrays: Arrays = {}
    for split, members in splits.items():
        paths, labels = [path for path, _ in members], [label for _, label in members]
        arrays[f"{split}.x"] = decode(paths, resize, crop, False, tell, f"reading {split} images").x
        arrays[f"{split}.y"] = np.array(labels, np.int64)
    if size == 32:
        paths, what = [path for path, _ in splits["train"]], "reading train images again, as they are"
        arrays["train.large"] = decode(paths, 0, 0, False, tell, what).x
    return arrays


def _unpack(tell: Tell) -> None:
    packed = data_folder() / NAME
    if not packed.exists():
        fetch(ADDRESSES, packed, MD5, tell)
    try:
        with zipfile.ZipFile(packed) as archive:
            names = archive.namelist()
            for done, name in enumerate(names, 1):
                archive.extract(name, data_folder())  # which drops ".." and leading slashes
                if done % 2000 == 0 or done == len(names):
                    tell(f"unpacking {NAME}", done, len(names))
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise OSError(f"{packed} is damaged ({error}); remove it to download it again") from None
