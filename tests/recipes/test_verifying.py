"""Verifying: every kind of damage is found in the run that has it, and in no other."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sddcli.recipes.verifying import verified
from sddcli.store import Store


def changed(store: Store, seed: int, level: int, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    """Writes a run again with other weights or masks, hashes and all."""
    run = next(run for run, _ in store.manifests() if (run.seed, run.level) == (seed, level))
    manifest, (weights, kept) = store.manifest(run), store.weights(run)
    assert manifest
    change(weights if change.__name__ == "weights" else kept)
    facts = {name: manifest[name] for name in ("metrics", "data", "seconds")}
    store.save_trained(run, weights, kept, store.history(run), {}, facts)
    return store.folder(run)


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> Store:
    return Store(shutil.copytree(trained, tmp_path / "runs"))


def wrong(store: Store, evaluate: bool = False) -> dict[Path, str]:
    found = list(verified(store, evaluate))
    assert len(found) == 12
    return {folder: " ".join(map(str, errors)) for folder, errors in found if errors}


def test_a_whole_folder(store: Store) -> None:
    assert wrong(store) == {} == wrong(store, evaluate=True)


@pytest.mark.parametrize("name", ["weights.safetensors", "history.csv", "initial.safetensors"])
@pytest.mark.parametrize("damage", ["bit", "cut", "gone"])
def test_damaged_files_are_named(store: Store, name: str, damage: str) -> None:
    path = sorted(store.root.rglob(name))[1]
    content = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(content[:-5] if damage == "cut" else content[:-5] + bytes([content[-5] ^ 4]) + content[-4:])
    (folder,) = found = wrong(store)
    assert folder == path.parent and str(path) in found[folder]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 99}', None])
def test_damaged_manifests_and_measures_are_named(store: Store, content: str | None) -> None:
    path = sorted(store.root.rglob("manifest.json"))[2]
    if content is None:
        path = path.parent / "measures" / "learning-distance.json"
    path.write_text(content or "")
    (folder,) = found = wrong(store)
    assert folder in path.parents and path.name in found[folder]


def test_what_does_not_follow_from_its_parent(store: Store) -> None:
    def masks(kept: dict[str, torch.Tensor]) -> None:
        mask = kept["hidden1.weight"].flatten()
        living, dead = mask.nonzero()[:200], (~mask).nonzero()[:200]
        mask[living], mask[dead] = False, True

    def fewer(kept: dict[str, torch.Tensor]) -> None:
        kept["hidden1.weight"].flatten()[:50] = False

    def weights(weights: dict[str, torch.Tensor]) -> None:
        weights["output.bias"][3] = float("nan")

    folders = [changed(store, 0, 2, masks), changed(store, 1, 3, fewer), changed(store, 2, 1, weights)]
    found = wrong(store)
    assert "keeps weights that" in found[folders[0]] and "of its weights are kept" in found[folders[1]]
    assert "are not all numbers" in found[folders[2]]
    children = {folders[0].parent / "level-03", folders[1].parent / "level-02"}
    assert set(found) <= {*folders, *children}, "whose parents' masks are no longer theirs"


def test_evaluating_again_finds_other_weights(store: Store) -> None:
    def weights(weights: dict[str, torch.Tensor]) -> None:
        weights["output.bias"][3] += 100

    folder = changed(store, 1, 2, weights)
    assert wrong(store) == {} and "its test_accuracy is" in wrong(store, evaluate=True)[folder]


def test_a_copy_of_a_run_is_no_run(store: Store) -> None:
    folder = next(store.root.glob("*dense-seed1*"))
    shutil.copytree(folder, store.root / "copy")
    found = {folder.name: " ".join(map(str, errors)) for folder, errors in verified(store) if errors}
    assert list(found) == ["copy"] and "is a copy or was renamed" in found["copy"]
