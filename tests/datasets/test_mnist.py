"""MNIST: its files in their format, put there by hand or downloaded, and damaged ones named."""

import gzip
import hashlib
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from sddcli.data import forget, load
from sddcli.datasets import mnist
from tests.datasets.small import mnist_files

SHARED = Path(__file__).parent.parent.parent.parent / "shared" / "data"


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of MNIST's raw files, with small ones in it."""
    monkeypatch.setenv("SDD_DATA", str(tmp_path))
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, content in mnist_files().items():
        (folder / name).write_bytes(content)
    forget()
    yield folder
    forget()


def test_mnist_from_its_files(raw: Path) -> None:
    data = load("mnist")
    assert data.train.x.shape == (40, 1, 28, 28) and data.test.x.shape == (20, 1, 28, 28) and data.classes == 10
    pixels = np.frombuffer(mnist_files()["train-images-idx3-ubyte"][16:], np.uint8).reshape(40, 1, 28, 28)
    expected = (pixels.astype(np.float64) / 255 - 0.1307) / 0.3081
    assert np.abs(data.train.x.numpy() - expected).max() < 1e-5
    assert data.test.y.tolist() == [k % 10 for k in range(20)]
    assert load("mnist", 20).train.y.bincount().tolist() == [2] * 10


@pytest.mark.parametrize("name", mnist_files())
@pytest.mark.parametrize("damage", ["cut", "empty", "other"])
def test_damaged_files_of_mnist_are_one_clear_error(raw: Path, name: str, damage: str) -> None:
    content = (raw / name).read_bytes()
    other = mnist_files()[("t10k" if name.startswith("train") else "train") + name[name.index("-") :]]
    (raw / name).write_bytes({"cut": content[:-5], "empty": b"", "other": other}[damage])
    with pytest.raises(OSError, match=f"{name}.*MNIST|MNIST.*{name}") as error:
        load("mnist")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("where", ["MNIST/raw", "MNIST", "."])
@pytest.mark.parametrize("how", ["{0}", "{0}.gz", "{1}", "{1}.gz", "{0}/{0}", "{0}/{1}"])
def test_mnist_put_there_by_hand(root: Path, monkeypatch: pytest.MonkeyPatch, where: str, how: str) -> None:
    """Its names or those of Kaggle's copy, train-images.idx3-ubyte; packed or not; in a folder of its own or not."""
    monkeypatch.setattr(mnist, "ADDRESSES", [])
    for name, content in mnist_files().items():
        path = root / where / how.format(name, name.replace("-idx", ".idx"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    data = load("mnist")
    assert data.train.x.shape == (40, 1, 28, 28) and data.test.y.tolist() == [k % 10 for k in range(20)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no gzip", "is damaged"),
        (gzip.compress(b"x" * 900)[:-9], "is damaged"),
        (gzip.compress(b""), "is damaged or not MNIST"),
    ],
)
def test_damaged_packed_files_of_mnist_are_named(raw: Path, content: bytes, words: str) -> None:
    (raw / "t10k-labels-idx1-ubyte").unlink()
    (raw / "t10k-labels-idx1-ubyte.gz").write_bytes(content)
    with pytest.raises(OSError, match=f"t10k-labels-idx1-ubyte.gz {words}.*remove it to download it again"):
        load("mnist")


def test_labels_that_are_no_digits_are_not_mnists(raw: Path) -> None:
    path = raw / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"\x0a")
    with pytest.raises(OSError, match="train-labels-idx1-ubyte is not MNIST's: it has the label 10"):
        load("mnist")


def test_what_torchvision_downloads_is_what_we_download() -> None:
    from torchvision.datasets import MNIST

    assert [(f"{name}.gz", md5) for name, md5 in mnist.FILES.values()] == MNIST.resources


def test_mnist_is_downloaded_once_and_from_the_next_mirror_when_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = tmp_path / "served"
    served.mkdir()
    files = {f"{name}.gz": gzip.compress(content) for name, content in mnist_files().items()}
    for name, content in files.items():
        (served / name).write_bytes(content)
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *words: Any, **more: Any) -> None:
            super().__init__(*words, directory=str(served), **more)

        def log_request(self, *_: object) -> None:
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.delenv("SDD_MIRROR", raising=False)
    monkeypatch.setattr(mnist, "ADDRESSES", [f"{address}/gone/", f"{address}/"])
    hashes = {key: (name, hashlib.md5(files[f"{name}.gz"]).hexdigest()) for key, (name, _) in mnist.FILES.items()}
    monkeypatch.setattr(mnist, "FILES", hashes)
    monkeypatch.setenv("SDD_DATA", str(tmp_path / "data"))
    forget()
    assert len(load("mnist").train.y) == 40
    first = len(asked)
    forget()
    assert len(load("mnist").train.y) == 40 and len(asked) == first >= 8
    (served / "mirror").mkdir()
    for name in files:
        (served / name).rename(served / "mirror" / name)
    for mirror in (f"{address}/mirror", f"{address}/mirror/"):
        monkeypatch.setenv("SDD_MIRROR", mirror)
        monkeypatch.setenv("SDD_DATA", str(tmp_path / f"mirrored {len(mirror)}"))
        asked.clear()
        forget()
        assert len(load("mnist").train.y) == 40 and asked == [f"/mirror/{name}" for name in files]
    monkeypatch.setattr(mnist, "FILES", {key: (name, "0" * 32) for key, (name, _) in hashes.items()})
    monkeypatch.setenv("SDD_DATA", str(tmp_path / "again"))
    forget()
    with pytest.raises(OSError, match="cannot download train-images-idx3-ubyte.gz .*its hash is not 000"):
        load("mnist")
    server.shutdown()
    forget()


@pytest.mark.skipif(not SHARED.exists(), reason="no real MNIST beside this checkout")
def test_the_real_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDD_DATA", str(SHARED))
    forget()
    data = load("mnist")
    assert (len(data.train.y), len(data.test.y)) == (60_000, 10_000)
    assert data.train.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert abs(data.train.x.mean()) < 1e-3 and abs(data.train.x.std() - 1) < 1e-3
    forget()
