"""Machine: a core for each worker, one worker for a GPU, which takes more models at once."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from sddcli.core.models import MODELS, architecture
from sddcli.launchers import machine


@pytest.mark.parametrize("gpus", [0, 1, 4])
def test_workers_and_models_at_once(gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gpus", lambda: gpus)
    monkeypatch.setattr(machine, "cores", lambda: 7)
    assert machine.crew("cpu") == 7 and machine.crew("cuda:1") == 1 and machine.crew("cuda:0,2") == 2
    assert machine.crew("auto") == (gpus or 7) and machine.crew("cuda") == max(gpus, 1)
    most = [machine.most_side_by_side(device) for device in ("cpu", "auto", "cuda")]
    assert most == sorted(most) and most[0] < most[2] and most[1] == most[2 if gpus else 0]


DEVICES = {
    ("cuda", 3): ("cuda:0", "cuda:1", "cuda:2"),
    ("auto", 2): ("cuda:0", "cuda:1"),
    ("auto", 0): ("auto",),
    ("cuda", 1): ("cuda",),
    ("cpu", 4): ("cpu",),
    ("cuda:1", 4): ("cuda:1",),
    ("cuda:0,2", 4): ("cuda:0", "cuda:2"),
    ("cuda:2,2,11", 0): ("cuda:2", "cuda:11"),
    ("cuda:", 4): ("cuda:",),
}


@pytest.mark.parametrize(("word", "gpus"), DEVICES)
def test_cuda_is_every_gpu_and_numbers_name_some(word: str, gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "gpus", lambda: gpus)
    assert machine.devices(word) == DEVICES[word, gpus]


CPUINFO = {
    "processor: 0\nmodel name\t: AMD EPYC 9B14\ncpu family\t: 25\nmodel\t\t: 17\n\nprocessor: 1\nmodel\t: 3\n": (
        "AMD EPYC 9B14 (family 25, model 17)"
    ),
    "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n\n": "arm64 (implementer 0x41, part 0xd0c)",
    "": "arm64",
}


@pytest.mark.parametrize("content", CPUINFO)
def test_the_processor_is_named_with_its_numbers(content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: content)
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    monkeypatch.setattr(machine.platform, "machine", lambda: "arm64")
    assert machine.processor() == CPUINFO[content]


BF16 = {
    "flags\t\t: fpu avx512f avx512_bf16\n\nflags: none\n": True,
    "flags\t\t: fpu amx_bf16 amx_tile\n": True,
    "Features\t: fp asimd bf16 i8mm\n": True,
    "flags\t\t: fpu avx2 avx512f\n\nflags\t: avx512_bf16\n": False,
    "": False,
}


@pytest.mark.parametrize("content", BF16)
def test_processors_that_multiply_in_bf16_are_known_by_their_flags(
    content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: content)
    monkeypatch.setattr(machine, "gpus", lambda: 0)
    assert machine.multiplies_bf16("cpu") == machine.multiplies_bf16("auto") == BF16[content]
    assert not machine.multiplies_bf16("cuda")


def test_where_there_is_no_such_file_python_names_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr(machine.platform, "processor", lambda: "arm")
    assert machine.processor() == "arm"


@pytest.mark.parametrize("start", ["sddcli", "sddcli.cli.app", "sddcli.launchers.local"])
@pytest.mark.parametrize(("given", "wanted"), [(None, "AUTO"), ("COMPATIBLE", "COMPATIBLE"), ("", "")])
def test_mkl_is_asked_for_reproducible_products_unless_the_user_asked_for_others(
    given: str | None, wanted: str, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a notebook, by the command, by a worker; manifests say what holds."""
    monkeypatch.delenv("MKL_CBWR", raising=False)
    if given is not None:
        monkeypatch.setenv("MKL_CBWR", given)
    code = f"import {start}; from sddcli.launchers import machine; print(machine.describe('sdd')['mkl_cbwr'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == wanted


NAMELESS = "import pwd\ndef none(*_): raise KeyError('no such user')\npwd.getpwuid = pwd.getpwnam = none\n"
HOMES = {"none": None, "not there": "/nonexistent/home", "a file": "FILE"}


@pytest.mark.slow
@pytest.mark.parametrize("home", HOMES)
def test_caches_of_who_has_no_home_go_elsewhere_and_it_is_said(tmp_path: Path, home: str) -> None:
    if home == "not there" and os.getuid() == 0:
        pytest.skip("root may write anywhere")
    (tmp_path / "sitecustomize.py").write_text(NAMELESS)
    (tmp_path / "file").write_text("")
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path)}
    for name in ("HOME", "SDD_DATA", "MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        environment.pop(name, None)
    if (given := HOMES[home]) is not None:
        environment["HOME"] = given.replace("FILE", str(tmp_path / "file"))
    spare = tmp_path / f"sdd-{os.getuid()}"
    tiny = "--model lenet-16-8 --epochs 1 --seeds 0 --levels 0-1 --workers 1 --rewind 0it --train-size 100"
    said = {"sweep": f"sdd: no home folder that can be written to: data sets are kept in {spare}/data", "plot": ""}
    for words in (f"sweep {tiny}", "plot double-descent"):
        command = [sys.executable, "-m", "sddcli", *words.split()]
        ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert ended.returncode == 0 and "Warning" not in ended.stderr, ended.stderr
        assert ended.stderr.startswith(said[words.split()[0]])
    assert ended.stderr == "" and (spare / "matplotlib").is_dir() and spare.stat().st_mode & 0o77 == 0


def test_an_engine_is_as_todays_for_the_networks_that_it_trains_to_the_same_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "SAME_BITS", frozenset({"0000aaaa", "0000cccc"}))
    monkeypatch.setattr(machine, "SAME_BITS_OF_CONVNETS", frozenset({"0000cccc"}))
    lenet, convnet = "lenet-20-10", "convnet:width=8"
    assert machine.of_today(machine.engine(), lenet) and machine.of_today(machine.engine(), convnet)
    assert machine.of_today("0000aaaa", lenet) and not machine.of_today("0000aaaa", convnet)
    assert machine.of_today("0000cccc", convnet) and machine.of_today("none", "regression:width=160")
    assert not machine.of_today("0000bbbb", lenet) and not machine.of_today("unknown", lenet)
    assert not machine.of_today("0000aaaa", ""), "of a network that is not known the bits are not either"


def test_engines_that_train_convnets_to_the_same_bits_train_all_networks_so() -> None:
    assert machine.SAME_BITS_OF_CONVNETS <= machine.SAME_BITS


@pytest.mark.parametrize("word", [*MODELS, "lenet-20-10"])
def test_networks_without_convolutions_are_known_by_their_words(word: str) -> None:
    weights = architecture(word, (3, 32, 32), 10).shapes.values()
    assert machine.fully_connected(word) == all(len(shape) < 3 for shape in weights)


FAULTS = """
import resource, sys
import numpy as np
from sddcli.launchers import machine

if sys.argv[1] == "keeps":
    machine.keep_freed_memory()
np.ones(1 << 17)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    first, second = np.ones(1 << 17), np.ones(1 << 17)
    del first, second
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
"""How many pages of memory the system hands out, for blocks of 1 MB that are freed and asked for again."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another one")
def test_freed_memory_is_kept_for_the_next_block_of_its_size() -> None:
    faults = {}
    for word in ("gives back", "keeps"):
        ended = subprocess.run([sys.executable, "-c", FAULTS, word], capture_output=True, text=True, check=True)
        faults[word] = int(ended.stdout)
    assert 4 * faults["keeps"] < faults["gives back"], faults
