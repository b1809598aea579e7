"""In a notebook: what is loaded is what was trained."""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

import sddcli
from sddcli.store import Store, StoreError


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
