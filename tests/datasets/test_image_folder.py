"""A folder of images: as torchvision's ImageFolder reads it; what is missing, damaged or of another size is named."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sddcli.datasets.load import forget, load, outline
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
    (place / "test" / "cow").mkdir()
    with pytest.raises(OSError, match="has the class cow, which"):
        load(word)
    (place / "train" / "cow").mkdir()
    for path in place.rglob("test/*/*"):
        path.unlink()
    with pytest.raises(OSError, match="test has no images"):
        load(word)


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
