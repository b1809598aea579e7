"""Files: downloads that break off, are wrong or have moved; a cache that is remade when it must be."""

import hashlib
import os
import re
from pathlib import Path

import numpy as np
import pytest

from sddcli.datasets.reading import files
from sddcli.datasets.reading.files import UNSAVED, Pile, cached, digest, fetch, stamp
from tests.datasets.conftest import Server

CONTENT = np.random.default_rng(0).integers(256, size=1_000_000, dtype=np.uint8).tobytes()
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(files, "PATIENCE", 5)


def nothing(what: str, done: int, total: int) -> None:
    pass


def test_a_download_tells_how_far_it_is(root: Path, server: Server) -> None:
    server.files["a.zip"] = CONTENT
    told = []
    fetch([f"{server.address}/a.zip"], root / "a.zip", MD5, lambda *said: told.append(said))
    assert (root / "a.zip").read_bytes() == CONTENT and list(root.iterdir()) == [root / "a.zip"]
    assert told[-1] == ("downloading a.zip", len(CONTENT), len(CONTENT)) and len(told) > 2


@pytest.mark.parametrize("ranges", [True, False])
def test_what_breaks_off_is_gone_on_with(root: Path, server: Server, ranges: bool) -> None:
    server.files["a.zip"], server.most, server.times, server.ranges = CONTENT, 300_000, 2, ranges
    fetch([f"{server.address}/a.zip"], root / "a.zip", MD5, nothing)
    assert (root / "a.zip").read_bytes() == CONTENT
    assert [start for _, start in server.asked] == ([0, 300_000, 600_000] if ranges else [0, 0, 0])


def test_it_is_gone_on_with_by_the_next_command_too(root: Path, server: Server) -> None:
    server.files["a.zip"], server.most, server.times = CONTENT, 200_000, files.ATTEMPTS
    with pytest.raises(OSError, match=r"cannot download a.zip .*; put the file into .* by hand"):
        fetch([f"{server.address}/a.zip"], root / "a.zip", MD5, nothing)
    assert (root / "a.zip.part").stat().st_size == 600_000 and not (root / "a.zip").exists()
    fetch([f"{server.address}/a.zip"], root / "a.zip", MD5, nothing)
    assert server.asked[-1][1] == 600_000 and (root / "a.zip").read_bytes() == CONTENT


def test_two_processes_download_side_by_side(root: Path, server: Server) -> None:
    """Neither writes into the file of the other, and what a killed one left is gone on with."""
    server.files["a.zip"], parts = CONTENT, set[str]()

    def look(*_: object) -> None:
        parts.update(each.name for each in root.iterdir())

    def second(*_: object) -> None:
        if not parts:
            look()
            fetch([f"{server.address}/a.zip"], root / "a.zip", MD5, look)

    fetch([f"{server.address}/a.zip"], root / "a.zip", MD5, second)
    assert len(parts) == 2 and [path.name for path in root.iterdir()] == ["a.zip"]
    assert (root / "a.zip").read_bytes() == CONTENT and [start for _, start in server.asked] == [0, 0]
    (root / "a.zip").rename(root / ".a.zip.1-abc.part")
    os.truncate(root / ".a.zip.1-abc.part", 400_000)
    os.utime(root / ".a.zip.1-abc.part", (0, 0))
    fetch([f"{server.address}/a.zip"], root / "a.zip", MD5, nothing)
    assert server.asked[-1][1] == 400_000 and [path.name for path in root.iterdir()] == ["a.zip"]


def test_a_wrong_file_is_not_kept_and_the_next_address_is_tried(root: Path, server: Server) -> None:
    server.files |= {"bad/a.zip": CONTENT[::-1], "good/a.zip": CONTENT}
    with pytest.raises(OSError, match="its hash is not") as error:
        fetch([f"{server.address}/bad/a.zip", f"{server.address}/gone/a.zip"], root / "a.zip", MD5, nothing)
    assert "404" in str(error.value) and list(root.iterdir()) == []
    fetch([f"{server.address}/{word}/a.zip" for word in ("gone", "bad", "good")], root / "a.zip", MD5, nothing)
    assert (root / "a.zip").read_bytes() == CONTENT


def test_what_is_left_of_another_file_does_no_harm(root: Path, server: Server) -> None:
    server.files["a.zip"] = CONTENT
    root.mkdir(parents=True)
    for left in (b"x" * 1000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 5)):
        (root / "a.zip.part").write_bytes(left)
        fetch([f"{server.address}/a.zip"] * 2, root / "a.zip", MD5, nothing)
        assert (root / "a.zip").read_bytes() == CONTENT


def test_a_mirror_is_asked_first(root: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["mirror/a.zip"] = CONTENT
    monkeypatch.setenv("SDD_MIRROR", f"{server.address}/mirror/")
    fetch([f"{server.address}/gone/a.zip"], root / "a.zip", MD5, nothing)
    assert server.asked == [("mirror/a.zip", 0)]


def test_nobody_there(root: Path) -> None:
    with pytest.raises(OSError, match="cannot download a.zip"):
        fetch(["http://127.0.0.1:9/a.zip"], root / "a.zip", MD5, nothing)


def test_a_cache_is_made_once_and_again_when_its_source_or_itself_is_another(root: Path) -> None:
    made = []

    def decode() -> tuple[dict[str, np.ndarray], dict[str, object]]:
        made.append(1)
        return {"x": np.arange(6, dtype=np.uint8).reshape(2, 3), "y": np.array([4, 5])}, {"names": ["a", "b"]}

    for source, count in (("one", 1), ("one", 1), ("two", 2), ("two", 2)):
        arrays, facts = cached("some", source, decode)
        assert len(made) == count and facts == {"names": ["a", "b"]} and arrays["x"].tolist() == [[0, 1, 2], [3, 4, 5]]
    turned = {"x": np.arange(6, dtype=np.uint8).reshape(2, 3).T}  # its bytes in memory are in another order
    for _ in range(2):
        assert cached("turned", "one", lambda: (turned, {}))[0]["x"].tolist() == [[0, 3], [1, 4], [2, 5]]
    (root / "cache" / "turned.safetensors").unlink()
    path = root / "cache" / "some.safetensors"
    for damage in (path.read_bytes()[:-1], path.read_bytes()[:-1] + b"\x09", b"", b"\xff" * 100):
        path.write_bytes(damage)
        assert cached("some", "two", decode)[0]["y"].tolist() == [4, 5]
    assert len(made) == 6 and [each.name for each in (root / "cache").iterdir()] == ["some.safetensors"]


def test_large_arrays_stay_in_their_file_and_small_ones_do_not(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAPPED", 1000)
    given = {"x": np.arange(3000, dtype=np.uint8).reshape(10, 3, 10, 10), "y": np.arange(10)}
    for _ in range(2):  # made, and read again
        arrays, _ = cached("some", "one", lambda: (given, {}))
        assert isinstance(arrays["x"], np.memmap) and not arrays["x"].flags.writeable
        assert not isinstance(arrays["y"], np.memmap) and digest(arrays) == digest(given)
    from safetensors.numpy import load_file

    assert digest(load_file(root / "cache" / "some.safetensors")) == digest(given), "it is no file of safetensors"


@pytest.mark.parametrize("in_the_way", [False, True])
def test_a_pile_is_the_same_in_memory_and_in_a_file(
    root: Path, monkeypatch: pytest.MonkeyPatch, in_the_way: bool
) -> None:
    images = np.arange(3000, dtype=np.uint8).reshape(10, 3, 10, 10)
    piles = []
    for most in (1 << 28, 700):
        monkeypatch.setattr(files, "MAPPED", most)
        if in_the_way and most == 700:
            root.mkdir(exist_ok=True)
            (root / "cache").write_text("no folder")
        piles.append(pile := Pile())
        for image in images:
            pile.add(image)
    first, second = (pile.whole() for pile in piles)
    assert (first == images).all() and (second == images).all()
    assert isinstance(second, np.memmap) is not in_the_way and not isinstance(first, np.memmap)
    assert Pile().whole().shape == (0, 3, 1, 1)


def test_a_cache_that_cannot_be_written_is_done_without(root: Path) -> None:
    root.mkdir()
    (root / "cache").write_text("in the way")
    arrays, facts = cached("some", "one", lambda: ({"x": np.zeros(2)}, {"names": ["a"]}))
    assert arrays["x"].tolist() == [0, 0] and facts["names"] == ["a"]
    assert re.fullmatch(r"decoded images are not kept, since .*/cache cannot be written to \(.+\): .*", facts[UNSAVED])


def test_stamps_and_digests_change_with_what_they_are_of(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "ab"]
    for path, content in zip(paths, (b"12", b"34"), strict=True):
        path.write_bytes(content)
        os.utime(path, ns=(1, 1))
    first = stamp([(path, 0) for path in paths], nothing)
    assert stamp([(path, 0) for path in paths], nothing) == first
    other = [
        stamp([(paths[0], 0), (paths[1], 1)], nothing),
        stamp([(paths[1], 0), (paths[0], 0)], nothing),
        stamp([(paths[0], 0)], nothing),
    ]
    paths[0].write_bytes(b"13")
    os.utime(paths[0], ns=(1, 1))  # of the same name, size and time
    other.append(stamp([(path, 0) for path in paths], nothing))
    paths[0].unlink()
    other.append(stamp([(path, 0) for path in paths], nothing))
    assert len({first, *other}) == 6
    zero = np.zeros((2, 3))
    arrays = [{"x": zero}, {"x": zero.T}, {"x": zero.astype(np.uint8)}, {"y": zero}]
    assert len({digest(each) for each in arrays}) == 4
