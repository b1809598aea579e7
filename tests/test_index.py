"""Index: the same tables as if everything were read again, and only what changed is read."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from sddcli import index, table
from sddcli.core.types import Measurement
from sddcli.index import Index
from sddcli.store import Store, StoreError


@pytest.fixture
def root(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an index in a file, small as it is."""
    monkeypatch.setattr(index, "FEW", 3)
    root = shutil.copytree(trained, tmp_path / "runs")
    for path in root.glob("*.csv"):
        path.unlink()
    shutil.rmtree(root / "measures")
    table.export(Store(root))
    return root


def tables(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in (*root.glob("*.csv"), *root.glob("measures/*"))}


def afresh(root: Path) -> dict[str, bytes]:
    """The tables of the same runs in a folder that has no index yet."""
    copy = root.with_name("afresh")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(root, copy, ignore=lambda _, names: [name for name in names if "index" in name])
    for path in (*copy.glob("*.csv"), *copy.glob("measures/*")):
        path.unlink()
    table.export(Store(copy))
    return tables(copy)


def change(root: Path, what: str) -> None:
    store = Store(root)
    run, _ = next(each for each in store.manifests() if each[0].level == 2)
    if what == "a run less":
        shutil.rmtree(store.folder(run))
    elif what == "a chain less":
        shutil.rmtree(store.folder(run).parent)
    elif what == "a measure more":
        store.save_measure(run, "thing", Measurement({"thing": 2.5, "other": float("nan")}, [{"a": 1, "b": 0.5}]))
        store.save_measure(run, "thing:points=3", Measurement({"thing": 7.5}, [{"a": 1, "b": 0.5}]))
    elif what == "a measure less":
        (store.folder(run) / "measures" / "learning-distance.json").unlink()
    elif what == "a measure made again":
        store.save_measure(run, "learning-distance", Measurement({"learning_distance": 7.0}))
    elif what == "not finished any more":
        path = store.folder(run) / "manifest.json"
        path.write_text(path.read_text().replace('"stage": "trained"', '"stage": "pruned"'))


@pytest.mark.parametrize(
    "what",
    [
        "nothing",
        "a run less",
        "a chain less",
        "a measure more",
        "a measure less",
        "a measure made again",
        "not finished any more",
    ],
)
def test_tables_are_those_that_would_be_made_afresh(root: Path, what: str) -> None:
    change(root, what)
    frame = table.export(Store(root))
    assert tables(root) == afresh(root)
    if what == "a measure more":
        assert frame["thing"].dropna().tolist() == [2.5], "asked for with parameters it is in a table of its own"
        assert "7.5" in (root / "measures" / "thing,points=3.csv").read_text()


def test_only_what_changed_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    read = Store.read
    monkeypatch.setattr(Store, "read", lambda self, folder: seen.append(folder) or read(self, folder))
    table.export(Store(root))
    assert seen == []
    store = Store(root)
    run, _ = next(store.manifests())
    seen.clear()
    store.save_measure(run, "thing", Measurement({"thing": 2.5}))
    table.export(store)
    assert seen == [store.folder(run)]


@pytest.mark.parametrize("content", [b"", b"no data base", None])
def test_a_damaged_or_locked_index_is_done_without(
    root: Path, content: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, path = tables(root), root / ".index.sqlite3"
    if content is None:
        connect = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", lambda path, **settings: connect(path, **settings | {"timeout": 0.1}))
        other = connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
    else:
        path.write_bytes(content)
    table.export(Store(root))
    assert tables(root) == wanted
    if content is None:
        other.close()
        assert path.stat().st_size > 10_000, "another process still has it"


def test_a_cut_index_is_done_without(root: Path) -> None:
    wanted, path = tables(root), root / ".index.sqlite3"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    table.export(Store(root))
    assert tables(root) == wanted


def test_runs_by_their_ids(root: Path) -> None:
    store = Store(root)
    wanted = [run for run, _ in store.manifests()][::3]
    with Index(store) as found:
        assert list(found.runs(run.id for run in wanted)) == wanted and not list(found.runs(["nobody"]))


def test_a_damaged_manifest_is_named_and_read_again_once_it_is_whole(root: Path) -> None:
    path = next(root.rglob("level-03/manifest.json"))
    whole, wanted = path.read_bytes(), tables(root)
    path.write_bytes(whole[:-100])
    with pytest.raises(StoreError, match="level-03"):
        table.results(Store(root))
    path.write_bytes(whole)
    table.export(Store(root))
    assert tables(root) == wanted


def test_few_runs_need_no_file(trained: Path) -> None:
    table.results(Store(trained))
    assert not (trained / ".index.sqlite3").exists()


def test_an_index_made_before_a_field_was_added_is_made_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, path = tables(root), root / ".index.sqlite3"
    path.unlink()
    with monkeypatch.context() as before:
        before.setattr(index, "FIELDS", {name: f for name, f in index.FIELDS.items() if name != "precision"})
        before.setattr(index, "COLUMNS", tuple(name for name in index.COLUMNS if name != "precision"))
        before.setattr(index, "ORDER", tuple(name for name in index.ORDER if name != "precision"))
        Index(Store(root)).__exit__(None, None, None)
    with sqlite3.connect(path) as base:
        assert "precision" not in [row[1] for row in base.execute("PRAGMA table_info(runs)")]
    table.export(Store(root))
    assert tables(root) == wanted
