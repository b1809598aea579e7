"""Tiny ImageNet: the tree of its archive, labels from the annotations, two sizes."""

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sddcli.data import forget, load, outline
from sddcli.datasets import tiny_imagenet
from tests.datasets.conftest import Server
from tests.datasets.small import tiny_imagenet as make


def test_labels_are_those_of_folders_and_annotations(root: Path) -> None:
    make(root)
    data = load("tiny-imagenet")
    assert data.train.x.shape == (12, 3, 64, 64) and data.test.x.shape == (6, 3, 64, 64)
    classes = ["n01443537", "n02124075", "n04067472"]
    assert data.train.y.tolist() == [k // 4 for k in range(12)]
    assert data.test.y.tolist() == [classes.index(name) for name in ["n02124075", "n01443537", "n04067472"] * 2]
    pixels = Image.open(root / "tiny-imagenet-200" / "train" / classes[2] / "images" / f"{classes[2]}_3.JPEG")
    assert np.array_equal(data.train.x[11].numpy(), np.asarray(pixels).transpose(2, 0, 1))


def test_the_small_size_is_torchvisions_resize_and_crop(root: Path) -> None:
    from torchvision import transforms

    make(root)
    data = load("tiny-imagenet:size=32")
    both = transforms.Compose([transforms.Resize(45), transforms.CenterCrop(32)])
    for k in range(6):
        theirs = both(Image.open(root / "tiny-imagenet-200" / "val" / "images" / f"val_{k}.JPEG").convert("RGB"))
        assert np.array_equal(data.test.x[k].numpy(), np.asarray(theirs).transpose(2, 0, 1))
    with pytest.raises(ValueError, match="sizes 64 and 32, not 48"):
        load("tiny-imagenet:size=48")
    with pytest.raises(ValueError, match="sizes 64 and 32, not 48"):
        outline("tiny-imagenet:size=48")


def test_of_the_small_size_training_images_are_there_as_they_were_too(root: Path) -> None:
    make(root)
    whole = load("tiny-imagenet")
    for size, held in ((0, 0.0), (9, 0.0), (9, 0.34)):
        small, same = load("tiny-imagenet:size=32", size, held), load("tiny-imagenet", size, held)
        assert small.large is not None and np.array_equal(small.large, same.train.x)
        assert small.train.x.shape == (len(small.large), 3, 32, 32) and np.array_equal(small.train.y, same.train.y)
    forget()
    again = load("tiny-imagenet:size=32")  # from the cache
    assert whole.large is None and again.large is not None and np.array_equal(again.large, whole.train.x)


def test_names_that_are_no_utf8_are_those_of_the_annotations(root: Path) -> None:
    make(root)
    place, odd = root / "tiny-imagenet-200" / "val", os.fsdecode(b"caf\xe9.JPEG")
    (place / "images" / "val_0.JPEG").rename(place / "images" / odd)
    listed = (place / "val_annotations.txt").read_bytes()
    (place / "val_annotations.txt").write_bytes(listed.replace(b"val_0.JPEG", b"caf\xe9.JPEG"))
    assert len(load("tiny-imagenet").test.y) == 6
    assert len(load(f"folder:{place.parent}").test.y) == 6


def test_a_cache_that_cannot_be_written_is_said(root: Path) -> None:
    make(root)
    assert load("tiny-imagenet").notes == ()
    shutil.rmtree(root / "cache")
    (root / "cache").write_text("in the way")
    forget()
    assert [note.split(",")[0] for note in load("tiny-imagenet").notes] == ["decoded images are not kept"]


def test_the_cache_is_not_used_for_other_labels_or_pixels(root: Path) -> None:
    make(root)
    place = root / "tiny-imagenet-200"
    first = load("tiny-imagenet")
    annotations = place / "val" / "val_annotations.txt"
    lines = annotations.read_text().splitlines()
    lines[0] = lines[0].replace("n02124075", "n01443537")
    annotations.write_text("\n".join(lines))  # images stay as they are
    forget()
    second = load("tiny-imagenet")
    assert second.test.y.tolist() == [0, *first.test.y.tolist()[1:]] and second.sha256 != first.sha256
    pictures = [place / "train" / "n01443537" / "images" / f"n01443537_{k}.JPEG" for k in (0, 2)]
    moved = [path.read_bytes().ljust(20_000, b"\0") for path in pictures]
    for path, content in zip(pictures, moved, strict=True):
        path.write_bytes(content)
        os.utime(path, ns=(1, 1))
    forget()
    before = load("tiny-imagenet").train.x
    for path, content in zip(pictures, reversed(moved), strict=True):
        path.write_bytes(content)
        os.utime(path, ns=(1, 1))
    forget()
    assert np.array_equal(load("tiny-imagenet").train.x[0], before[2])


def test_what_is_missing_or_damaged_is_named(root: Path) -> None:
    make(root)
    place = root / "tiny-imagenet-200"
    image = place / "val" / "images" / "val_2.JPEG"
    image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(OSError, match=r"val_2.JPEG is damaged"):
        load("tiny-imagenet")
    image.unlink()
    with pytest.raises(OSError, match=r"val_2.JPEG is missing"):
        load("tiny-imagenet")
    (place / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn99\n")
    with pytest.raises(OSError, match="unknown class n99"):
        load("tiny-imagenet")
    (place / "val" / "val_annotations.txt").write_text("val_0.JPEG n99\n")
    with pytest.raises(OSError, match="annotations.txt is damaged"):
        load("tiny-imagenet")


def test_it_is_downloaded_and_unpacked(
    root: Path, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make(tmp_path / "made")
    content = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "made")).read_bytes()
    server.files["tiny-imagenet-200.zip"] = content
    monkeypatch.setattr(tiny_imagenet, "ADDRESSES", [f"{server.address}/tiny-imagenet-200.zip"])
    monkeypatch.setattr(tiny_imagenet, "MD5", hashlib.md5(content).hexdigest())
    assert len(load("tiny-imagenet").train.y) == 12
    forget()
    shutil.rmtree(root / "tiny-imagenet-200")
    (root / "tiny-imagenet-200.zip").write_bytes(content[:-100])
    with pytest.raises(OSError, match="tiny-imagenet-200.zip is damaged"):
        load("tiny-imagenet")
