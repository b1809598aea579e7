"""Checking: a healthy machine is called so, a wrong one not; two runs are compared as their files say."""

from pathlib import Path

import pytest

from sddcli.recipes import health, prune_retrain
from sddcli.spec import Run, with_parents
from sddcli.store import Store
from tests.conftest import Sdd

RUN = Run("digits", "lenet-16", noise=0.2, criterion="magnitude", rate=0.5, level=1, retraining="lottery", epochs=1)


def test_a_doctor_says_what_is_wrong_and_what_is_well(
    sdd: Sdd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    monkeypatch.setattr(health, "RECORDED", 10.0)
    outcome = sdd("doctor", "--runs", tmp_path / "deep" / "runs", "--json")
    assert outcome.code == 0 and {check["name"]: check["fine"] for check in outcome.json} == dict.fromkeys(
        ("python", "machine", "disk", "right to write", "libraries", "torch and torchvision", "device", "data digits",
         "speed"), True,
    )  # fmt: skip
    assert not (tmp_path / "deep").exists()
    monkeypatch.setattr(health, "RECORDED", 1e-9)
    monkeypatch.setattr(health, "requires", lambda name: ["numpy", "torch==1.0.0"])
    (tmp_path / "file").touch()
    outcome = sdd("doctor", "--runs", tmp_path / "file", "--data", "folder:nowhere")
    wrong = [line for line in outcome.out.splitlines() if line.startswith("WRONG")]
    assert outcome.code == 1 and len(wrong) == 4
    assert "torchvision wants torch 1.0.0" in outcome.out and "no folder of images at nowhere" in outcome.out


def test_two_runs_are_compared(sdd: Sdd, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for run in with_parents([RUN]):
        prune_retrain.work(store, [run], {}, "cpu", lambda event: None)
    dense, pruned = store.folder(RUN.root), store.folder(RUN)
    said = sdd("compare", dense, pruned, "--json").json
    assert said["settings"]["level"] == [0, 1] and said["masks"] == {"a": 1024, "b": 512, "both": 512}
    metrics = [(store.manifest(run) or {})["metrics"]["test_accuracy"] for run in (RUN.root, RUN)]
    assert said["numbers"]["test_accuracy"] == metrics and said["made by"] == {}
    text = sdd("compare", dense, pruned).out
    assert "differs in:" in text and "test accuracy" in text and "1024 and 512, 512 of them in both" in text
    assert all(len(line) <= 80 for line in text.splitlines())
    assert sdd("compare", dense, tmp_path).code == 4
