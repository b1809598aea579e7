"""Small files of the real formats: for each data set a function that writes some and returns the word for it."""

import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

DRAW = np.random.default_rng(0)


def idx(array: np.ndarray) -> bytes:
    """An array of bytes in the IDX format of MNIST's files."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def mnist_files() -> dict[str, bytes]:
    """The four files of MNIST, with 40 images to train on and 20 to test."""
    files, draw = {}, np.random.default_rng(0)
    for split, n in (("train", 40), ("t10k", 20)):
        files[f"{split}-images-idx3-ubyte"] = idx(draw.integers(256, size=(n, 28, 28), dtype=np.uint8))
        files[f"{split}-labels-idx1-ubyte"] = idx((np.arange(n) % 10).astype(np.uint8))
    return files


def mnist(root: Path) -> str:
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, content in mnist_files().items():
        (folder / name).write_bytes(content)
    return "mnist"


def torchvision(root: Path) -> str:
    """Fashion-MNIST in the files of torchvision, with as many images as MNIST here."""
    folder = root / "torchvision" / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for name, content in mnist_files().items():
        (folder / name).write_bytes(content)
    return "torchvision:FashionMNIST"


def batch(n: int, classes: int, key: bytes) -> bytes:
    """A file of CIFAR as its authors pickled them: rows of 3072, words as Python 2 wrote them."""
    x, y = DRAW.integers(256, size=(n, 3072), dtype=np.uint8), [k % classes for k in range(n)]
    content = io.BytesIO()
    Python2(content, protocol=2).dump({b"batch_label": b"training", key: y, b"data": x, b"filenames": [b"a.png"] * n})
    return content.getvalue().replace(b"cnumpy._core.", b"cnumpy.core.")  # as NumPy was called then


class Python2(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Writes bytes as Python 2 wrote its strings."""

    dispatch = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_bytes(self, word: bytes) -> None:
        self.write(pickle.BINSTRING + struct.pack("<i", len(word)) + word)
        self.memoize(word)

    dispatch[bytes] = save_bytes


def cifar10(root: Path) -> str:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(batch(20, 10, b"labels"))
    return "cifar10"


def cifar100(root: Path) -> str:
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for name, n in (("train", 300), ("test", 100)):
        (folder / name).write_bytes(batch(n, 100, b"fine_labels"))
    return "cifar100"


def picture(path: Path, size: tuple[int, int] = (64, 64), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = DRAW.integers(256, size=(size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def tiny_imagenet(root: Path) -> str:
    place = root / "tiny-imagenet-200"
    names = ["n02124075", "n01443537", "n04067472"]
    for name in names:
        for k in range(4):
            picture(place / "train" / name / "images" / f"{name}_{k}.JPEG", mode="L" if k == 1 else "RGB")
    lines = []
    for k in range(6):
        picture(place / "val" / "images" / f"val_{k}.JPEG")
        lines.append(f"val_{k}.JPEG\t{names[k % 3]}\t0\t32\t44\t62\n")
    (place / "val" / "val_annotations.txt").write_text("".join(lines))
    (place / "wnids.txt").write_text("\n".join(names))
    return "tiny-imagenet"


def image_folder(root: Path) -> str:
    place = root / "pictures: mine"  # a colon, a blank
    for split, n in (("train", 5), ("test", 3)):
        for label in ("cat", "dog"):
            for k in range(n):
                picture(place / split / label / f"{k}.{'png' if k == 2 else 'jpg'}", (20, 12))
    return f"folder:{place}"


SMALL: dict[str, Callable[[Path], str]] = {
    "digits": lambda root: "digits",
    "mnist": mnist,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "tiny-imagenet": tiny_imagenet,
    "folder": image_folder,
    "torchvision": torchvision,
}
