"""Locks: one process works on a run, with locks and without, and one that was cut off wins nothing."""

import errno
import fcntl
import os
import shutil
import time
from pathlib import Path

import pytest

from sddcli import locks
from sddcli.events import Advanced, Busy, Event, Saved
from sddcli.recipes import prune_retrain
from sddcli.resolve import runs
from sddcli.store import Store, StoreError

(RUN,) = runs({"seed": "0", "level": "0", "epochs": "2", "model": "lenet-16-8", "train_size": "100"})


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without flock, where leases are over soon."""

    def refused(descriptor: int, what: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refused)
    monkeypatch.setattr(locks, "LEASE_SECONDS", 0.3)
    monkeypatch.setattr(locks, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(locks, "_keep_alive", lambda claim: None)


def taken_after(store: Store, seconds: float) -> locks.Claim | None:
    """The claim of one who looks now and then for so long, by its own clock."""
    claim, until = store.claim(RUN), time.monotonic() + seconds
    while claim is None and time.monotonic() < until:
        time.sleep(0.02)
        claim = store.claim(RUN)
    return claim


def test_a_lease_that_nobody_touches_is_taken_and_who_had_it_sees_that(tmp_path: Path, no_locks: None) -> None:
    store = Store(tmp_path)
    first = store.claim(RUN)
    assert first is not None and first.holds() and store.claim(RUN) is None and store.working(RUN)
    os.utime(first.path, (2e9, 2e9))  # by the clock of another machine it is of the future
    second = taken_after(store, 10)
    assert second is not None and second.holds() and not first.holds()
    first.release(finished=True)
    assert second.holds() and second.path.read_bytes() == second.token, "who was late removed what is another's"
    second.release(finished=False)
    assert not second.path.exists() and not store.working(RUN)
    assert not list(second.path.parent.iterdir()), "something of a lease is left"


def test_a_lease_that_is_touched_stays_whatever_the_clock_says(
    tmp_path: Path, no_locks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    claim = store.claim(RUN)
    assert claim is not None

    pause, beats = time.sleep, iter(range(10**6, 0, -1))  # a clock that runs backwards

    def touch(seconds: float) -> None:
        os.utime(claim.descriptor, (next(beats),) * 2)
        pause(seconds)

    monkeypatch.setattr(time, "sleep", touch)
    assert taken_after(store, 1.5) is None, "five times as long as a lease that is not touched"


def test_leases_are_touched_while_they_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_reach_all", lambda folder: False)
    monkeypatch.setattr(locks, "BEAT_SECONDS", 0.05)
    claim = Store(tmp_path).claim(RUN)
    assert claim is not None and claim.token
    stamps, until = set[int](), time.monotonic() + 20
    while len(stamps) < 3 and time.monotonic() < until:
        stamps.add(claim.path.stat().st_mtime_ns)
        time.sleep(0.02)
    claim.release(finished=False)
    assert len(stamps) == 3 and claim not in locks._beating


def test_a_lock_that_the_server_lost_is_another_s_and_who_had_it_sees_that(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = store.claim(RUN)
    assert first is not None and first.holds()
    fcntl.flock(first.descriptor, fcntl.LOCK_UN)  # as a server does with those who were silent for too long
    second = store.claim(RUN)
    assert second is not None and second.holds() and not first.holds()
    assert store.claim(RUN) is None
    first.release(finished=True)
    assert second.holds()
    second.release(finished=True)
    assert not second.path.exists()


def test_who_was_cut_off_and_goes_on_writes_over_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its last epoch another takes its place and finishes the run: it hears so, and leaves every file alone."""
    there, store, heard = Store(tmp_path / "there"), Store(tmp_path / "here"), list[Event]()
    prune_retrain.work(there, [RUN], {"command": "of the other"}, "cpu", heard.append)
    claims, real = list[locks.Claim | None](), Store.claim
    monkeypatch.setattr(Store, "claim", lambda self, run: (claims.append(real(self, run)), claims[-1])[1])

    def report(event: Event) -> None:
        heard.append(event)
        if isinstance(event, Advanced) and event.epoch == event.epochs:
            assert claims[0] is not None
            fcntl.flock(claims[0].descriptor, fcntl.LOCK_UN)
            other = Store(tmp_path / "here").claim(RUN)
            assert other is not None
            shutil.copytree(there.folder(RUN), store.folder(RUN), dirs_exist_ok=True)
            other.release(finished=True)

    heard.clear()
    prune_retrain.work(store, [RUN], {"command": "of the one that was cut off"}, "cpu", report)
    assert heard[-1] == Busy(RUN) and not [event for event in heard if isinstance(event, Saved)]
    assert (store.manifest(RUN) or {})["command"] == "of the other"
    store.verify(RUN)


MOUNTS = {
    ("nfs4", "rw,vers=4.2,local_lock=none"): True,
    ("nfs", "rw,vers=3,local_lock=all"): False,
    ("nfs", "rw,vers=3,nolock"): False,
    ("lustre", "rw,flock"): True,
    ("lustre", "rw,localflock"): False,
    ("ext4", "rw,nolock"): True,
}


@pytest.mark.parametrize(("kind", "options"), MOUNTS)
def test_options_tell_where_locks_do_not_reach(
    kind: str, options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my runs"
    folder.mkdir()
    point = str(folder.resolve()).replace(" ", "\\040")
    lines = f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:9 / {point} rw shared:1 - {kind} server:/x {options}\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: lines)
    assert locks._reach_by_options(folder) is MOUNTS[kind, options]
    assert locks._reach_by_options(tmp_path)


def test_an_error_that_says_nothing_of_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(descriptor: int, what: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(StoreError, match="cannot lock .*: Input/output error"):
        Store(tmp_path).claim(RUN)
