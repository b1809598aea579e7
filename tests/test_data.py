"""Data: every data set, by walking its folder; parts of them; what one file in that folder is enough for."""

import ast
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from sddcli import data
from sddcli.core.models import architecture
from sddcli.core.words import UsageError
from sddcli.data import forget, load, outline
from sddcli.datasets import folder
from sddcli.datasets.reading import files
from sddcli.families import members
from sddcli.stages import setting
from tests.datasets.small import SMALL, image_folder

REPOSITORY = Path(__file__).parent.parent
STRIPES = '''"""Stripes: noisy images of 6x6 pixels, horizontal ones and vertical ones."""

import numpy as np

from sddcli.core.seeds import stream
from sddcli.core.types import Data
from sddcli.datasets.reading.files import Tell
from sddcli.datasets.reading.tensors import normalized, outlined

CLASSES, SIMILAR = 2, (1, 0)


def read(tell: Tell, *, contrast: int = 90) -> Data:
    """200 images to train on, 80 to test. x: (N, 1, 6, 6) float32."""
    splits = []
    for n in (200, 80):
        labels = np.arange(n) % CLASSES
        rows = np.arange(6) % 2 * contrast
        images = np.where(labels[:, None, None] == 0, rows[:, None], rows[None, :])
        noise = stream(0, "stripes", n).integers(0, 120, size=images.shape)
        splits.append(((images + noise).astype(np.uint8)[:, None], labels))
    return normalized(splits[0], splits[1], 105.0, 57.0, CLASSES, SIMILAR)


def outline(*, contrast: int = 90) -> Data:
    """What `read` gives, without its content."""
    return outlined(200, (1, 6, 6), CLASSES, SIMILAR)
'''


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network: nothing is downloaded for a test."""

    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(files.time, "sleep", lambda seconds: None)


def whole_word(name: str, root: Path) -> str:
    """The word for a data set that can be read here: of the small files that tests have of it, or of none."""
    if name in SMALL:
        return SMALL[name](root)
    try:
        load(name)
    except OSError as error:
        pytest.skip(f"to test its reading too, write small files of it in tests/datasets/small.py: {error}")
    return name


@pytest.mark.parametrize("name", members("datasets"))
def test_every_data_set_is_complete_and_what_its_outline_says(root: Path, offline: None, name: str) -> None:
    word = whole_word(name, root)
    data, shell = load(word), outline(word)
    assert load(word) is data and len(data.sha256) == 64
    for split in data[:2]:
        assert len(split.x) == len(split.y) and set(split.y.tolist()) == set(range(data.classes))
        assert split.y.dtype == torch.int64 and split.x.dtype == (torch.uint8 if data.mean else torch.float32)
    assert len(data.mean) == len(data.deviation) == (3 if data.mean else 0)
    assert shell.train.x.shape[1:] == data.train.x.shape[1:]
    assert (shell.mean, shell.deviation, shell.similar) == (data.mean, data.deviation, data.similar)
    if name not in SMALL or name in ("digits", "folder"):  # of which what is read here is the whole
        assert (shell.classes, len(shell.train.y)) == (data.classes, len(data.train.y))
    if not data.mean and len(data.train.y) > 1000:
        assert abs(data.train.x.mean()) < 0.01 and abs(data.train.x.std() - 1) < 0.01


@pytest.mark.parametrize("name", members("datasets"))
def test_the_outline_has_every_class_and_one_that_each_is_mistaken_for(root: Path, name: str) -> None:
    shell = outline(SMALL[name](root) if name in SMALL else name)
    for split in shell[:2]:
        assert set(split.y.tolist()) == set(range(shell.classes))
        assert split.x.untyped_storage().nbytes() == 1, "images of an outline take no memory"
    assert not shell.similar or len(shell.similar) == shell.classes
    assert set(shell.similar) <= set(range(shell.classes)) and shell.similar != tuple(range(shell.classes))


@pytest.mark.parametrize("name", members("datasets"))
def test_a_data_set_that_is_not_here_says_so_in_one_line(root: Path, offline: None, name: str) -> None:
    try:
        data = load(name)
    except (OSError, UsageError) as error:
        named = f"{name}:PATH" in str(error) or f"{name}:NAME" in str(error)
        assert "\n" not in str(error) and (named or f"put the file into {root}" in str(error))
    else:
        assert len(data.sha256) == 64 and not root.exists()  # it needs no files of the user's


@pytest.mark.parametrize("name", members("datasets"))
def test_examples_held_out_are_a_rest_of_each_class_alike(root: Path, offline: None, name: str) -> None:
    word = whole_word(name, root)
    whole, part = load(word), load(word, 0, 0.2)
    assert whole.held is None and part.held is not None and part.test is whole.test
    n = len(whole.train.y)
    assert len(part.held.y) == round(0.2 * n) and len(part.train.y) + len(part.held.y) == n
    rows = [sorted(x.tobytes() for x in each.x.numpy()) for each in (whole.train, part.train, part.held)]
    assert sorted(rows[1] + rows[2]) == rows[0]
    spread = part.held.y.bincount(minlength=whole.classes) - 0.2 * whole.train.y.bincount()
    assert spread.abs().max() <= 1
    assert outline(word, 0, 0.2).train.x.shape[1:] == part.train.x.shape[1:]
    fewer = load(word, n // 2, 0.2)
    assert len(fewer.train.y) + len(fewer.held.y) == n // 2  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="leaves none on one side"):
        load(word, 0, 0.001 if n < 500 else 0.0001)


@pytest.mark.slow
def test_one_file_is_a_data_set(tmp_path: Path) -> None:
    """In a copy of the package and its tests with one more file: help, a sweep, asymmetric noise, and the tests."""
    for part in ("sddcli", "tests"):
        shutil.copytree(REPOSITORY / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    (tmp_path / "sddcli" / "datasets" / "gray_stripes.py").write_text(STRIPES)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}

    def python(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)

    assert "gray-stripes" in python("sddcli", "sweep", "--help").stdout
    word, settings = "gray-stripes:contrast=60", ["--levels", "0-1", "--seeds", "0-1", "--epochs", "3"]
    noise = ["--noise", "0.25", "--noise-kind", "asymmetric"]
    sweep = python("sddcli", "sweep", "--dataset", word, *settings, *noise, "--workers", "1", "--runs", "runs")
    assert sweep.returncode == 0, sweep.stderr
    table = pd.read_csv(tmp_path / "runs" / "results.csv")
    assert table["dataset"].tolist() == [word] * 4 and set(table["model"]) == {"lenet-300-100"}
    wrong = python("sddcli", "sweep", "--dataset", "gray-stripe", *settings, "--runs", "others")
    assert wrong.returncode == 2 and "did you mean 'gray-stripes'" in wrong.stderr
    tests = python("pytest", "tests/test_data.py", "-k", "gray-stripes", "-p", "no:cacheprovider")
    assert tests.returncode == 0 and "4 passed" in tests.stdout, tests.stdout


@pytest.mark.parametrize("path", sorted((REPOSITORY / "sddcli").rglob("*.py")), ids=lambda path: path.stem)
def test_nothing_else_names_a_data_set(path: Path) -> None:
    """But its own file, its settings in protocols.toml, and the sweeps of claims and figures: no table is added to."""
    if {"datasets", "claims", "figures.py"}.intersection(path.relative_to(REPOSITORY / "sddcli").parts):
        return
    strings = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
    words = {value.split(":")[0] for value in strings if isinstance(value, str)}
    # A folder is a word of English too, and torchvision a library.
    assert not words & ({*members("datasets")} - {"folder", "torchvision"})


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="unknown data set 'digit'; did you mean 'digits'"):
        load("digit")


def test_a_folder_is_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    word, calls = image_folder(tmp_path), list[str]()
    plain = folder.layout
    monkeypatch.setattr(folder, "layout", lambda *words: calls.append("") or plain(*words))
    whole, parts = outline(word), [outline(word, 6), outline(word, 6, 0.5), outline(word, 6)]
    assert len(calls) == 1 and [len(part.train.y) for part in parts] == [6, 3, 6] and parts[0] is parts[2]
    assert len(whole.train.y) > 6
    forget()
    outline(word)
    assert len(calls) == 2


def test_parts_have_each_class_in_its_share_and_nest() -> None:
    whole, parts = load("digits"), [load("digits", n) for n in (100, 300, 1297)]
    rows = [{tuple(x.flatten().tolist()) for x in part.train.x} for part in parts]
    assert [len(part.train.x) for part in parts] == [100, 300, 1297] and rows[0] < rows[1] < rows[2]
    assert ((parts[0].train.y.bincount() - 10).abs() <= 1).all()
    assert torch.equal(parts[0].test.x, whole.test.x) and torch.equal(parts[2].train.y, whole.train.y)
    with pytest.raises(ValueError, match="train_size 1298 is more than the 1297 examples of digits"):
        load("digits", 1298)


def test_halves_have_no_example_in_common_and_each_class_in_its_share() -> None:
    whole, a, b = (load(f"digits{end}") for end in ("", ":half=a", ":half=b"))
    assert (len(a.train.y), len(b.train.y)) == (649, 648) and torch.equal(a.test.x, whole.test.x)
    counts = [half.train.y.bincount() for half in (a, b)]
    assert (counts[0] - counts[1]).abs().max() <= 2 and torch.equal(sum(counts), whole.train.y.bincount())
    rows = [{row.numpy().tobytes() for row in half.train.x} for half in (a, b)]
    assert len(rows[0] | rows[1]) == len({row.numpy().tobytes() for row in whole.train.x})
    assert len(outline("digits:half=b").train.y) == 648
    with pytest.raises(UsageError, match="half takes a or b, got 'c'"):
        load("digits:half=c")


LIMITED = """
import resource, sys
import torch
from sddcli.core.types import Tensors
from sddcli.datasets.reading import files
from sddcli.recipes import planning, prune_retrain
from sddcli.resolve import runs
from sddcli.store import Store

root, images, most, limit = sys.argv[1:]
torch.set_num_threads(1)
files.MAPPED = int(most)
if int(limit):
    before = int(next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (before + int(limit),) * 2)
words = {"dataset": f"folder:{images}", "model": "lenet-2-2", "epochs": "1", "batch_size": "16", "level": "0"}
(run,) = runs(words | {"seed": "0", "noise": "0.2", "lr": "0.001", "init": "kaiming"})
planning.check([run])
events = []
prune_retrain.work(Store(root), [run], {}, "cpu", events.append)
print(events[-1])
"""
"""Reads a folder of images, decodes, and trains, with so many bytes more of memory for data than libraries take."""
FREED = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
"""What makes glibc give back the memory of an image at once: what it keeps for later differs from time to time."""


@pytest.mark.slow
def test_more_data_than_memory_trains_to_the_same_bits(tmp_path: Path) -> None:
    """Images of 480 MB under a limit of 350 MB: decoded, kept and trained on; in memory they do not fit."""
    generator = np.random.default_rng(0)
    for k in range(1000):
        path = tmp_path / "images" / ("test" if k < 50 else "train") / "ab"[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGB", (400, 400), tuple(int(c) for c in generator.integers(0, 256, 3)))
        picture.save(path, compress_level=1)
    ends = {}
    for name, most, limit in (("whole", 1 << 40, 0), ("mapped", 1 << 20, 350 << 20), ("too much", 1 << 40, 350 << 20)):
        words = [tmp_path / name, tmp_path / "images", most, limit]
        environment = os.environ | FREED | {"SDD_DATA": str(tmp_path / f"data of {name}")}
        ends[name] = subprocess.run(
            [sys.executable, "-c", LIMITED, *map(str, words)], env=environment, capture_output=True, text=True
        )
    assert "Saved" in ends["whole"].stdout and "Saved" in ends["mapped"].stdout, ends
    assert "Saved" not in ends["too much"].stdout, "the limit is none"
    weights = [[*(tmp_path / name).rglob("weights.safetensors")] for name in ("whole", "mapped")]
    assert weights[0][0].read_bytes() == weights[1][0].read_bytes()


def test_of_what_a_gpu_has_no_room_for_only_labels_are_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the inputs of each batch, when they are used; to no real GPU, for which another device stands here."""
    whole, free = load("digits", validation=0.1), [10**9]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[0], 1 << 40))
    assert data._fits(whole, "cuda")
    free[0] = 400_000
    assert not data._fits(whole, "cuda")
    moved = data._moved(whole, "meta", data._fits(whole, "cuda"))
    assert whole.held is not None and moved.held is not None
    for before, after in ((whole.train, moved.train), (whole.test, moved.test), (whole.held, moved.held)):
        assert after.x is before.x and after.y.device.type == "meta"
    assert data._moved(whole, "meta", True).train.x.device.type == "meta"
    model = architecture("lenet-16-8", (1, 8, 8), 10)
    weights = {name: torch.empty(1, *shape, device="meta") for name, shape in model.shapes.items()}
    logits = setting.forward_of(model, moved)(weights, moved.test.x[:5].unsqueeze(0), False)
    assert logits.device.type == "meta" and logits.shape == (1, 5, 10)
