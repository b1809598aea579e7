"""A folder of images: as torchvision's ImageFolder reads it; what is missing, damaged or of another size is named.

Nothing that decides labels or pixels is taken from the cache, and nothing is left out in silence.
"""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sddcli.core.words import UsageError
from sddcli.data import forget, load, outline
from tests.conftest import Sdd
from tests.datasets.small import image_folder as make
from tests.datasets.small import picture

ARCHIVE = Path(__file__).parents[3] / "shared" / "data" / "cifar10-jpeg.tar.xz"


def test_as_torchvision_reads_it(root: Path) -> None:
    from torchvision.datasets import ImageFolder

    word = make(root)
    data, place = load(word), Path(word.removeprefix("folder:"))
    for split, name in ((data.train, "train"), (data.test, "test")):
        theirs = list(ImageFolder(str(place / name)))
        assert split.y.tolist() == [label for _, label in theirs]
        images = np.stack([np.asarray(image).transpose(2, 0, 1) for image, _ in theirs])
        assert np.array_equal(split.x.numpy(), images)
    assert data.train.x.shape == (10, 3, 12, 20) and data.train.x.dtype == torch.uint8
    assert outline(word).train.x.shape == data.train.x.shape


def test_it_is_decoded_once_and_again_when_an_image_changes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    word, told = make(root), []
    tell = lambda *said: told.append(said)  # noqa: E731
    first = load(word, tell=tell)
    assert ("reading train images", 10, 10) in told and len(told) == 2
    forget()
    assert load(word, tell=tell).sha256 == first.sha256 and len(told) == 2
    picture(Path(word.removeprefix("folder:")) / "train" / "dog" / "4.jpg", (20, 12))
    forget()
    assert load(word, tell=tell).sha256 != first.sha256 and len(told) == 4


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_a_damaged_image_is_named_and_skipped_only_if_asked(root: Path, content: bytes | None) -> None:
    word = make(root)
    image = Path(word.removeprefix("folder:")) / "train" / "dog" / "3.jpg"
    image.write_bytes(image.read_bytes()[:-300] if content is None else content)
    with pytest.raises(OSError, match=r"train/dog/3.jpg is damaged \(.*\); corrupt=skip leaves") as error:
        load(word)
    assert "\n" not in str(error.value)
    data = load(f"{word}:corrupt=skip")
    assert data.train.y.tolist() == [0] * 5 + [1] * 4 and len(data.train.x) == 9
    with pytest.raises(ValueError, match="unknown way with corrupt images 'skipp'; did you mean 'skip'"):
        load(f"{word}:corrupt=skipp")


def test_images_of_other_sizes_are_named_or_brought_to_one(root: Path) -> None:
    word = make(root)
    picture(Path(word.removeprefix("folder:")) / "train" / "dog" / "9.png", (33, 40), "P")
    with pytest.raises(OSError, match=r"dog/9.png has 33x40 pixels and .* 20x12; size=N brings"):
        load(word)
    data = load(f"{word}:size=8:corrupt=skip")
    assert data.train.x.shape == (11, 3, 8, 8) and data.test.x.shape == (6, 3, 8, 8)
    assert outline(f"{word}:size=8").train.x.shape == data.train.x.shape


@pytest.mark.parametrize("size", [-3, 4097])
def test_a_size_out_of_range_is_refused_before_a_file_is_read(root: Path, size: int) -> None:
    for reading in (load, outline):
        with pytest.raises(UsageError, match=f"side of images in pixels, 1 to 4096, not {size}"):
            reading(f"{make(root / reading.__name__)}:size={size}")


def test_what_is_missing(root: Path) -> None:
    with pytest.raises(OSError, match="no folder of images at none"):
        load("folder:none")
    with pytest.raises(ValueError, match="say which folder: folder:PATH"):
        load("folder")
    root.mkdir()
    with pytest.raises(OSError, match=r"needs train/CLASS/ and test/CLASS/"):
        load(f"folder:{root}")
    word = make(root)
    place = Path(word.removeprefix("folder:"))
    picture(place / "test" / "cow" / "0.png", (20, 12))
    with pytest.raises(OSError, match="has the class cow, which"):
        load(word)
    (place / "train" / "cow").mkdir()
    with pytest.raises(
        OSError, match="the class cow has no training image: .*train/cow has no images, no files at all"
    ):
        load(word)
    for path in place.rglob("test/*/*"):
        path.unlink()
    with pytest.raises(OSError, match="test, which has no images"):
        load(word)


def plain(place: Path) -> str:
    """A folder that nothing is odd about, pixels by arithmetic, so that they are the same on every machine."""
    for split, n in (("train", 4), ("test", 2)):
        for k, name in enumerate(("Zebra", "ape", "cat and dog")):
            for i in range(n):
                values = (np.arange(6 * 5 * 3) * (7 + i) + 40 * k + 13 * n) % 256
                image = Image.fromarray(values.reshape(6, 5, 3).astype(np.uint8)).convert(("RGB", "L", "P", "1")[i])
                path = place / split / name / f"{i}.{('png', 'PNG', 'bmp', 'tif')[i]}"
                path.parent.mkdir(parents=True, exist_ok=True)
                image.save(path)
    return f"folder:{place}"


def test_the_hash_of_a_plain_folder_is_what_it_always_was(root: Path, tmp_path: Path) -> None:
    word = plain(tmp_path / "plain")
    hashes = ("c9aeb126b224c356bb281dfdac1cf266", "2e3d417931c971de0519920906cced8a")
    for end, sha256 in zip(("", ":size=4"), hashes, strict=True):
        data = load(word + end)
        assert data.sha256.startswith(sha256), "runs on images of before could not be gone on with"
        assert data.notes == outline(word + end).notes == ()


def swapped(one: Path, other: Path) -> None:
    """Each gets the content of the other, and nothing else changes."""
    contents = [one.read_bytes(), other.read_bytes()]
    for path, content in zip((other, one), contents, strict=True):
        path.write_bytes(content)


def relabelled(place: Path) -> None:
    (place / "train" / "cat" / "cat5.png").rename(place / "train" / "dog" / "cat5.png")


def repainted(place: Path) -> None:
    swapped(place / "train" / "cat" / "cat1.png", place / "train" / "cat" / "cat2.png")


def traded(place: Path) -> None:
    swapped(place / "train" / "cat" / "cat1.png", place / "train" / "dog" / "dog1.png")


def renamed(place: Path) -> None:
    for split in ("train", "test"):
        (place / split / "dog").rename(place / split / "bee")


def grown(place: Path) -> None:
    for split in ("train", "test"):
        (place / split / "ant").mkdir()
        (place / split / "dog" / "dog2.png").rename(place / split / "ant" / "dog2.png")


def shrunk(place: Path) -> None:
    for split in ("train", "test"):
        for path in (place / split / "cow").iterdir():
            path.unlink()


def released(place: Path) -> None:
    """Another release at the same place, of the same names, sizes and times: its images are of other animals."""
    for path in place.rglob("cat*.png"):
        swapped(path, place / path.relative_to(place).parts[0] / "dog" / path.name.replace("cat", "dog"))


def exchanged(place: Path) -> None:
    for name in ("train", "test"):
        (place / name).rename(place / f"other {name}")
    (place / "other train").rename(place / "test")
    (place / "other test").rename(place / "train")


def retested(place: Path) -> None:
    (place / "test" / "dog" / "dog0.png").rename(place / "train" / "dog" / "dog9.png")


CHANGES = [relabelled, repainted, traded, renamed, grown, shrunk, released, exchanged, retested]


@pytest.mark.parametrize("change", CHANGES)
def test_the_cache_does_not_outlive_a_change_that_keeps_names_sizes_and_times(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    """All images have the same number of bytes, and all times are set back: only a reading without a cache knows."""
    place = tmp_path / "animals"
    draw = np.random.default_rng(0)
    for split, n in (("train", 6), ("test", 3)):
        for name in ("cat", "cow", "dog"):
            for k in range(n):
                path = place / split / name / f"{name}{k}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(draw.integers(256, size=(4, 5, 3), dtype=np.uint8)).save(path)

    def set_back() -> None:
        for path in [*place.rglob("*"), place]:
            if path.is_file():
                path.write_bytes(path.read_bytes().ljust(300, b"\0"))
            os.utime(path, ns=(1, 1))

    set_back()
    before = load(f"folder:{place}")
    change(place)
    set_back()
    forget()
    after = load(f"folder:{place}")
    monkeypatch.setenv("SDD_DATA", str(tmp_path / "no cache"))
    forget()
    fresh = load(f"folder:{place}")
    assert after.sha256 == fresh.sha256 != before.sha256 or change is renamed
    assert (after.classes, after.train.y.tolist()) == (fresh.classes, fresh.train.y.tolist())
    assert np.array_equal(after.train.x, fresh.train.x) and np.array_equal(after.test.x, fresh.test.x)


def files_in(place: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(place, followlinks=True))


def counts_in(note: str, place: Path) -> tuple[int, int, int]:
    """Trained on, tested on and not used, as a note says it; they add up to what lies there."""
    words = re.search(r"^(\d+) files in .*: (\d+) images to train on, (\d+) to test on(?: \([^)]*\))?(.*)$", note)
    assert words
    total, train, test = (int(words[k]) for k in (1, 2, 3))
    unused = re.search(r"^, (\d+) not used: (.*)$", words[4])
    left = int(unused[1]) if unused else 0
    reasons = re.sub(r"\([^)]*\)", "", unused[2]) if unused else ""
    assert sum(int(number) for number in re.findall(r"(?:^|, )(\d+) ", reasons)) == left
    assert total == train + test + left == files_in(place)
    return train, test, left


def test_what_is_not_used_is_counted(root: Path) -> None:
    word = make(root)
    place = Path(word.removeprefix("folder:"))
    for name in (
        "train/cat/notes.txt",
        "train/.DS_Store",
        "train/cat/._1.jpg",
        "README",
        "labels.csv",
        "train/dog/a.gif",
    ):
        (place / name).write_bytes(b"x")
    for name in ("train/.ipynb_checkpoints", "test/__MACOSX", "train/cat/@eaDir", "val/cat", "train", "", "extra"):
        picture(place / name / "0.png", (20, 12))
    (place / "train" / "notes").mkdir()
    (place / "train" / "cat" / "gone.jpg").symlink_to("nowhere")
    (place / "train" / "dog" / "3.jpg").write_bytes(b"no image")
    data = load(f"{word}:corrupt=skip")
    assert data.classes == 2 and data.train.y.tolist() == [0] * 5 + [1] * 4
    assert counts_in(data.notes[0], place) == (9, 6, 15)
    for words in (
        "1 in val",
        "1 in extra",
        "2 outside the folders of classes",
        "4 with other endings (.csv 1, .gif 1, .txt 1, none 1)",
        "5 hidden or of the system",
        "2 that cannot be read",
    ):
        assert words in data.notes[0]
    assert "gone.jpg is a link to nothing; " in data.notes[1] and "3.jpg is damaged (" in data.notes[1]
    assert "folders without images are no classes: notes" in data.notes
    forget()
    assert load(f"{word}:corrupt=skip").notes == data.notes, "from the cache too"
    assert counts_in(outline(f"{word}:corrupt=skip").notes[0], place) == (11, 6, 13)


def test_skipping_reaches_the_first_image_and_never_a_whole_class(root: Path) -> None:
    word = make(root)
    place = Path(word.removeprefix("folder:"))
    first = place / "train" / "cat" / "0.jpg"
    first.unlink()
    first.symlink_to("nowhere")
    for read in (load, outline):
        with pytest.raises(OSError, match=r"cat/0.jpg is a link to nothing; corrupt=skip leaves"):
            read(word)
    assert outline(f"{word}:corrupt=skip").train.x.shape[1:] == load(f"{word}:corrupt=skip").train.x.shape[1:]
    for path in (place / "train" / "dog").iterdir():
        path.write_bytes(b"no image")
    forget()
    with pytest.raises(
        OSError, match=r"the class dog has no training image that can be read; .*train/cat/0.jpg is a link"
    ):
        load(f"{word}:corrupt=skip")
    for path in (place / "train" / "cat").glob("*"):
        path.write_bytes(b"no image")
    forget()
    with pytest.raises(OSError, match="none of 10 training images can be read, such as .*cat/0.jpg"):
        outline(f"{word}:corrupt=skip")
    for path in place.rglob("train/*/*.*"):
        picture(path, (20, 12))
    for path in place.rglob("test/*/*.*"):
        path.write_bytes(b"no image")
    forget()
    with pytest.raises(OSError, match="no test image that can be read"):
        load(f"{word}:corrupt=skip")


def test_names_that_are_no_utf8(root: Path, tmp_path: Path) -> None:
    word = make(root)
    place, odd = Path(word.removeprefix("folder:")), os.fsdecode(b"caf\xe9")
    sha256 = load(word).sha256
    for split in ("train", "test"):
        (place / split / "dog").rename(place / split / odd)
        (place / split / "cat" / "1.jpg").rename(place / split / "cat" / f"1{odd}.jpg")
    moved = place.rename(tmp_path / odd)
    forget()
    data = load(f"folder:{moved}:corrupt=skip")
    assert data.test.y.tolist() == [0] * 3 + [1] * 3 and data.notes == () and data.sha256 != sha256
    (moved / "train" / odd / "0.jpg").write_bytes(b"no image")
    forget()
    note = load(f"folder:{moved}:corrupt=skip").notes[1]
    note.encode()  # can be written
    assert r"caf\xe9/train/caf\xe9/0.jpg is damaged" in note


def test_a_folder_of_data_sets_that_cannot_be_written_is_said_once(sdd: Sdd, root: Path, tmp_path: Path) -> None:
    word = make(tmp_path)
    root.mkdir(exist_ok=True)
    (root / "cache").write_text("in the way")
    words = "--model lenet-8-4 --epochs 1 --seeds 0-1 --noise 0 --levels 0 --batch-size 4 --workers 2"
    said = sdd("sweep", "--dataset", word, *words.split(), "--runs", tmp_path / "runs")
    assert said.code == 0 and said.err.count("decoded images are not kept, since") == 1, said.err


def test_the_manifest_and_the_screen_say_what_was_done(sdd: Sdd, root: Path, tmp_path: Path) -> None:
    place, runs = tmp_path / "pictures", tmp_path / "runs"
    for split, n in (("train", 6), ("val", 3)):
        for k, name in enumerate(("dark", "bright")):
            for i in range(n):
                path = place / split / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((4, 4), 20_000 * (k + 1) + 257 * i, np.uint16)).save(path)
    (place / "train" / "dark" / "list.txt").touch()
    words = [
        "sweep",
        "--dataset",
        f"folder:{place}",
        "--model",
        "lenet-8-4",
        "--epochs",
        "1",
        "--seeds",
        "0",
        "--noise",
        "0",
    ]
    words += ["--levels", "0", "--batch-size", "4", "--workers", "1", "--runs", runs]
    dry = sdd(*words, "--dry-run", "--json").json["notes"]
    assert dry == [
        f"19 files in {place}: 12 images to train on, 6 to test on (in val), 1 not used: 1 with other endings (.txt 1)"
    ]
    outcome = sdd(*words)
    notes = [*dry, "18 images: 16-bit grey brought to bytes"]
    assert outcome.code == 0 and all(outcome.err.count(note) == 1 for note in notes)
    (manifest,) = runs.glob("*/manifest.json")
    assert json.loads(manifest.read_text())["data"]["notes"] == notes


@pytest.mark.skipif(not ARCHIVE.exists(), reason="no CIFAR images beside this checkout")
def test_real_cifar_images(root: Path, tmp_path: Path) -> None:
    """Some of the 60,000: the first of each class."""
    import tarfile

    with tarfile.open(ARCHIVE) as tar:
        for member in tar:
            if member.isfile() and int(Path(member.name).stem) < 40:
                tar.extract(member, tmp_path / "cifar", filter="data")
    data = load(f"folder:{tmp_path / 'cifar'}")
    assert data.classes == 10 and data.train.x.shape == (400, 3, 32, 32) and data.test.x.shape == (400, 3, 32, 32)
    assert 60 < data.train.x.float().mean() < 180 and data.train.x.float().std() > 40
    (red, blue) = (data.train.x[data.train.y == 0].float().mean((0, 2, 3))[k] for k in (0, 2))
    assert blue > red, "aeroplanes fly in a blue sky"
    assert Image.open(tmp_path / "cifar" / "train" / "airplane" / "0000.jpg").size == (32, 32)
