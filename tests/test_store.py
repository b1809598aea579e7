"""Store: whole files, exact round trips, damage that is named."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sddcli import files as module
from sddcli import table
from sddcli.core.types import Measurement
from sddcli.events import Event
from sddcli.files import StoreError, write
from sddcli.packing import pack, pack_fitted, unpack, unpack_fitted
from sddcli.recipes import prune_retrain
from sddcli.recipes.verifying import verified
from sddcli.resolve import runs
from sddcli.spec import Run
from sddcli.store import Store

DENSE = Run("digits", "lenet-300-100", epochs=2)
RUN = replace(DENSE, criterion="magnitude", retraining="lottery", rate=0.2, level=2)
WEIGHTS = {"a.weight": torch.tensor([[1.0, 0.0, -3.0]]), "a.bias": torch.tensor([0.5])}
MASKS = {"a.weight": torch.tensor([[True, False, True]])}
HISTORY = [
    {"epoch": 1, "test_accuracy": 0.5, "memorized": None},
    {"epoch": 2, "test_accuracy": 0.25, "memorized": None},
]
FACTS = {"metrics": {"test_accuracy": 0.25}, "data": {"sha256": "x"}, "seconds": 1.0}


def save(store: Store, run: Run) -> None:
    initial = WEIGHTS if run.level == 0 else None
    store.save_trained(run, WEIGHTS, MASKS, HISTORY, {"learning-distance": Measurement({"d": 1.5})}, FACTS, initial)


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=4, max_side=6)), st.integers(0, 2**32 - 1))
def test_packing_keeps_every_bit_of_kept_weights(values: np.ndarray, seed: int) -> None:
    mask = np.random.default_rng(seed).random(values.shape) < 0.5
    weights = {"w": torch.from_numpy(np.where(mask, values, np.float32(0))), "b": torch.from_numpy(values)}
    found, masks = unpack(pack(weights, {"w": torch.from_numpy(mask)}))
    assert all(found[name].numpy().tobytes() == w.numpy().tobytes() for name, w in weights.items())
    assert np.array_equal(masks["w"].numpy(), mask) and set(masks) == {"w"}


def test_equal_weights_are_equal_bytes_in_any_order() -> None:
    masks = {name: torch.ones(2, dtype=torch.bool) for name in "abc"}
    weights = {name: torch.ones(2) for name in "abc"}
    assert pack(weights, masks) == pack(dict(reversed(weights.items())), dict(reversed(masks.items())))


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9)))
def test_what_was_fitted_is_found_bit_for_bit(bits: np.ndarray) -> None:
    assert np.array_equal(unpack_fitted(pack_fitted(torch.from_numpy(bits))).numpy(), bits)


def test_what_does_not_change_takes_no_room() -> None:
    bits = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 1000), np.uint8)).expand(50, -1)
    assert len(pack_fitted(bits)) < 1000 + 500


def test_only_kept_weights_take_room() -> None:
    weights, mask = {"w": torch.zeros(80_000)}, {"w": torch.arange(80_000) < 8_000}
    assert len(pack(weights, mask)) < 4 * 8_000 + 80_000 / 8 + 300


def test_what_is_saved_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.manifest(RUN) is None and not store.finished(RUN)
    save(store, DENSE)
    store.save_pruned(RUN, WEIGHTS, MASKS, FACTS)
    assert not store.finished(RUN) and store.pruned(RUN) is not None
    assert [run for run, _ in store.manifests()] == [DENSE]
    save(store, RUN)
    assert store.finished(RUN) and store.pruned(RUN) is None
    assert not (store.folder(RUN) / "pruned.safetensors").exists()
    weights, masks = store.weights(RUN)
    assert torch.equal(weights["a.weight"], WEIGHTS["a.weight"]) and torch.equal(masks["a.weight"], MASKS["a.weight"])
    assert torch.equal(store.initial(RUN)["a.bias"], WEIGHTS["a.bias"])
    assert store.measures(RUN) == {"learning-distance": {"d": 1.5}}
    assert store.history(RUN)[1] == {"epoch": "2", "test_accuracy": "0.25", "memorized": ""}
    assert {run for run, _ in store.manifests()} == {DENSE, RUN}
    assert store.folder(RUN).name == "level-02" and store.folder(RUN).parent.name.endswith(RUN.chain)
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["weights.safetensors", "history.csv"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damaged_files_are_named(tmp_path: Path, name: str, damage: str) -> None:
    store = Store(tmp_path)
    save(store, RUN)
    path = store.folder(RUN) / name
    content = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(StoreError, match=name):
        store.weights(RUN) if "weights" in name else store.history(RUN)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 99}, "upgrade sdd"),
        ({"run": {"dataset": "digits", "model": "m", "new": 1}}, "another version of sdd: .*'new'.*; upgrade sdd"),
        ({"run": None}, "damaged"),
        ({"stage": None}, "damaged"),
        ({"stage": "done"}, "its stage is 'done'"),
        ({"metrics": None}, "damaged"),
        ({"files": []}, "its files are no table"),
        ({"data": {}}, "damaged"),
        ({"seconds": "x"}, "damaged"),
    ],
)
def test_manifests_that_cannot_be_read_are_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    store = Store(tmp_path)
    save(store, DENSE)
    path = store.folder(DENSE) / "manifest.json"
    manifest = json.loads(path.read_text()) | change
    path.write_text(json.dumps({key: value for key, value in manifest.items() if value is not None}))
    with pytest.raises(StoreError, match=message) as error:
        store.manifest(DENSE)
    assert "manifest.json" in str(error.value)
    path.write_text('{"schema": 1')
    with pytest.raises(StoreError, match="damaged"):
        list(store.manifests())


def test_another_run_of_the_same_id_is_not_taken_for_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    save(store, DENSE)
    path = store.folder(DENSE) / "manifest.json"
    path.write_text(path.read_text().replace('"epochs": 2', '"epochs": 3'))
    with pytest.raises(StoreError, match="another run"):
        store.manifest(DENSE)
    assert not store.finished(DENSE)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "file", b"old")
    for call in ("fsync", "replace"):
        with monkeypatch.context() as broken:

            def fail(*_: object, **__: object) -> None:
                raise OSError(28, "No space left on device")

            broken.setattr(os, call, fail) if call == "fsync" else broken.setattr(Path, call, fail)
            with pytest.raises(StoreError, match="No space left"):
                write(tmp_path / "file", b"new")
        assert (tmp_path / "file").read_bytes() == b"old"
        assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_manifest_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    real = module.write
    monkeypatch.setattr(module, "write", lambda path, content: (written.append(path.name), real(path, content)))
    save(Store(tmp_path), DENSE)
    assert written[-1] == "manifest.json" and len(written) == 5


@pytest.mark.parametrize("content", ["[]", '{"d": "x"}', "x", ""])
def test_damaged_measures_are_named(tmp_path: Path, content: str) -> None:
    store = Store(tmp_path)
    save(store, DENSE)
    (store.folder(DENSE) / "measures" / "learning-distance.json").write_text(content)
    with pytest.raises(StoreError, match="learning-distance.json is damaged"):
        store.measures(DENSE)


def test_a_copied_or_renamed_folder_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    save(store, DENSE)
    store.folder(DENSE).rename(tmp_path / "renamed")
    with pytest.raises(StoreError, match="renamed is a copy or was renamed"):
        list(store.manifests())


def test_an_unreadable_manifest_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    save(store, DENSE)

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreError, match="cannot read .*: Permission denied"):
        store.manifest(DENSE)


def test_what_a_killed_process_left_is_cleared_after_a_while(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save_pruned(RUN, WEIGHTS, MASKS, FACTS)
    old, new = (store.folder(RUN) / f".weights.safetensors.{pid}" for pid in (1, 2))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    save(store, RUN)
    assert not old.exists() and new.exists()


def test_folders_that_cannot_be_written_or_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write to runs folder"):
        Store(tmp_path / "file" / "runs").prepare()
    with pytest.raises(StoreError, match="no runs folder"):
        list(Store(tmp_path / "none").manifests())
    assert Store(tmp_path / "file" / "runs").manifest(DENSE) is None


FIXTURES = Path(__file__).parent / "fixtures"


@pytest.mark.parametrize("name", ["schema-1"])
def test_folders_of_older_versions_load_for_ever(tmp_path: Path, name: str) -> None:
    """Made before runs had an optimizer, a precision and so on: the same runs by the same ids, and gone on with."""
    root = shutil.copytree(FIXTURES / name, tmp_path / "runs")
    store, asked = Store(root), runs({"level": "0-2", "seed": "0", "epochs": "1", "rate": "0.9"})
    found = dict(store.manifests())
    assert [run for run in asked if store.finished(run)] == list(found) and len(found) == 2
    assert [folder for folder, wrong in verified(store, evaluate=True) if wrong] == []
    frame = table.results(store)
    assert set(frame["optimizer"]) == {"sgd"} and frame["weights"].isna().all()
    before = {path: path.read_bytes() for path in root.rglob("*.safetensors")}
    events: list[Event] = []
    prune_retrain.work(store, [asked[2]], {}, "cpu", events.append)
    assert store.finished(asked[2]) and all(path.read_bytes() == content for path, content in before.items())
    assert len(table.read(FIXTURES / name / "results.csv")) == 2


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_groups_folder_gives_its_rights_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    root, before = tmp_path / "runs", os.umask(umask)
    try:
        root.mkdir()
        root.chmod(0o2775)
        save(Store(root), RUN)
        claim = Store(root).claim(DENSE)
        assert claim is not None
        claim.release(finished=False)
    finally:
        os.umask(before)
    for path in root.rglob("*"):
        wanted = 0o070 if path.is_dir() else 0o060
        assert path.stat().st_mode & wanted == wanted, path


def test_names_of_temporary_files_are_unique_across_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two containers have the same process numbers and host names."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    names, replace_ = list[str](), Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, to: (names.append(self.name), replace_(self, to)))
    for _ in range(3):
        write(tmp_path / "results.csv", b"x")
    assert len(set(names)) == 3


def test_looking_whether_a_run_is_in_work_needs_no_right_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, opened, real = Store(tmp_path), list[int](), os.open
    claim = store.claim(DENSE)
    monkeypatch.setattr(os, "open", lambda path, flags, *more: (opened.append(flags), real(path, flags, *more))[1])
    assert claim is not None and store.working(DENSE) and not store.working(RUN)
    claim.release(finished=False)
    assert not store.working(DENSE) and set(opened) == {os.O_RDONLY}
