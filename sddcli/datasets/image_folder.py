"""A folder of images: PATH/train/CLASS/*.jpg and PATH/test/CLASS/*.jpg, or laid out as `layout` says."""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sddcli.datasets.files import Arrays, Facts, Tell, cached, stamp
from sddcli.datasets.layout import Held, Layout, layout
from sddcli.datasets.pictures import Unreadable, decode, size_of, written

Notes = tuple[str, ...]
SHOWN = 5


def read(path: str, size: int, skip: bool, held: Held, tell: Tell) -> tuple[Arrays, int, Notes]:
    """train.x, train.y, test.x, test.y, the number of classes, and notes on what else was done than reading all files.

    size: 0 takes images as they are, which must agree; N brings all to NxN. skip: images that cannot be read are left
    out, and counted. Raises OSError naming what is missing or cannot be read, UsageError for a share that is none.
    """
    plan = layout(path, held)

    def images() -> tuple[Arrays, Facts]:
        arrays: Arrays = {}
        changes, unread = Counter[str](), list[tuple[str, str, str]]()
        for split, members in plan.splits.items():
            files, labels = [file for file, _ in members], np.array([label for _, label in members], np.int64)
            try:
                done = decode(files, size, size, skip, tell, f"reading {split} images")
            except Unreadable as error:
                raise OSError(f"{error}; corrupt=skip leaves such images out") from None
            arrays |= {f"{split}.x": done.x, f"{split}.y": labels[done.kept]}
            changes.update(done.changes)
            unread += [(split, written(file), reason) for file, reason in done.unread.items()]
        return arrays, {"changes": changes, "unread": unread}

    # Where it lies is no part of what is in it, but two folders are two caches.
    place = hashlib.sha256(os.fsencode(Path(path).absolute())).hexdigest()[:8]
    part = f"-{held.share}-{held.seed}" if held.share else ""
    name = f"{written(Path(path).name)}-{place}-{size}{'-skip' if skip else ''}{part}"
    members = [(file, [split, label]) for split, each in plan.splits.items() for file, label in each]
    arrays, facts = cached(name, stamp(members, tell), images)
    _check(arrays, plan, facts["unread"])
    return arrays, len(plan.classes), _notes(plan, facts["changes"], facts["unread"])


def outline(path: str, size: int, skip: bool, held: Held) -> tuple[int, tuple[int, int, int], int, Notes]:
    """Training images, their shape, the number of classes, and notes: from the names of files and the first image.

    skip: the first one that can be read. Raises as `read` does.
    """
    plan = layout(path, held)
    files = [file for file, _ in plan.splits["train"]]
    width, height = (size, size) if size else _first_size(files, skip)
    return len(files), (3, height, width), len(plan.classes), _notes(plan, {}, [])


def _first_size(files: Sequence[Path], skip: bool) -> tuple[int, int]:
    for file in files:
        try:
            return size_of(file)
        except Unreadable as error:
            if not skip:
                raise OSError(f"{error}; corrupt=skip leaves such images out") from None
    raise OSError(f"none of {len(files)} training images can be read, such as {written(files[0])}")


def _check(arrays: Arrays, plan: Layout, unread: Sequence[Sequence[str]]) -> None:
    """Raises OSError where a class has lost all its training images, the test set is empty, or sizes differ."""
    why = {split: f"{file} {reason}" for split, file, reason in reversed(unread)}
    counts = np.bincount(arrays["train.y"], minlength=len(plan.classes))
    if not counts.all():
        lost = written(plan.classes[int(np.argmin(counts))])
        raise OSError(
            f"the class {lost} has no training image that can be read; the first of those left out: {why['train']}"
        )
    if not len(arrays["test.y"]):
        raise OSError(
            f"{written(plan.root)} has no test image that can be read; the first of those left out: {why['test']}"
        )
    if arrays["train.x"].shape[1:] != arrays["test.x"].shape[1:]:
        raise OSError(f"{written(plan.root)}: train and test images differ in size; size=N brings all to NxN")


def _notes(plan: Layout, changes: Mapping[str, int], unread: Sequence[Sequence[str]]) -> Notes:
    """Sentences on what else was done than reading all files as they are; their counts add up to the files there."""
    lost = Counter(split for split, *_ in unread)
    train, test = (len(plan.splits[split]) - lost[split] for split in ("train", "test"))
    unused = dict(plan.unused) | ({"that cannot be read": len(unread)} if unread else {})
    notes = [*plan.remarks, *(f"{count} images: {change}" for change, count in sorted(changes.items()))]
    if unread:
        first = [f"{file} {reason}" for _, file, reason in unread[:SHOWN]]
        more = f"; {len(unread) - SHOWN} more" if len(unread) > SHOWN else ""
        notes.insert(0, f"left out: {'; '.join(first)}{more}")
    if unused or plan.tests:
        left = sum(unused.values())
        reasons = ", ".join(f"{count} {reason}" for reason, count in unused.items())
        rest = f", {left} not used: {reasons}" if left else ""
        files = f"{train + test + left} files in {written(plan.root)}"
        notes.insert(0, f"{files}: {train} images to train on, {test} to test on{plan.tests}{rest}")
    return tuple(notes)
