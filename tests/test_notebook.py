"""In a notebook: what is loaded is what was trained."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

import sddcli
from sddcli.data import forget
from sddcli.packing import pack, unpack
from sddcli.recipes import measuring, prune_retrain, verifying
from sddcli.spec import Run
from sddcli.store import Store, StoreError
from tests.datasets.small import picture


@pytest.fixture(scope="session")
def normalized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with BatchNorm, dense and pruned once."""
    root = tmp_path_factory.mktemp("normalized") / "runs"
    words = ["--model", "convnet:width=2", "--levels", "1", "--seeds", "0", "--epochs", "1", "--rewind", "0it"]
    subprocess.run([sys.executable, "-m", "sddcli", "sweep", *words, "--runs", str(root)], check=True)
    return root


@pytest.mark.parametrize("folder", ["trained", "normalized"])
@pytest.mark.parametrize("level", [0, 1])
def test_the_network_does_what_the_manifest_says(request: pytest.FixtureRequest, folder: str, level: int) -> None:
    root: Path = request.getfixturevalue(folder)
    found = [(Store(root).folder(run), run) for run, _ in Store(root).manifests() if run.level == level]
    loaded = sddcli.load(found[0][0])
    data, metrics = loaded.data, loaded.manifest["metrics"]
    logits = loaded.network(data.test.x)
    assert loaded.run == found[0][1] and not loaded.network.training
    assert (logits.argmax(1) == data.test.y).double().mean().item() == pytest.approx(metrics["test_accuracy"])
    assert F.cross_entropy(logits, data.test.y).item() == pytest.approx(metrics["test_loss"], rel=1e-5)
    fitted = loaded.network(data.train.x).argmax(1) == loaded.labels
    assert fitted.double().mean().item() == pytest.approx(metrics["train_accuracy"])
    assert loaded.history["test_accuracy"].iloc[-1] == pytest.approx(metrics["test_accuracy"])
    kept = sum(int(mask.sum()) for mask in loaded.masks.values())
    assert kept == metrics["weights"] and all((loaded.weights[n][~m] == 0).all() for n, m in loaded.masks.items())


@pytest.mark.parametrize("folder", ["trained", "normalized"])
def test_the_network_is_a_module_like_any_other(request: pytest.FixtureRequest, folder: str) -> None:
    root: Path = request.getfixturevalue(folder)
    loaded = sddcli.load(next(root.rglob("level-01")))
    network, x = loaded.network, loaded.data.train.x[:32]
    assert set(network.state_dict()) == set(loaded.weights)
    assert all(torch.equal(network.state_dict()[name], w) for name, w in loaded.weights.items())
    before = {name: w.clone() for name, w in network.state_dict().items()}
    optimizer = torch.optim.SGD(network.train().parameters(), lr=0.1)
    F.cross_entropy(network(x), loaded.data.train.y[:32]).backward()
    optimizer.step()
    assert all(not torch.equal(before[name], w) for name, w in network.state_dict().items())
    assert len(repr(loaded)) < 2000, "a notebook prints it"


def test_a_table_is_what_the_commands_read(trained: Path) -> None:
    frame = sddcli.table(str(trained))
    pd.testing.assert_frame_equal(frame, sddcli.table(trained / "results.csv"), check_dtype=False)
    assert len(frame) == 12 and len(sddcli.table.summary(frame)) == 4


def test_what_cannot_be_loaded_says_why(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no folder of a run"):
        sddcli.load(tmp_path)
    root = shutil.copytree(trained, tmp_path / "runs")
    path = next(root.rglob("level-01"))
    (path / "weights.safetensors").write_bytes(b"x")
    with pytest.raises(StoreError, match="is damaged"):
        sddcli.load(path)
    manifest = next(root.rglob("level-02")) / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"stage": "trained"', '"stage": "pruned"'))
    with pytest.raises(StoreError, match="not trained yet: sdd retrain"):
        sddcli.load(manifest.parent)
    with pytest.raises(AttributeError, match="no attribute 'tabel'"):
        sddcli.tabel  # noqa: B018


MODELS = [
    *(("lenet-8-4", size) for size in ((12, 12), (20, 12), (9, 9))),
    *((model, (20, 20)) for model in ("conv-2", "convnet:width=2", "resnet18:width=2", "preresnet18:width=2")),
    *((model, (20, 12)) for model in ("convnet:width=2", "resnet18:width=2")),
]


def of_images(place: Path, root: Path, model: str, size: tuple[int, int], level: int = 0) -> tuple[Store, Run]:
    """A store with a dense run on a folder of small images of two classes, and that run or the one of a level of it."""
    for split, n in (("train", 4), ("test", 2)):
        for name in ("cat", "dog"):
            for k in range(n):
                picture(place / split / name / f"{k}.png", size)
    store, run = Store(root), Run(f"folder:{place}", model, epochs=1, batch_size=4, noise=0.5)
    assert not prune_retrain.work(store, [run], {}, "cpu", lambda event: None)
    return store, run


def rewritten(store: Store, run: Run, name: str, change: Callable[[bytes], bytes]) -> None:
    """Changes a file of a run, and its hash in the manifest."""
    folder = store.folder(run)
    manifest, content = json.loads((folder / "manifest.json").read_text()), change((folder / name).read_bytes())
    (folder / name).write_bytes(content)
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def made_by_an_older_sdd(store: Store, run: Run) -> None:
    """Takes out of its manifest what older ones lack: the shape of its data, how many classes, where they lay."""
    path = store.folder(run) / "manifest.json"
    manifest: dict[str, Any] = json.loads(path.read_text())
    manifest["data"] = {name: manifest["data"][name] for name in ("name", "sha256")}
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize(("model", "size"), MODELS)
def test_a_network_needs_no_images(root: Path, tmp_path: Path, model: str, size: tuple[int, int], older: bool) -> None:
    store, run = of_images(tmp_path / "images", tmp_path / "runs", model, size)
    loaded = sddcli.load(store.folder(run))
    x, before = loaded.data.test.x, loaded.network(loaded.data.test.x)
    shutil.rmtree(tmp_path / "images")
    forget()
    if older:
        made_by_an_older_sdd(store, run)
    loaded = sddcli.load(store.folder(run))
    assert torch.equal(loaded.network(x), before)
    with pytest.raises(OSError, match="no folder of images at"):
        loaded.labels  # noqa: B018


def test_a_shape_that_cannot_be_known_is_said(root: Path, tmp_path: Path) -> None:
    store, run = of_images(tmp_path / "images", tmp_path / "runs", "conv-2", (20, 12))
    made_by_an_older_sdd(store, run)
    assert sddcli.load(store.folder(run)).network is not None
    shutil.rmtree(tmp_path / "images")
    forget()
    with pytest.raises(StoreError, match="did not record the size of the images of folder:.*, and no folder of images"):
        sddcli.load(store.folder(run)).network  # noqa: B018


def test_classes_that_an_older_sdd_counted_though_they_had_no_images(root: Path, tmp_path: Path) -> None:
    """Nothing can be computed with such data, and a line says so; the network itself needs no data."""
    store, run = of_images(tmp_path / "images", tmp_path / "runs", "lenet-8-4", (12, 12))

    def one_class_more(content: bytes) -> bytes:
        weights, masks = unpack(content)
        grown = {name: torch.cat([w, w[:1]]) if name.startswith("output") else w for name, w in weights.items()}
        return pack(grown, masks)

    for name in ("weights.safetensors", "initial.safetensors"):
        rewritten(store, run, name, one_class_more)
    made_by_an_older_sdd(store, run)
    message = "was trained to tell 3 classes apart, and folder:.* has 2: an older sdd counted a folder without images"
    loaded = sddcli.load(store.folder(run))
    assert loaded.network(loaded.data.test.x).shape == (4, 3)
    with pytest.raises(StoreError, match=message):
        loaded.labels  # noqa: B018
    pruned = Run(run.dataset, run.model, epochs=1, batch_size=4, noise=0.5, level=1, criterion="magnitude", rate=0.2,
                 retraining="lottery")  # fmt: skip
    failures = [*measuring.measured(store, ["flatness"], run)]
    assert len(failures) == 1
    errors = [str(failures[0][2]), str(next(iter(verifying.verified(store, evaluate=True)))[1][0])]
    events: list[Any] = []
    prune_retrain.work(store, [pruned], {}, "cpu", events.append)
    errors.append(events[-1].reason)
    assert all(re.search(message, error) and "\n" not in error for error in errors), errors
