"""This machine: how many cores a sweep may use, and where its numbers were made."""

import ast
import ctypes
import hashlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from typing import Any

from sddcli.core.words import printable


def cores() -> int:
    """Number of cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def release() -> str:
    """The version of sdd, or "source" where it is run without being installed."""
    try:
        return version("sddcli")
    except PackageNotFoundError:
        return "source"


# Beyond a few models side by side an epoch of the small nets that a CPU is for gets no cheaper, while
# their buffers leave the cache: 7.1 ms per model-epoch of digits at M = 5, 8.1 at M = 8, 12.5 at M = 1.
# A GPU takes what there is: where its memory is too small, training goes on in halves.
MOST_SIDE_BY_SIDE = {"cpu": 6, "cuda": 64}


def crew(device: str) -> int:
    """How many workers a sweep gets by default: one a core, or one for each GPU, which more would only share."""
    return len(devices(device)) if kind(device) == "cuda" else cores()


def devices(word: str) -> tuple[str, ...]:
    """The devices that a word means: cuda is every GPU that this process may use, and cuda:0,2 these two."""
    if re.fullmatch(r"cuda:\d+(,\d+)+", word):
        return tuple(dict.fromkeys(f"cuda:{number}" for number in word.removeprefix("cuda:").split(",")))
    if word in ("auto", "cuda") and gpus() > 1:
        return tuple(f"cuda:{number}" for number in range(gpus()))
    return (word,)


@cache
def spare_cache() -> Path | None:
    """A temporary folder for caches where this user has no home to keep them in; None where there is one.

    Containers run as users without a name, or with a home that they may not write to.
    """
    with suppress(RuntimeError):  # what pathlib raises where there is neither HOME nor a user's name
        usual = Path.home() / ".cache"
        nearest = next(folder for folder in (usual, *usual.parents) if folder.exists())
        if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
            return None
    try:
        spare = Path(gettempdir()) / f"sdd-{os.getuid()}"
        spare.mkdir(mode=0o700, exist_ok=True)
        return spare if spare.lstat().st_uid == os.getuid() else Path(mkdtemp(prefix="sdd-"))
    except OSError:  # nowhere at all: caches are done without
        return None


def use_spare_cache() -> None:
    """Has libraries keep their caches in the spare folder where there is no home for them."""
    if spare := spare_cache():
        os.environ.setdefault("MPLCONFIGDIR", str(spare / "matplotlib"))
        os.environ.setdefault("XDG_CACHE_HOME", str(spare))  # torch's


def use_safe_path() -> None:
    """Keeps the folder we are started in out of the module path of processes that are started from here on.

    Python would look there first, and a user's types.py or socket.py would take the place of Python's own.
    """
    os.environ["PYTHONSAFEPATH"] = "1"


def most_side_by_side(device: str) -> int:
    """How many models one worker trains at once at most."""
    return MOST_SIDE_BY_SIDE[kind(device)]


def one_thread() -> None:
    """Has torch compute on one thread in this process, as it does in workers."""
    import torch

    torch.set_num_threads(1)


def keep_freed_memory() -> None:
    """Has the C library keep what this process frees, for the next time: a step frees and asks for the same again.

    Blocks of 128 kB and more would go back to the system each time, and come back page by page, filled with zeros. On
    a Linux with glibc alone, and no block of more than 32 MB, the most that it keeps. No number changes.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        for option, most in ((M_MMAP_THRESHOLD, 32 << 20), (M_TRIM_THRESHOLD, (1 << 31) - 1)):
            mallopt(option, most)


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Options of glibc's malloc: of how many free bytes on it gives any back, and from which size on a block is its own."""


def kind(device: str) -> str:
    """cpu or cuda: which of them a device's word means here."""
    return "cuda" if device.startswith("cuda") or (device == "auto" and gpus()) else "cpu"


def gpus() -> int:
    """How many CUDA GPUs this process may use, asked of the driver, without torch."""
    try:
        driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
        return count.value if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0
    except OSError:
        return 0


PROCESSOR = {"cpu family": "family", "model": "model", "CPU implementer": "implementer", "CPU part": "part"}
"""What tells processors of one name apart: the keys of Linux, x86 and ARM, and what they are called here."""


def describe(command: str) -> dict[str, Any]:
    """What a manifest records beside the numbers: it is evidence, not identity. Of this process and its machine."""
    return {"command": printable(command), **here()}


def here() -> dict[str, Any]:
    """Where numbers are made, and by which code: what each worker records of itself."""
    return {
        "commit": _commit(),
        "engine": engine(),
        "versions": {
            "sdd": release(),
            "python": platform.python_version(),
            "torch": version("torch"),
            "numpy": version("numpy"),
        },
        "host": platform.node(),
        "machine": f"{platform.system()} {platform.machine()}, {cores()} cores",
        "processor": processor(),
        "mkl_cbwr": os.environ.get("MKL_CBWR"),
    }


def processor() -> str:
    """The processor's name, with the numbers of its family and model where Linux tells them; "unknown" at worst."""
    facts = _processor_facts()
    name = facts.get("model name") or platform.processor() or platform.machine() or "unknown"
    numbers = [f"{label} {facts[key]}" for key, label in PROCESSOR.items() if key in facts]
    return f"{name} ({', '.join(numbers)})" if numbers else name


def multiplies_bf16(device: str) -> bool:
    """Whether it is a processor that has instructions for products in bfloat16, as far as Linux tells."""
    facts = _processor_facts()
    flags = f"{facts.get('flags', '')} {facts.get('Features', '')}".split()
    return kind(device) == "cpu" and not BF16_FLAGS.isdisjoint(flags)


BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""What Linux calls these instructions: two of x86, one of ARM."""


def _processor_facts() -> dict[str, str]:
    """What Linux tells of the first core; nothing where it tells nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


ENGINE = (
    *("core/dense", "core/engine", "core/inits", "core/lessons", "core/losses", "core/masks", "core/memory"),
    *("core/models", "core/modules", "core/noise", "core/optimizers", "core/regularization", "core/schedules"),
    *("core/seeds", "core/timetables", "stages/pruning", "stages/training"),
)
"""The files that trainings pass through: a change of one of them may change bits."""

SAME_BITS = frozenset(
    {
        "262ff83a",
        "2ee63af1",
        "73f6f6a4",
        "76df896e",
        "845395fb",
        "945e84a9",
        "987fb0b2",
        "9b304146",
        "13b67cd0",
        "2b52959c",
        "d1410593",
        "a45c4a32",
        "b9ec2ffc",
        "96521e7a",
        "d613a35c",
        "d391832b",
        "fd35f3c3",
        "9d8f6a0c",
    }
)
"""Earlier engines, of records, that train fully connected networks to the same bits as today's: `benchmarks/bits.py`
shows it for a commit. In single precision: no claim is recorded in another one. To be emptied by a change of these
bits. Supermasks train alike too, but earlier engines stored another network than the first one drawn.
"""

SAME_BITS_OF_CONVNETS = frozenset({"13b67cd0", "2b52959c", "96521e7a", "d1410593", "a45c4a32", "9d8f6a0c"})
"""Those of them that train convolutional networks to the same bits too, but for ResNets of fewer than 16 channels."""


UNTRAINED = "none"
"""The engine of numbers that no training made."""


def engine() -> str:
    """Eight hexadecimal digits of the code that trains, comments and docstrings left out.

    Results made by another engine may have other bits.
    """
    package = Path(__file__).parent.parent
    return fingerprint((package / f"{name}.py").read_text(encoding="utf-8") for name in ENGINE)


def of_today(earlier: str, model: str) -> bool:
    """Whether an engine trains a network to the same bits as today's."""
    same = SAME_BITS if fully_connected(model) else SAME_BITS_OF_CONVNETS
    return earlier in same | {engine(), UNTRAINED}


def fully_connected(model: str) -> bool:
    """Whether the word for a network means one without convolutions."""
    return re.fullmatch(r"lenet(-\d+)+(:.*)?", model) is not None


def fingerprint(sources: Iterable[str]) -> str:
    """Eight hexadecimal digits of these sources of Python, comments and docstrings left out."""
    digest = hashlib.sha256()
    for source in sources:
        tree = ast.parse(source)
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):  # a text that stands by itself does nothing
                node.body = [line for line in body if not _is_text(line)]  # type: ignore[attr-defined]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:8]


def _is_text(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)


def _commit() -> str | None:
    """The commit of this very code, or None when it is installed rather than checked out."""
    here = Path(__file__).parent
    try:
        # Asked of a tracked file: site-packages may lie inside somebody else's repository.
        subprocess.run(["git", "ls-files", "--error-unmatch", __file__], cwd=here, check=True, capture_output=True)
        answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
