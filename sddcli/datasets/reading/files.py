"""Files: where data sets lie, how they are downloaded, and images decoded once into a cache of bytes."""

import hashlib
import json
import os
import secrets
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from http.client import HTTPException, IncompleteRead
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sddcli.core.words import expanded

Tell = Callable[[str, int, int], None]
"""tell(what is being done, how much of it is done, of how much): hears of the progress of long work now and then."""
Arrays = dict[str, NDArray[Any]]
Facts = dict[str, Any]
"""What is known of arrays beside their numbers, as JSON takes it."""
UNSAVED = "unsaved"
"""The fact that decoded arrays could not be kept in the cache: a sentence for the user."""
ATTEMPTS, BLOCK, PATIENCE = 3, 1 << 18, 30.0
"""How often a download is tried, the bytes read at once, the seconds without an answer that are waited for."""
LEFT = 600.0
"""After how many seconds without a change what another process has downloaded is taken for left: it was killed."""
CHECKED = 5000
"""After how many files `tell` hears of the next ones."""


def data_folder() -> Path:
    """The folder of data sets: SDD_DATA, or the user's cache. Raises OSError for a user without a home."""
    setting = os.environ.get("SDD_DATA")  # from a file or a container, where no shell has expanded ~
    try:
        return Path(expanded(setting)) if setting else Path.home() / ".cache" / "sdd"
    except RuntimeError:
        raise OSError("this user has no home folder to keep data in; name a folder by SDD_DATA") from None


def fetch(addresses: Sequence[str], path: Path, md5: str, tell: Tell) -> None:
    """Downloads a file to `path` from the first address that has it whole; SDD_MIRROR is asked before all others.

    addresses: of the file, each whole; md5: of its content. An interrupted download goes on from where it ended.
    Raises OSError that says why each address failed.
    """
    mirror = os.environ.get("SDD_MIRROR", "").rstrip("/")
    addresses = [*([f"{mirror}/{path.name}"] if mirror else []), *addresses]
    path.parent.mkdir(parents=True, exist_ok=True)
    part, failures = _begun(path), []
    try:
        for address in addresses:
            try:
                _download(address, part, path.name, tell)
            except (OSError, HTTPException) as error:
                failures.append(f"{address}: {error or type(error).__name__}")
                continue
            if _md5(part) == md5:
                part.replace(path)
                return
            part.unlink()
            failures.append(f"{address}: its hash is not {md5}")
    finally:
        with suppress(FileNotFoundError):
            part.replace(path.with_name(f"{path.name}.part"))
    raise OSError(f"cannot download {path.name} ({'; '.join(failures)}); put the file into {path.parent} by hand")


def _begun(path: Path) -> Path:
    """Where this process alone downloads `path` to: what another one left there, if any, under a name of its own."""
    part = path.with_name(f".{path.name}.{_unique()}.part")
    killed = [each for each in path.parent.glob(f".{path.name}.*.part") if each.stat().st_mtime < time.time() - LEFT]
    for each in (path.with_name(f"{path.name}.part"), *killed):
        with suppress(FileNotFoundError):  # of two processes, one gets it
            return each.rename(part)
    return part


def _unique() -> str:
    """A word for the name of a temporary file; two containers on one folder may have the same process number."""
    return f"{os.getpid()}-{secrets.token_hex(4)}"


def _download(address: str, part: Path, name: str, tell: Tell) -> None:
    """All of `address` into `part`, from where that ends; after a broken connection it tries again."""
    for attempt in range(ATTEMPTS):
        start = part.stat().st_size if part.exists() else 0
        request = urllib.request.Request(address, headers={"Range": f"bytes={start}-"} if start else {})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                start = start if answer.status == 206 else 0  # else the server sends it all again
                total = start + int(answer.headers.get("Content-Length") or 0)
                with part.open("ab" if start else "wb") as file:
                    while block := answer.read(BLOCK):
                        file.write(block)
                        tell(f"downloading {name}", file.tell(), total)
                if part.stat().st_size >= total:
                    return
        except urllib.error.HTTPError as error:
            if error.code == 416:  # nothing is left to send: what is here is whole, or of another file
                return
            raise
        except (OSError, IncompleteRead):
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(attempt)
    raise OSError("the connection breaks off")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def stamp(files: Iterable[tuple[Path, object]], tell: Tell) -> str:
    """One hash of the contents of files and of what each means, such as its split and label, in this order.

    files: (path, what it means, as JSON takes it). Contents are read each time: a picture that was relabelled, or
    one of another release, may have the name, size and time of the old one. Of a file that cannot be read the reason
    counts.
    """
    total, files = hashlib.sha256(), list(files)
    for done, (path, meaning) in enumerate(files, 1):
        try:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            content = f"unread: {error.strerror}"
        total.update(json.dumps([meaning, content]).encode())
        if done % CHECKED == 0:
            tell("looking for changed files", done, len(files))
    return total.hexdigest()


def cached(name: str, stamped: str, decode: Callable[[], tuple[Arrays, Facts]]) -> tuple[Arrays, Facts]:
    """What `decode` returns: arrays, and what else is known of them. Decoded once, then read from a file of the cache.

    name: of that file; stamped: the `stamp` of what is decoded, for which alone the file counts. A damaged file is
    made again. Where none can be written all is decoded each time, and the fact UNSAVED is a sentence that says so.
    """
    path = data_folder() / "cache" / f"{name}.safetensors"
    try:
        arrays, header = _read(path)
        if header["source"] == stamped and header["sha256"] == digest(arrays):
            return arrays, dict(json.loads(header["facts"]))
    except Exception:  # missing, damaged or of another kind: all the same, it can be made again
        pass
    arrays, facts = decode()
    header = {"source": stamped, "sha256": digest(arrays), "facts": json.dumps(facts)}
    temporary = path.with_name(f".{path.name}.{_unique()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(temporary, arrays, header)
        temporary.replace(path)
        return _read(path)[0], facts
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        why = f"{path.parent} cannot be written to ({error.strerror})"
        facts = {**facts, UNSAVED: f"decoded images are not kept, since {why}: each start decodes them again"}
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}, facts


MAPPED = 1 << 28
"""Arrays of so many bytes or more stay in their file, which the system reads where it is needed and forgets again:
they may be larger than the memory, and all workers of a machine share what of them is in it."""
KINDS = {"U8": np.uint8, "I64": np.int64, "I32": np.int32, "F32": np.float32, "F64": np.float64}
"""What safetensors calls the types of numbers."""


def _read(path: Path) -> tuple[Arrays, dict[str, str]]:
    """The arrays of a file of safetensors and what its header says of them; large ones cannot be written to."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    arrays: Arrays = {}
    for name, facts in ((name, header[name]) for name in header if name != "__metadata__"):
        first, last = facts["data_offsets"]
        kind, shape, offset = np.dtype(KINDS[facts["dtype"]]), tuple(facts["shape"]), 8 + length + first
        if last - first >= MAPPED:
            arrays[name] = np.memmap(path, kind, "r", offset, shape)
        else:
            arrays[name] = np.fromfile(path, kind, -(-(last - first) // kind.itemsize), offset=offset).reshape(shape)
    return arrays, header["__metadata__"]


def _write(path: Path, arrays: Arrays, facts: Mapping[str, str]) -> None:
    """Writes a file of safetensors, array by array: they need not be in memory. Raises OSError."""
    names = {np.dtype(kind): name for name, kind in KINDS.items()}
    header: dict[str, Any] = {"__metadata__": dict(facts)}
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))  # so all lie where their numbers may
    offset = 0
    for name in order:
        array = arrays[name]
        shape = {"dtype": names[array.dtype], "shape": list(array.shape)}
        header[name] = {**shape, "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            np.ascontiguousarray(arrays[name]).tofile(file)


class Pile:
    """Images of one shape, put one upon the other: from MAPPED bytes on in a file without a name, not in memory."""

    def __init__(self) -> None:
        self._images: list[NDArray[np.uint8]] = []
        self._file: Any = None
        self._count, self._shape = 0, (3, 1, 1)

    def add(self, image: NDArray[np.uint8]) -> None:
        """Puts an image (3, H, W) on top."""
        self._count, self._shape = self._count + 1, image.shape
        self._images.append(image)
        if len(self._images) * image.nbytes >= (1 << 24 if self._file else MAPPED):
            self._put_away()

    def whole(self) -> NDArray[np.uint8]:
        """All of them, (N, 3, H, W)."""
        if self._file is None:
            return np.stack(self._images) if self._images else np.empty((0, *self._shape), np.uint8)
        self._put_away()
        self._file.flush()
        return np.memmap(self._file, np.uint8, "r", shape=(self._count, *self._shape))

    def _put_away(self) -> None:
        if self._file is None:
            try:
                (folder := data_folder() / "cache").mkdir(parents=True, exist_ok=True)
                self._file = TemporaryFile(dir=folder)  # noqa: SIM115, it lives as long as what is mapped from it
            except OSError:  # then they stay in memory
                return
        for image in self._images:
            self._file.write(np.ascontiguousarray(image).data)
        self._images = []


def digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """The sha256 of the names, shapes, types and bytes of arrays, in hexadecimal digits."""
    content = hashlib.sha256()
    for name in sorted(arrays):
        content.update(f"{name} {arrays[name].shape} {arrays[name].dtype}".encode())
        content.update(np.ascontiguousarray(arrays[name]).data)
    return content.hexdigest()
