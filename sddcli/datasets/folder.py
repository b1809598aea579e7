"""A folder of images: PATH/train/CLASS/*.jpg and PATH/test/CLASS/*.jpg, or laid out as `reading.layout` says."""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sddcli.core.types import Data
from sddcli.core.words import UsageError, unknown
from sddcli.datasets.reading.files import UNSAVED, Arrays, Facts, Tell, cached, stamp
from sddcli.datasets.reading.layout import Held, Layout, layout
from sddcli.datasets.reading.pictures import Unreadable, decode, size_of, written
from sddcli.datasets.reading.tensors import outlined, photographs

LARGEST = 4096  # pixels a side, of which 20,000 images take a terabyte
SHOWN = 5  # of the images that cannot be read: so many are named


def read(tell: Tell, path: str, *, size: int = 0, corrupt: str = "error", test: float = 0.0, seed: int = 0) -> Data:
    """The images of the folder `path`, laid out as `reading.layout` says. x: (N, 3, H, W) bytes.

    size: 0 takes images as they are, which must all have one size; N brings them to NxN. corrupt: "skip" leaves out
    images that cannot be read, and counts them. test: where a folder has no test images, this share of the training
    images of each class is tested on, drawn by `seed`. What else was done than reading all files stands in notes.
    Raises OSError naming what is missing or cannot be read, UsageError for a parameter out of range.
    """
    skip, held = _skipped(size, corrupt), Held(test, seed)
    plan = layout(path, held)
    # Where a folder lies is no part of what is in it, but two folders are two caches.
    location = hashlib.sha256(os.fsencode(Path(path).absolute())).hexdigest()[:8]
    part = f"-{held.share}-{held.seed}" if held.share else ""
    name = f"{written(Path(path).name)}-{location}-{size}{'-skip' if skip else ''}{part}"
    stamped = stamp(((file, [split, label]) for split in plan.splits for file, label in plan.splits[split]), tell)
    arrays, facts = cached(name, stamped, lambda: _decoded(plan, size, skip, tell))
    _check(arrays, plan, facts["unread"])
    notes = _notes(plan, facts["changes"], facts["unread"])
    unsaved = (facts[UNSAVED],) if UNSAVED in facts else ()
    lost = {file for split, file, _ in facts["unread"] if split == "train"}
    left = [file for file, _ in plan.splits["train"] if written(file) not in lost]
    names, longer = ([written(Path(*file.parts[-n:])) for file in left] for n in (1, 2))
    data = photographs(arrays, len(plan.classes), notes=(*notes, *unsaved))
    return data._replace(names=tuple(names if len(set(names)) == len(names) else longer))


def outline(path: str, *, size: int = 0, corrupt: str = "error", test: float = 0.0, seed: int = 0) -> Data:
    """What `read` gives, without its content: from the names of files and the size of the first image.

    Raises OSError, UsageError as `read` does, but not for images other than the first one.
    """
    skip = _skipped(size, corrupt)
    plan = layout(path, Held(test, seed))
    files = [file for file, _ in plan.splits["train"]]
    width, height = (size, size) if size else _first_size(files, skip)
    return outlined(len(files), (3, height, width), len(plan.classes), notes=_notes(plan, {}, []))


def _skipped(size: int, corrupt: str) -> bool:
    """Whether corrupt images are skipped. Raises UsageError for a size or a word out of range."""
    if not 0 <= size <= LARGEST:
        raise UsageError(f"size=N takes the side of images in pixels, 1 to {LARGEST}, not {size}")
    if corrupt not in ("error", "skip"):
        raise unknown("way with corrupt images", corrupt, ("error", "skip"))
    return corrupt == "skip"


def _decoded(plan: Layout, size: int, skip: bool, tell: Tell) -> tuple[Arrays, Facts]:
    """The arrays that `photographs` takes; changes: what was done to how many images; unread: (split, file, reason)."""
    arrays: Arrays = {}
    changes, unread = Counter[str](), list[tuple[str, str, str]]()
    for split, members in plan.splits.items():
        files, labels = [file for file, _ in members], np.array([label for _, label in members], np.int64)
        try:
            images = decode(files, size, size, skip, tell, f"reading {split} images")
        except Unreadable as error:
            raise OSError(f"{error}; corrupt=skip leaves such images out") from None
        arrays |= {f"{split}.x": images.x, f"{split}.y": labels[images.kept]}
        changes.update(images.changes)
        unread += [(split, written(file), reason) for file, reason in images.unread.items()]
    return arrays, {"changes": changes, "unread": unread}


def _first_size(files: Sequence[Path], skip: bool) -> tuple[int, int]:
    """Width and height of the first image or, if some may be skipped, of the first that can be read."""
    for file in files:
        try:
            return size_of(file)
        except Unreadable as error:
            if not skip:
                raise OSError(f"{error}; corrupt=skip leaves such images out") from None
    raise OSError(f"none of {len(files)} training images can be read, such as {written(files[0])}")


def _check(arrays: Arrays, plan: Layout, unread: Sequence[Sequence[str]]) -> None:
    """Raises OSError where a class has lost all its training images, the test set is empty, or sizes differ."""
    first = {split: f"{file} {reason}" for split, file, reason in reversed(unread)}  # the first one of each split
    counts = np.bincount(arrays["train.y"], minlength=len(plan.classes))
    if not counts.all():
        lost = written(plan.classes[int(np.argmin(counts))])
        raise OSError(
            f"the class {lost} has no training image that can be read; the first of those left out: {first['train']}"
        )
    if not len(arrays["test.y"]):
        raise OSError(
            f"{written(plan.root)} has no test image that can be read; the first of those left out: {first['test']}"
        )
    if arrays["train.x"].shape[1:] != arrays["test.x"].shape[1:]:
        raise OSError(f"{written(plan.root)}: train and test images differ in size; size=N brings all to NxN")


def _notes(plan: Layout, changes: Mapping[str, int], unread: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Sentences on what else was done than reading all files as they are; their counts add up to all files.

    changes: what was done -> to how many images; unread: (split, file, reason) of each that was left out.
    """
    n_unread = Counter(split for split, *_ in unread)
    train, test = (len(plan.splits[split]) - n_unread[split] for split in ("train", "test"))
    unused = dict(plan.unused) | ({"that cannot be read": len(unread)} if unread else {})
    notes = [*plan.remarks, *(f"{count} images: {change}" for change, count in sorted(changes.items()))]
    if unread:
        first = [f"{file} {reason}" for _, file, reason in unread[:SHOWN]]
        more = f"; {len(unread) - SHOWN} more" if len(unread) > SHOWN else ""
        notes.insert(0, f"left out: {'; '.join(first)}{more}")
    if unused or plan.tests:
        n_unused = sum(unused.values())
        reasons = ", ".join(f"{count} {reason}" for reason, count in unused.items())
        rest = f", {n_unused} not used: {reasons}" if n_unused else ""
        files = f"{train + test + n_unused} files in {written(plan.root)}"
        notes.insert(0, f"{files}: {train} images to train on, {test} to test on{plan.tests}{rest}")
    return tuple(notes)
