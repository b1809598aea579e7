"""Layouts: what can be read in one way is read so; of everything else is said what was seen and what to write."""

import os
from pathlib import Path

import numpy as np
import pytest

from sddcli.core.words import UsageError
from sddcli.data import forget, load, outline
from sddcli.datasets.reading import layout as layouts
from sddcli.datasets.reading.layout import Held, layout
from tests.datasets.small import picture, tiny_imagenet


def made(place: Path, *folders: str, n: int = 3) -> Path:
    """A folder with n small pictures in each of these."""
    for folder in folders:
        for k in range(n):
            picture(place / folder / f"{k}.png", (4, 4))
    return place


USUAL = ("train/cat", "train/dog", "test/cat", "test/dog")


def read(word: str) -> tuple[list[int], list[int], tuple[str, ...]]:
    forget()
    data, shell = load(word), outline(word)
    assert len(shell.train.y) == len(data.train.y) and (shell.classes, shell.notes) == (data.classes, data.notes)
    return data.train.y.tolist(), data.test.y.tolist(), data.notes


@pytest.mark.parametrize("train", ["train", "Train", "TRAINING"])
@pytest.mark.parametrize("test", ["test", "Test", "testing", "val", "valid", "validation", "Val"])
def test_names_of_the_splits(root: Path, tmp_path: Path, train: str, test: str) -> None:
    made(tmp_path / "a", f"{train}/cat", f"{train}/dog", f"{test}/cat", f"{test}/dog")
    labels, tests, notes = read(f"folder:{tmp_path / 'a'}")
    assert labels == tests == [0, 0, 0, 1, 1, 1]
    assert notes == (
        () if test == "test" else (f"12 files in {tmp_path / 'a'}: 6 images to train on, 6 to test on (in {test})",)
    )


def test_of_test_and_val_the_one_with_labels_is_tested_on_and_that_is_said(root: Path, tmp_path: Path) -> None:
    place = made(tmp_path / "a", *USUAL, "val/cat", "val/dog", n=2)
    assert read(f"folder:{place}")[2] == (
        f"12 files in {place}: 4 images to train on, 4 to test on, 4 not used: 4 in val",
    )
    for path in place.glob("test/*/*"):
        path.rename(place / "test" / f"{path.parent.name}{path.name}")
    _, tests, notes = read(f"folder:{place}")
    assert tests == [0, 0, 1, 1] and notes == (
        f"12 files in {place}: 4 images to train on, 4 to test on (in val), 4 not used: 4 in test",
    )


def test_images_deeper_are_read_in_the_order_of_torchvision(root: Path, tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    place = made(
        tmp_path / "a", *USUAL, "train/cat/b", "train/cat/b c", "train/cat/b/a", "train/dog/images", "test/dog/0"
    )
    data = load(f"folder:{place}")
    for split, name in ((data.train, "train"), (data.test, "test")):
        theirs = list(ImageFolder(str(place / name)))
        assert split.y.tolist() == [label for _, label in theirs] and data.notes == ()
        assert np.array_equal(split.x, np.stack([np.asarray(image).transpose(2, 0, 1) for image, _ in theirs]))


def test_tiny_imagenet_as_it_ships(root: Path, tmp_path: Path) -> None:
    """Its own reader and that of any folder agree on every image and label."""
    tiny_imagenet(root)
    place = root / "tiny-imagenet-200"
    made(place, "test/images", n=4)
    theirs, ours = load("tiny-imagenet"), load(f"folder:{place}")
    for a, b in ((theirs.train, ours.train), (theirs.test, ours.test)):
        pairs = [
            sorted((label, x.tobytes()) for x, label in zip(each.x.numpy(), each.y.tolist(), strict=True))
            for each in (a, b)
        ]
        assert pairs[0] == pairs[1]
    assert np.array_equal(theirs.train.x, ours.train.x)
    assert ours.notes == (
        f"24 files in {place}: 12 images to train on, 6 to test on (in val), "
        "6 not used: 4 in test, 2 with other endings (.txt 2)",
    )
    annotations = place / "val" / "val_annotations.txt"
    for text, words in (
        ("val_0.JPEG\tn99\n", "names the unknown class n99"),
        ("val_9.JPEG\tn02124075\n", "val has no val_9.JPEG, which val_annotations.txt lists"),
        ("val_0.JPEG", "damaged"),
    ):
        annotations.write_text(text)
        with pytest.raises(OSError, match=words):
            layout(str(place), Held())


def test_a_folder_too_high_or_too_low(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = made(tmp_path / "a" / "animals", *USUAL)
    sha256 = load(f"folder:{place}").sha256
    for word, where in (
        (tmp_path / "a", f"{tmp_path / 'a'}: 6 images to train on, 6 to test on (in animals/test)"),
        (place / "train", f"{place}: 6 images to train on, 6 to test on (in test)"),
        (place / "test", f"{place}: 6 images to train on, 6 to test on (in test)"),
    ):
        assert load(f"folder:{word}").sha256 == sha256 and load(f"folder:{word}").notes == (f"12 files in {where}",)
    monkeypatch.chdir(place / "train")
    forget()
    assert load("folder:.").sha256 == sha256
    made(tmp_path / "a" / "plants", *USUAL)
    with pytest.raises(OSError, match="a holds 2 data sets: say folder:.*a/animals or folder:.*a/plants"):
        layout(str(tmp_path / "a"), Held())


@pytest.mark.parametrize("folders", [("cat", "dog"), ("train/cat", "train/dog"), ("Pets/cat", "Pets/dog")])
def test_a_share_is_held_out_if_asked_for(root: Path, tmp_path: Path, folders: tuple[str, ...]) -> None:
    place = made(tmp_path / "a", *folders, n=10)
    words = "to test on a fifth of each class" if folders[0] != "Pets/cat" else "needs train/CLASS/ and test/CLASS/"
    with pytest.raises(OSError, match=words):
        layout(str(place), Held())
    labels, tests, notes = read(f"folder:{place}:test=0.2")
    assert labels == [0] * 8 + [1] * 8 and tests == [0] * 2 + [1] * 2
    assert notes == (f"20 files in {place}: 16 images to train on, 4 to test on (0.2 of each class, drawn by seed 0)",)
    parts = [layout(str(place), Held(0.2, seed)).splits for seed in (0, 0, 1)]
    assert parts[0] == parts[1] != parts[2]
    for each in parts:
        files = [file for split in each.values() for file, _ in split]
        assert len(set(files)) == len(files) == 20
    data = [load(f"folder:{place}:test=0.2:seed={seed}") for seed in (0, 1, 0)]
    assert data[0].sha256 != data[1].sha256 and data[2] is data[0]


def test_a_share_and_one_image(tmp_path: Path) -> None:
    place = made(tmp_path / "a", "cat", "dog", n=1)
    made(place, "cow", n=2)
    plan = layout(str(place), Held(0.9))
    assert [len(each) for each in plan.splits.values()] == [3, 1] and plan.splits["test"][0][1] == 1
    assert plan.remarks == ("no image to test on of cat, dog",)


@pytest.mark.parametrize("share", [-0.1, 1.0, 2.0])
def test_shares_that_are_none(tmp_path: Path, share: float) -> None:
    with pytest.raises(UsageError, match="above 0 and below 1"):
        layout(str(made(tmp_path / "a", "cat", "dog")), Held(share))
    with pytest.raises(UsageError, match="not 0"):
        layout(str(tmp_path / "a"), Held(0.0, 3))


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seeds_that_are_none(tmp_path: Path, seed: int) -> None:
    place = made(tmp_path / "a", "cat", "dog")
    for look in (load, outline):
        with pytest.raises(UsageError, match=f"a whole number from 0 to {2**63 - 1}, not {seed}"):
            look(f"folder:{place}:test=0.2:seed={seed}")


def unclear(place: Path, *folders: str) -> Path:
    return made(place, *folders)


NOT_CLEAR: dict[str, tuple[tuple[str, ...], Held, str]] = {
    "flat": ((".",), Held(), "it has 3 images in no folder; the label of an image is the name of its folder"),
    "flat in train": (("train", "test"), Held(), "it has test with 3 images, train with 3 images; the label"),
    "classes at the top": (("cat", "dog"), Held(), "cat with 3 images, dog with 3 images; .* folder:.*a:test=0.2"),
    "no test": (("train/cat", "train/dog"), Held(), "a fifth of each class of cat, dog: folder:.*a:test=0.2"),
    "no train": (("test/cat", "test/dog"), Held(), "it has test with 6 images; the label"),
    "tests without labels": (
        ("train/cat", "train/dog", "test/images"),
        Held(),
        "folders of the same names as below train",
    ),
    "other names": (
        ("train/cat", "train/dog", "test/Cat", "test/Dog"),
        Held(),
        "folders of the same names as below train",
    ),
    "twice": ((*USUAL, "Test/cat"), Held(), "has Test and test: keep one of them"),
    "a share though there are tests": (USUAL, Held(0.2), "has images to test on in test: leave out test=0.2"),
    "one class": (("train/cat", "test/cat"), Held(), "train has one class only, cat: two are needed"),
    "flat, and a share": ((".",), Held(0.2), "it has 3 images in no folder; the label of an image"),
    "a test folder beside classes": (
        ("cat", "dog", "val"),
        Held(0.2),
        "cat with 3 images, dog with 3 images, val with",
    ),
    "one class at the top": (("cat",), Held(0.2), "a has one class only, cat: two are needed"),
    "a folder between": (
        ("train/animals/cat", "train/animals/dog", "test/animals/cat"),
        Held(),
        "one class only, animals, in which are cat, dog: two are needed",
    ),
    "the other way round": (
        ("cat/train", "cat/test", "dog/train", "dog/test"),
        Held(),
        "it has cat with 6 images, dog with 6 images",
    ),
    "a class to test on only": ((*USUAL, "test/cow"), Held(), "has the class cow, which .*train has not"),
}


@pytest.mark.parametrize("case", NOT_CLEAR)
def test_what_is_not_clear_is_said_in_one_line(tmp_path: Path, case: str) -> None:
    folders, held, words = NOT_CLEAR[case]
    with pytest.raises(OSError, match=words) as error:
        layout(str(unclear(tmp_path / "a", *folders)), held)
    assert "\n" not in str(error.value) and str(tmp_path / "a") in str(error.value)


def test_folders_without_images_are_no_classes(tmp_path: Path) -> None:
    place = made(tmp_path / "a", *USUAL)
    for name in ("train/notes", "train/.cache", "train/__MACOSX", "test/notes", "train/a b"):
        (place / name).mkdir()
        (place / name / "x.txt").touch()
    plan = layout(str(place), Held())
    assert plan.classes == ["cat", "dog"] and plan.remarks == ("folders without images are no classes: a b, notes",)
    (place / "train" / "cow").mkdir()
    for k in range(3):
        (place / "train" / "cow" / f"{k}.gif").touch()
    with pytest.raises(OSError, match=r"the class cow has no training image: .*train/cow has no images, .gif 3"):
        layout(str(place), Held())


def test_no_images_at_all(tmp_path: Path) -> None:
    for name in ("train/cat", "test/cat"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(OSError, match=r"it has .*no images \(.jpg, .*\), no other files"):
        layout(str(tmp_path), Held())
    (tmp_path / "train" / "cat" / "1.heic").touch()
    with pytest.raises(OSError, match=r"no images \(.jpg, .*\), .heic 1"):
        layout(str(tmp_path), Held())


def test_a_folder_that_may_not_be_looked_into_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, plain = made(tmp_path / "a", *USUAL), os.scandir

    def scandir(folder: Path) -> object:
        if Path(folder).name in ("dog", ".trash"):
            raise PermissionError(13, "Permission denied", str(folder))
        return plain(folder)

    monkeypatch.setattr(layouts.os, "scandir", scandir)  # root may look into everything
    (place / ".trash").mkdir()
    with pytest.raises(OSError, match=r"cannot look into .*(train|test)/dog: Permission denied"):
        layout(str(place), Held())


def test_links_are_followed_once(tmp_path: Path) -> None:
    place = made(tmp_path / "a", *USUAL)
    elsewhere = made(tmp_path / "store", "cow")
    (place / "train" / "cow").symlink_to(elsewhere / "cow")
    (place / "train" / "cat" / "round").symlink_to(place / "train")
    plan = layout(str(place), Held())
    assert plan.classes == ["cat", "cow", "dog"] and len(plan.splits["train"]) == 9 and plan.unused == {}


def test_a_named_pipe_is_no_image(tmp_path: Path) -> None:
    place = made(tmp_path / "a", *USUAL)
    os.mkfifo(place / "train" / "cat" / "a.jpg")
    assert layout(str(place), Held()).unused == {"with other endings (.jpg 1)": 1}
