"""Locks: the right to work on a run's folder, among processes of one machine or of several that share the folder.

Where the file system has locks that reach all who share it, the right is a lock (flock) on a file, and ends with its
process. Elsewhere it is a lease: a file that its holder makes and touches again and again. Whoever has seen it
untouched for LEASE_SECONDS, by their own clock alone, moves it away and makes their own. Either way a process that was
cut off for so long that another took its place sees it: the file at its path is no longer its own.
"""

import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

BEAT_SECONDS = 10.0
"""Between two times that a lease is touched."""
LEASE_SECONDS = 120.0
"""After so long untouched a lease is over; clients of network file systems see news up to a minute late."""
WITHOUT = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""What a file system without flock answers."""
LOCAL = {"nfs": ("local_lock=all", "local_lock=flock", "nolock"), "lustre": ("localflock",)}
"""Options by which network file systems are mounted so that locks do not reach other machines."""

_seen: dict[Path, tuple[bytes, float]] = {}  # leases of others: as they were last seen to change, and when, by us
_beating: "set[Claim]" = set()


@dataclass(frozen=True)
class Claim:
    """The right to work on a run: an open file `descriptor`, locked or, with a `token` in it, leased."""

    descriptor: int
    path: Path
    token: bytes = b""

    def holds(self) -> bool:
        """Whether it still does: a process that was cut off for long finds another's file in the place of its own."""
        try:
            ours = os.path.samestat(os.fstat(self.descriptor), self.path.stat())
            return ours and (not self.token or self.path.read_bytes() == self.token)
        except OSError:
            return False

    def release(self, finished: bool) -> None:
        """Gives it back. The lock file of a finished run is removed: a process that waits for it sees the run."""
        _beating.discard(self)
        try:
            if (finished or self.token) and self.holds():
                self.path.unlink(missing_ok=True)
        finally:
            os.close(self.descriptor)


def claimed(path: Path, share: Callable[[Path], None]) -> Claim | None:
    """The right that the file `path` stands for, or None while another has it. share: gives a group its rights to it.

    Raises OSError where it can be had neither way.
    """
    if not _reach_all(path.parent):
        return _leased(path, share)
    try:
        return _locked(path, share)
    except OSError as error:
        if error.errno not in WITHOUT:
            raise
        return _leased(path, share)


def held(path: Path) -> bool:
    """Whether a process has the right now. Needs no right to write; without one to read the answer is no."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        if os.fstat(descriptor).st_size:  # a lease
            return not _over(path)
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _locked(path: Path, share: Callable[[Path], None]) -> Claim | None:
    while True:
        descriptor, new = _opened(path, share)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return Claim(descriptor, path) if new else _in_place_of(Claim(descriptor, path), share)
        except FileNotFoundError:  # who had it has finished and removed it
            pass
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            if new:  # it would look like a lease of another
                path.unlink(missing_ok=True)
            raise
        os.close(descriptor)


def _in_place_of(claim: Claim, share: Callable[[Path], None]) -> Claim:
    """Puts a new file of ours, locked, in the place of one that another left: if that one lives, it shall see it."""
    temporary = claim.path.with_name(f".{claim.path.name}.{os.urandom(8).hex()}.new")
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except PermissionError:  # of another user's folder one may still lock the file
        return claim
    try:
        share(temporary)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        temporary.replace(claim.path)
    except BaseException:
        os.close(descriptor)
        with suppress(OSError):
            temporary.unlink()
        raise
    os.close(claim.descriptor)
    return Claim(descriptor, claim.path)


def _opened(path: Path, share: Callable[[Path], None]) -> tuple[int, bool]:
    """A descriptor of a lock file, and whether it was made now. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666), False
        except PermissionError:  # another user's, and a local file system needs no right to write for a lock
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), False
    share(path)
    return descriptor, True


def _leased(path: Path, share: Callable[[Path], None]) -> Claim | None:
    token = os.urandom(16).hex().encode()
    for _ in range(2):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            if not _over(path):
                return None
            _move_away(path)
            continue
        try:
            share(path)
            os.write(descriptor, token)
            os.fsync(descriptor)
        except BaseException:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        claim = Claim(descriptor, path, token)
        _keep_alive(claim)
        return claim
    return None


def _over(path: Path) -> bool:
    """Whether a lease has been seen untouched for long enough. Clocks of others do not matter: only changes do."""
    try:
        facts, content = path.stat(), path.read_bytes()
    except OSError:  # it was given back
        _seen.pop(path, None)
        return False
    stamp = b"%d %d %b" % (facts.st_ino, facts.st_mtime_ns, content)
    before, since = _seen.get(path, (b"", 0.0))
    if stamp != before:
        _seen[path] = stamp, time.monotonic()
        return False
    return time.monotonic() - since > LEASE_SECONDS


def _move_away(path: Path) -> None:
    """Removes a lease that is over. Of several who want to, one can rename it; one made meanwhile is put back."""
    aside, before = path.with_name(f".{path.name}.{os.urandom(8).hex()}.new"), _seen.pop(path)[0]
    with suppress(FileNotFoundError):
        path.rename(aside)
        if aside.read_bytes() != before.split(b" ", 2)[2]:
            with suppress(OSError):  # where that cannot be, its holder sees that it has lost it
                aside.rename(path) if not path.exists() else None
        aside.unlink(missing_ok=True)


def _keep_alive(claim: Claim) -> None:
    if not _beating and not any(thread.name == "leases" for thread in threading.enumerate()):
        threading.Thread(target=_beat, name="leases", daemon=True).start()
    _beating.add(claim)


def _beat() -> None:
    while True:
        time.sleep(BEAT_SECONDS)
        for claim in list(_beating):
            with suppress(OSError):  # it was given back meanwhile, or the server does not answer: others see that
                os.utime(claim.descriptor)


_answers: dict[int, bool] = {}


def _reach_all(folder: Path) -> bool:
    """Whether locks on files of a folder reach all machines that share it; asked once for each file system."""
    device = folder.stat().st_dev
    if device not in _answers:
        _answers[device] = _reach_by_options(folder)
    return _answers[device]


def _reach_by_options(folder: Path) -> bool:
    """The same, as far as the options tell with which it is mounted."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()]
    except OSError:  # not Linux
        return True
    real = folder.resolve()
    points = {Path(_plain(words[4])): words[words.index("-") + 1 :] for words in mounts if "-" in words}
    within = [point for point in points if point in (real, *real.parents)]
    if not within:
        return True
    kind, _, options = (*points[max(within, key=lambda point: len(point.parts))], "", "")[:3]
    without = next((words for name, words in LOCAL.items() if kind.startswith(name)), ())
    return not set(without).intersection(options.split(","))


def _plain(word: str) -> str:
    """A path of mountinfo, whose spaces are written as octal numbers."""
    return word.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
