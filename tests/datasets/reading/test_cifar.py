"""CIFAR: pickles are read as data and run nothing; archives are unpacked and, when missing, downloaded."""

import hashlib
import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from sddcli.data import forget, load
from sddcli.datasets import cifar10 as dataset
from sddcli.datasets.reading import cifar
from tests.datasets.conftest import Server
from tests.datasets.small import batch, cifar10


def test_images_are_the_rows_of_the_batches_in_order(root: Path) -> None:
    cifar10(root)
    data = load("cifar10")
    batches = [(root / "cifar-10-batches-py" / f"data_batch_{i}").read_bytes() for i in range(1, 6)]
    rows = [pickle.loads(content, encoding="bytes")[b"data"] for content in batches]
    assert np.array_equal(data.train.x.numpy(), np.concatenate(rows).reshape(-1, 3, 32, 32))
    assert data.train.x.shape == (100, 3, 32, 32) and data.test.x.shape == (20, 3, 32, 32)
    first = data.sha256
    forget()
    assert load("cifar10").sha256 == first


def test_as_torchvision_reads_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10

    cifar10(root)
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    meta = root / "cifar-10-batches-py" / "batches.meta"
    meta.write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": hashlib.md5(meta.read_bytes()).hexdigest()})
    for split, train in ((load("cifar10").train, True), (load("cifar10").test, False)):
        theirs = CIFAR10(str(root), train=train)
        assert np.array_equal(theirs.data.transpose(0, 3, 1, 2), split.x.numpy()) and theirs.targets == split.y.tolist()


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch pwned",)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({b"data": Evil(), b"labels": [0]}, protocol=2),
        pickle.dumps(Evil()),
        b"cos\nsystem\n(S'touch pwned'\ntR.",
        b'cbuiltins\neval\n(S\'open("pwned", "w")\'\ntR.',
    ],
)
def test_a_pickle_runs_nothing(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    cifar10(root)
    (root / "cifar-10-batches-py" / "data_batch_3").write_bytes(content)
    with pytest.raises(OSError, match="data_batch_3 is damaged or not CIFAR's .it wants to run"):
        load("cifar10")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        batch(20, 10, b"labels")[:500],
        batch(20, 10, b"labels")[:-20],
        batch(20, 11, b"labels"),
        batch(20, 10, b"coarse_labels"),
        pickle.dumps({b"data": np.zeros((20, 3000), np.uint8), b"labels": [0] * 20}),
        pickle.dumps({b"data": np.zeros((20, 3072)), b"labels": [0] * 20}),
        pickle.dumps({b"data": np.zeros((20, 3072), np.uint8), b"labels": [0] * 19}),
        pickle.dumps([1, 2]),
    ],
    ids=range(9),
)
def test_damaged_batches_are_one_clear_error(root: Path, damage: bytes) -> None:
    cifar10(root)
    (root / "cifar-10-batches-py" / "test_batch").write_bytes(damage)
    with pytest.raises(OSError, match=r"test_batch is damaged or not CIFAR's \(.*\); remove it") as error:
        load("cifar10")
    assert "\n" not in str(error.value)


def packed(folder: Path) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        tar.add(folder, folder.name)
    return content.getvalue()


def test_it_is_downloaded_and_unpacked_once(
    root: Path, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cifar10(tmp_path / "made")
    content = packed(tmp_path / "made" / "cifar-10-batches-py")
    server.files["cifar-10-python.tar.gz"] = content
    monkeypatch.setattr(cifar, "ADDRESSES", [f"{server.address}/gone/", f"{server.address}/"])
    monkeypatch.setattr(dataset, "ARCHIVE", dataset.ARCHIVE._replace(md5=hashlib.md5(content).hexdigest()))
    told: list[str] = []
    data = load("cifar10", tell=lambda what, done, total: told.append(what))
    assert len(data.train.y) == 100 and "downloading cifar-10-python.tar.gz" in told
    asked = len(server.asked)
    forget()
    assert load("cifar10").sha256 == data.sha256 and len(server.asked) == asked
    for path in (root / "cifar-10-batches-py").iterdir():
        path.unlink()
    forget()
    assert load("cifar10").sha256 == data.sha256 and len(server.asked) == asked, "unpacked again, not downloaded"
    (root / "cifar-10-batches-py" / "data_batch_1").unlink()
    (root / "cifar-10-python.tar.gz").write_bytes(content[:1000])
    forget()
    with pytest.raises(OSError, match=r"tar.gz is damaged .*; remove it to download it again"):
        load("cifar10")


def test_an_archive_cannot_write_elsewhere(root: Path, tmp_path: Path) -> None:
    root.mkdir()
    with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as tar:
        (tmp_path / "a").write_text("x")
        tar.add(tmp_path / "a", "../escaped")
    with pytest.raises(OSError, match="damaged"):
        load("cifar10")
    assert not (tmp_path / "escaped").exists()
