"""Tiny ImageNet: 200 classes of ImageNet at 64x64 pixels (Le & Yang 2015), in the layout of its official archive."""

import zipfile
from pathlib import Path

import numpy as np

from sddcli.core.words import UsageError
from sddcli.datasets.files import Arrays, Facts, Tell, cached, fetch, folder, stamp
from sddcli.datasets.pictures import Unreadable, decode

ANNOTATIONS = "val_annotations.txt"
NAME, MD5 = "tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de"
ADDRESSES = ("http://cs231n.stanford.edu/tiny-imagenet-200.zip", "https://cs231n.stanford.edu/tiny-imagenet-200.zip")


def read(size: int, tell: Tell) -> tuple[Arrays, int]:
    """train.x, train.y, test.x, test.y, and the number of classes; the test split is the official validation one.

    size: 64, images as they are, or 32: brought to 45 pixels and cropped to the middle 32, as the published
    code of He et al. (2022) does for its test images; train.large are then those to train on, as they are. Raises
    OSError for missing or damaged files, UsageError for other sizes.
    """
    if size not in (32, 64):
        raise UsageError(f"tiny-imagenet has sizes 64 and 32, not {size}")
    place = folder() / NAME.removesuffix(".zip")
    if not (place / "val" / ANNOTATIONS).exists():
        _unpack(tell)
    classes = sorted(each.name for each in (place / "train").iterdir() if each.is_dir())
    train = [path for name in classes for path in sorted((place / "train" / name / "images").glob("*.JPEG"))]
    labelled = annotations(place / "val" / ANNOTATIONS)
    test = [place / "val" / "images" / name for name in labelled]
    if strange := set(labelled.values()).difference(classes):
        raise OSError(f"{place / 'val' / 'val_annotations.txt'} names the unknown class {min(strange)}")
    files = {"train": train, "test": test}
    labels = {
        "train": [classes.index(path.parent.parent.name) for path in train],
        "test": [classes.index(label) for label in labelled.values()],
    }

    def images() -> tuple[Arrays, Facts]:
        arrays: Arrays = {}
        for split, paths in files.items():
            resize, crop = (45, 32) if size == 32 else (0, 0)
            arrays[f"{split}.x"] = decode(paths, resize, crop, False, tell, f"reading {split} images").x
            arrays[f"{split}.y"] = np.array(labels[split], np.int64)
        if size == 32:
            arrays["train.large"] = decode(train, 0, 0, False, tell, "reading train images again, as they are").x
        return arrays, {}

    if missing := next((path for path in (*train, *test) if not path.is_file()), None):
        raise OSError(f"{missing} is missing: remove {place} to unpack it again")
    members = [
        (path, [split, label]) for split in files for path, label in zip(files[split], labels[split], strict=True)
    ]
    name = f"tiny-imagenet-{size}" + ("-of-64" if size == 32 else "")
    try:
        return cached(name, stamp(members, tell), images)[0], len(classes)
    except Unreadable as error:
        raise OSError(f"{error}; remove {place} to unpack it again") from None


def annotations(path: Path) -> dict[str, str]:
    """File name -> class of the official validation images. Raises OSError for a list that is damaged."""
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line]
    if not rows or any(len(row) < 2 for row in rows):
        raise OSError(f"{path} is damaged: its lines are not a file name, a tab and a class")
    return {row[0]: row[1] for row in rows}


def _unpack(tell: Tell) -> None:
    packed = folder() / NAME
    if not packed.exists():
        fetch(ADDRESSES, packed, MD5, tell)
    try:
        with zipfile.ZipFile(packed) as archive:
            names = archive.namelist()
            for done, name in enumerate(names, 1):
                archive.extract(name, folder())  # which drops ".." and leading slashes
                if done % 2000 == 0 or done == len(names):
                    tell(f"unpacking {NAME}", done, len(names))
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise OSError(f"{packed} is damaged ({error}); remove it to download it again") from None
