"""Files: written so that they appear whole, read within limits, whatever they hold; and whose a new one is."""

import errno
import os
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from math import inf
from pathlib import Path

TORN = (".*.new", ".*.[0-9]*", ".probe-*")  # what a killed write leaves; an older sdd's ended in a process number
LIVE_SECONDS = 600  # no write takes longer: what is older belongs to a killed process


class StoreError(Exception):
    """Missing, damaged or unwritable: the message names the file and what to do."""


class Unwritable(StoreError):
    """Whoever asks has no right to write this file."""


def write(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Writes a file so that it appears whole or not at all, also when power fails.

    Raises Unwritable where one has no right to, StoreError where it fails otherwise.
    """
    temporary = path.with_name(f".{path.name[:200]}.{unique()}.new")
    try:
        make_folder(path.parent)
        with temporary.open("xb") as file:
            share(temporary)
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        refused = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        raise (Unwritable if refused else StoreError)(f"cannot write {path}: {error.strerror}") from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def within(root: Path, folder: Path) -> bool:
    """Whether no link leads from a runs folder to a folder outside of it."""
    return Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(root))


def must_stay_within(root: Path, path: Path) -> None:
    """Raises StoreError where a link leads out of the runs folder: to write there, or remove, nobody has asked for."""
    if not within(root, path.parent):
        raise StoreError(
            f"{path.parent} is a link out of {root}: sdd changes nothing there; move what it leads to here"
        )


def write_within(root: Path, path: Path, content: bytes | Iterable[bytes]) -> None:
    """`write`, of a file of a runs folder. Raises StoreError as it does, and where a link leads out of the folder."""
    must_stay_within(root, path)
    write(path, content)


def make_folder(path: Path) -> None:
    """Makes a folder, with those it lies in; a group's folder makes it the group's. Raises OSError."""
    if path.is_dir():
        return
    make_folder(path.parent)
    try:
        path.mkdir()
    except FileExistsError:  # another process was faster, or it is a file
        if not path.is_dir():
            raise
    else:
        share(path)


def share(path: Path) -> None:
    """Gives what is new in a group's folder that folder's rights, whatever the umask is.

    A group's is a folder that the group may write, or that gives its group to what is made in it (setgid); one like
    /tmp, where each may remove only what is theirs (sticky), is nobody's.
    """
    with suppress(OSError):  # a file system without rights
        above, own = path.parent.stat().st_mode, path.stat().st_mode
        if above & (stat.S_ISGID | stat.S_IWGRP) and not above & stat.S_ISVTX:
            path.chmod(stat.S_IMODE(own) | (above & (0o070 if stat.S_ISDIR(own) else 0o060)))


def unique() -> str:
    """A part of a file's name that no other process has: process numbers are not unique across containers."""
    return os.urandom(8).hex()


def clear_torn(folder: Path) -> None:
    """Removes what killed processes left half written; a live write is younger."""
    for pattern in TORN:
        for path in folder.glob(pattern):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > LIVE_SECONDS:
                    path.unlink()


def plain_bytes(path: Path, most: float = inf, follow: bool = True) -> bytes:
    """The bytes of a plain file of at most so many; follow: links too.

    Raises OSError for a larger one, and for a pipe or device, which would never end.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    with os.fdopen(os.open(path, flags), "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "it is no plain file")
        if facts.st_size > most:
            raise OSError(errno.EFBIG, f"it is larger than {most} bytes")
        return file.read()
