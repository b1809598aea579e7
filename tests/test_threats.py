"""Threats: what a stranger's runs folder, settings, labels or images may try: nothing runs, nothing is written outside.

Each line of docs/threat-model.md names the test here that shows it.
"""

import hashlib
import json
import os
import pickle
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from sddcli.core import own
from sddcli.core.models import architecture
from sddcli.core.words import UsageError
from sddcli.recipes import prune_retrain
from sddcli.spec import Run, to_dict, with_parents
from sddcli.store import Store, StoreError
from tests.conftest import Outcome, Sdd

ROOT = Path(__file__).parent.parent
RUN = Run(
    "digits", "lenet-16", noise=0.2, criterion="magnitude", rate=0.2, level=1, retraining="lottery", epochs=1,
    train_size=200,
)  # fmt: skip
READING = (
    ["list"], ["status"], ["analyze", "signs"], ["analyze", "double-descent"], ["verify"], ["report", "-o", "r.html"],
    ["plot", "double-descent"],
)  # fmt: skip


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("honest") / "runs"
    for run in with_parents([RUN]):
        prune_retrain.work(Store(root), [run], {"command": "sdd sweep"}, "cpu", lambda event: None)
    return root


@pytest.fixture
def theirs(honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a small folder of runs, for a stranger to change; what is outside must stay as it is."""
    shutil.copytree(honest, tmp_path / "theirs")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "mine.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(own, "SOURCES", {})
    return tmp_path / "theirs"


def listed(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def folder(root: Path) -> Path:
    return Store(root).folder(RUN)


def forged(root: Path, name: str, content: bytes) -> None:
    """Puts a file into the run's folder, and its hash into the manifest, as whoever made the folder could."""
    path = folder(root) / "manifest.json"
    manifest = json.loads(path.read_text())
    (folder(root) / name).write_bytes(content)
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    path.write_text(json.dumps(manifest))


def changed(root: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder(root) / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def looked_at(sdd: Sdd, commands: Any = READING) -> list[Outcome]:
    """What commands that read a folder say of it; whatever happens, they do not fail in a way that nobody foresaw."""
    outcomes = [sdd(command[0], *command[1:2], "theirs", *command[2:]) if command[0] in ("analyze", "plot")
                else sdd(command[0], "theirs", *command[1:]) for command in commands]  # fmt: skip
    for outcome in outcomes:
        assert outcome.code in (0, 2, 3, 4) and "this is a bug" not in outcome.err, outcome.err
    assert listed(Path("outside")) == ["mine.txt"] and Path("outside/mine.txt").read_text() == "mine"
    assert not Path("ran").exists()
    return outcomes


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("ran"),))


def test_a_pickle_named_as_weights_is_not_loaded(sdd: Sdd, theirs: Path) -> None:
    for name in ("weights.safetensors", "fitted.safetensors"):
        forged(theirs, name, pickle.dumps(Evil()))
    (outcome,) = looked_at(sdd, [["analyze", "signs"]])
    assert outcome.code == 4 and "is no file of sdd" in outcome.err
    looked_at(sdd)


def test_a_header_that_asks_for_memory_gets_none(sdd: Sdd, theirs: Path) -> None:
    """Of a mask of 10^15 weights; of a record that unpacks to more than it says; of a header of 2^60 bytes."""
    bits = {"hidden1.weight.mask": np.zeros(1, np.uint8)}
    forged(theirs, "weights.safetensors", save(bits, metadata={"shapes": json.dumps({"hidden1.weight": [10**15]})}))
    bomb = np.frombuffer(zlib.compress(bytes(10**8), 9), np.uint8)
    forged(theirs, "fitted.safetensors", save({"changes": bomb}, metadata={"shape": "[1, 25]"}))
    said = [outcome.err for outcome in looked_at(sdd, [["analyze", "signs"], ["analyze", "memorization"]])]
    assert "has not the bits of its shape" in said[0] and "is no file of sdd" in said[1]
    forged(theirs, "weights.safetensors", struct.pack("<Q", 2**60) + b"{}")
    looked_at(sdd)


@pytest.mark.parametrize("name", ["../../outside/mine.txt", "/dev/zero", "..", "weights.safetensors/../x", "run.py"])
def test_a_path_in_a_manifest_is_not_followed(sdd: Sdd, theirs: Path, name: str) -> None:
    changed(theirs, lambda manifest: manifest["files"].update({name: "0" * 64}))
    outcomes = looked_at(sdd)
    assert f"it names a file {name!r}, and sdd writes none of that name" in outcomes[0].err


def test_a_path_in_a_setting_makes_no_folder_elsewhere() -> None:
    for word in ("../../outside", "/etc", "..", "folder:../../outside"):
        run = replace(RUN, dataset=word, model="..")
        assert Store("theirs").folder(run).resolve().is_relative_to(Path("theirs").resolve())


@pytest.mark.parametrize("inner", ["measures", ""])
def test_nothing_is_written_through_a_link_out_of_the_folder(sdd: Sdd, theirs: Path, inner: str) -> None:
    """Of a run's folder or of its measures: what an analysis finds, and what a sweep tidies up."""
    place, outside = folder(theirs) / inner, theirs.parent / "outside"
    for path in place.glob("*.json"):
        shutil.copy(path, outside) if not inner else None
    shutil.rmtree(place)
    place.symlink_to(outside)
    before = listed(outside)
    for act in (
        lambda: Store(theirs).tidy(RUN),
        lambda: Store(theirs).save_failure(RUN, "", "") if not inner else Store(theirs).tidy(RUN),
        lambda: Store(theirs).claim(RUN) if not inner else Store(theirs).tidy(RUN),
    ):
        with pytest.raises(StoreError, match="is a link out of"):
            act()
    for words in (["analyze", "signs", "theirs"], ["verify", "--repair", "theirs"], ["gc", "theirs"]):
        assert "this is a bug" not in sdd(*words).err
    assert listed(outside) == before


def test_tables_are_not_written_through_links(sdd: Sdd, theirs: Path) -> None:
    outside = theirs.parent / "outside"
    (theirs / "measures").symlink_to(outside)
    (theirs / "results.csv").symlink_to(outside / "mine.txt")
    (theirs / ".index.sqlite3").symlink_to(outside / "new.sqlite3")
    looked_at(sdd, [["analyze", "signs"], ["list"]])
    (folder(theirs) / ".lock").symlink_to(outside / "lock")
    with pytest.raises(StoreError, match="cannot lock"):
        Store(theirs).claim(RUN)
    assert listed(outside) == ["mine.txt"]


def test_a_pipe_or_a_device_in_the_place_of_a_file_is_not_waited_for(sdd: Sdd, theirs: Path) -> None:
    weights, manifest = folder(theirs) / "weights.safetensors", folder(theirs).parent / "manifest.json"
    weights.unlink()
    os.mkfifo(weights)
    os.mkfifo(manifest)
    outcomes = looked_at(sdd)
    assert "it is no plain file" in outcomes[2].err + outcomes[0].err


def test_a_manifest_that_names_code_runs_none(sdd: Sdd, theirs: Path) -> None:
    """A run made with evil.py, whose code lies in the folder: looking at it runs nothing, measuring asks first."""
    source = b"from pathlib import Path\nPath('ran').touch()\n"
    key = own.key("evil.py", source)
    run = replace(RUN, model=f"{key}:Net")
    store = Store(theirs)
    shutil.copytree(folder(theirs), store.folder(run))
    path = store.folder(run) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"run": to_dict(run), "id": run.id}))
    store.save_code(key, source)
    (theirs.parent / "evil.py").write_bytes(source)
    assert store.finished(run)
    outcomes = looked_at(sdd)
    assert any("only if you say so" in outcome.err for outcome in outcomes)
    assert sdd("retrain", store.folder(run)).code == 0, "it is finished"
    assert sdd("export", store.folder(run)).code == 2 and not Path("ran").exists()


def test_settings_of_a_stranger_run_no_code(sdd: Sdd, theirs: Path) -> None:
    Path("evil.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    Path("sweep.toml").write_text('model = ["lenet-16", "evil.py:Net"]\n')
    assert "to run it only if you say so" not in sdd("sweep", "sweep.toml", "--dry-run").out
    assert sdd("sweep", "sweep.toml", "--dry-run").code == 2 and not Path("ran").exists()
    for word in (
        "timm:resnet18:checkpoint_path=evil.pth",
        "timm:resnet18:pretrained=1",
        "torchvision:resnet18:weights=x",
    ):
        with pytest.raises(UsageError, match="would read a file of weights"):
            architecture(word, (3, 32, 32), 10)


def test_scripts_and_orders_in_words_are_shown_as_words(sdd: Sdd, theirs: Path) -> None:
    """In the page they are escaped; what would give orders to a terminal is refused in a setting, written out else."""
    script = "<script>alert(1)</script>"
    changed(theirs, lambda manifest: manifest.update(command=f"sdd\x1b]0;x\x07{script}", machine=script, device=script))
    Store(theirs).save_plan(f"sdd sweep {script}", [to_dict(RUN)])
    assert sdd("report", "theirs", "-o", "r.html").code == 0
    page = Path("r.html").read_text()
    assert script not in page and "&lt;script&gt;" in page
    logs = sdd("logs", folder(theirs))
    assert "\x1b" not in logs.out and "\\x1b]0;x\\x07" in logs.out
    changed(theirs, lambda manifest: manifest["run"].update(dataset="digits\x1b[2J"))
    said = sdd("list", "theirs")
    assert "\x1b" not in said.out + said.err and "would give orders to a terminal" in said.err


@pytest.mark.parametrize("name", ['x" INTEGER); DROP TABLE runs; --', "a\x1b[2J", "x" * 500])
def test_a_name_of_a_number_is_no_statement(sdd: Sdd, theirs: Path, name: str) -> None:
    measures = folder(theirs) / "measures"
    (measures / "theirs.json").write_text(json.dumps({name: 1.0}))
    outcomes = looked_at(sdd)
    assert "is damaged; remove it to measure again" in outcomes[0].err


def test_words_without_end_are_no_words(sdd: Sdd, theirs: Path) -> None:
    """A manifest of gigabytes, lists within lists, numbers of a thousand digits."""
    manifest = folder(theirs) / "manifest.json"
    whole = manifest.read_text()
    for text in ("[" * 100_000, whole.replace('"seed": 0', f'"seed": {"9" * 5000}'), whole[:50]):
        manifest.write_text(text)
        looked_at(sdd, [["list"], ["verify"]])
    with manifest.open("wb") as file:
        file.truncate(10**11)  # takes no room on the disk
    assert "is larger than" in looked_at(sdd, [["list"]])[0].err


def test_an_image_that_unpacks_to_gigabytes_is_refused(theirs: Path, root: Path, sdd: Sdd) -> None:
    for split in ("train", "test"):
        for label in ("a", "b"):
            (theirs / split / label).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(theirs / split / label / "1.png")
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (theirs / "train" / "a" / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    outcome = sdd("sweep", "--dataset", f"folder:{theirs}:size=8", "--levels", "0", "--workers", "1", "--runs", "new")
    assert outcome.code in (2, 4) and "bomb" in outcome.err, outcome.err


def test_every_threat_of_the_model_names_its_test() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith(("| threat", "|---"))]
    known = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    named = [re.findall(r"`(test_\w+)`", row) for row in rows]
    assert len(rows) >= 14 and all(named) and {name for names in named for name in names} <= known
    here = {name for name, value in globals().items() if name.startswith("test_") and callable(value)}
    assert here - {name for names in named for name in names} <= {"test_every_threat_of_the_model_names_its_test"}
