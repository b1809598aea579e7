"""A folder of images, PATH/train/CLASS/*.jpg and PATH/test/CLASS/*.jpg (or val), as torchvision's ImageFolder."""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from sddcli.datasets.files import Arrays, Tell, cached, stamp
from sddcli.datasets.pictures import ENDINGS, decode

Split = list[tuple[Path, int]]


def read(path: str, size: int, skip: bool, tell: Tell) -> tuple[Arrays, int]:
    """train.x, train.y, test.x, test.y, and the number of classes: folders by name, in alphabetical order.

    size: 0 takes images as they are, which must agree; N brings all to NxN. skip: damaged images are left out.
    Raises OSError naming what is missing or damaged.
    """
    splits, classes = _listed(path)

    def images() -> tuple[Arrays, list[str]]:
        arrays: Arrays = {}
        for split, members in splits.items():
            x, kept = decode([member for member, _ in members], size, size, skip, tell, f"reading {split} images")
            arrays[f"{split}.x"] = x
            arrays[f"{split}.y"] = np.array([label for _, label in members], np.int64)[kept]
        if arrays["train.x"].shape[1:] != arrays["test.x"].shape[1:]:
            raise OSError(f"{path}: train and test images differ in size; size=N brings all to NxN")
        return arrays, classes

    # Where it lies is no part of what is in it, but two folders are two caches.
    place = hashlib.sha256(str(Path(path).absolute()).encode()).hexdigest()[:8]
    name = f"{Path(path).name}-{place}-{size}{'-skip' if skip else ''}"
    stamped = stamp([member for split in splits.values() for member, _ in split])
    arrays, classes = cached(name, stamped, images)
    return arrays, len(classes)


def outline(path: str, size: int) -> tuple[int, tuple[int, int, int], int]:
    """Training images, their shape and the number of classes, from the names of the files and the first image."""
    splits, classes = _listed(path)
    first = splits["train"][0][0]
    try:
        with Image.open(first) as image:
            width, height = (size, size) if size else image.size
    except OSError as error:
        raise OSError(f"{first} is damaged ({error})") from None
    return len(splits["train"]), (3, height, width), len(classes)


def _listed(path: str) -> tuple[dict[str, Split], list[str]]:
    """The images of both splits, sorted, with their labels; the names of the classes."""
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder of images at {path}")
    tests = [name for name in ("test", "val") if (root / name).is_dir()]
    if not (root / "train").is_dir() or not tests:
        raise FileNotFoundError(f"{path} needs train/CLASS/ and test/CLASS/ (or val/CLASS/) with images in them")
    classes = sorted(each.name for each in (root / "train").iterdir() if each.is_dir() and each.name[0] != ".")
    splits: dict[str, Split] = {}
    for split, name in (("train", "train"), ("test", tests[0])):
        strange = {each.name for each in (root / name).iterdir() if each.is_dir() and each.name[0] != "."}
        if strange := strange.difference(classes):
            raise OSError(f"{root / name} has the class {min(strange)}, which {root / 'train'} has not")
        splits[split] = [
            (file, label)
            for label, known in enumerate(classes)
            for file in sorted((root / name / known).glob("*"))
            if file.suffix.lower() in ENDINGS and file.name[0] != "."
        ]
        if not splits[split]:
            raise FileNotFoundError(f"{root / name} has no images ({', '.join(ENDINGS)})")
    return splits, classes
