"""Folders: one data set however it is spelled, and found again where it has moved."""

from pathlib import Path

import pytest

from sddcli import folders
from sddcli.folders import Known


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "base").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(folders.MOVED, raising=False)
    return tmp_path / "base"


def spellings(base: Path) -> list[str]:
    return [f"folder:{path}" for path in ("base", "base/", "./base", "link", base, f"{base}/../base")]


def test_every_spelling_of_a_folder_is_the_word_of_the_runs(base: Path) -> None:
    known = {"folder:base": Known(frozenset("x"), (str(base),)), "folder:base:size=8": Known(frozenset(), ())}
    assert {folders.spelled(word, known) for word in spellings(base)} == {"folder:base"}
    assert {folders.spelled(f"{word}:size=8", known) for word in spellings(base)} == {"folder:base:size=8"}
    assert folders.spelled("folder:./base/:size=16", known) == "folder:base:size=16"
    assert folders.spelled("cifar10", known) == "cifar10"


def test_a_word_of_the_runs_stays_as_it_is(base: Path) -> None:
    assert folders.spelled("folder:./base", {"folder:./base": Known(frozenset(), ())}) == "folder:./base"


def test_tables_spell_alike_what_is_the_same(base: Path) -> None:
    words = folders.alike([*spellings(base), "folder:base:size=8", "folder:other", "digits"])
    assert {words[word] for word in spellings(base)} == {"folder:base"}
    assert words["folder:other"] == "folder:other" and words["digits"] == "digits"


def test_what_has_moved_is_read_from_its_new_place(base: Path) -> None:
    new = base.with_name("new")
    base.rename(new)
    with pytest.raises(FileNotFoundError, match="no folder of images at base; .*SDD_MOVED=base=NEW"):
        folders.now_at("base")
    folders.moved("base", "new")
    assert folders.now_at("base") == str(new)


def test_from_elsewhere_it_is_found_where_its_runs_say_that_it_lay(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (base / "elsewhere").mkdir()
    monkeypatch.chdir(base / "elsewhere")
    folders.find({"folder:base": Known(frozenset(), ("/none", str(base)))})
    assert folders.now_at("base") == str(base)


def test_home_in_the_new_place_of_a_folder(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(base.parent))
    monkeypatch.setenv(folders.MOVED, f"gone=~/{base.name}")
    assert folders.now_at("gone") == str(base)
