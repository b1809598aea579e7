"""How close two workers come to twice the speed of one, what Ray and Slurm add, and what data larger than memory costs.

    uv run --extra ray --extra slurm python benchmarks/scale.py --folder DIR --json benchmarks/results/FILE.json
    uv run python benchmarks/scale.py --parts memory --gigabytes 3 --limit 1 --folder DIR

Three ratios, each of things measured one after the other, in --rounds rounds; the median of the rounds is the claim.

`workers`: a sweep of a convolutional network on digits, by two workers of a thread each and by one. `engines`: the same
sweep by a Ray cluster and a Slurm of two nodes of a core each on this machine, started as the tests start them (Slurm
needs root), against two local workers. Seconds are from the first run that is claimed to the last one saved: start-up,
queues and tables are left out; `workers_command` has them. All ways must end with the same weights. `memory`: one
training on photographs of --gigabytes, mapped from their file while the process may have --limit gigabytes of memory
for data beyond what its libraries take, against the same in memory without a limit; from the data set at hand to the
trained network. The limit is one of the process: what of the file the system keeps in memory that is free does not
count, so a disk that is slow is not measured.

DIR is a folder for runs and images, which are kept for the next time. `load` is of the machine before a round: on a
busy machine ratios of times are not to be believed. What it changes little are the seconds that processors worked:
`workers_processor` is the ratio of those of the process that had most, which is what its work takes on a core of its
own; `ray_processor` and `slurm_processor` are of all processes of a sweep, those of the engine included.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from sddcli.launchers.machine import describe

SWEEP = "--model convnet:width=16 --levels 0-2 --seeds 0-3 --set eval_every=4 --device cpu --threads 1"
RUNS = 12
"""Of that sweep."""
MARK = "SDD_SCALE_BENCHMARK"
"""The variable by which processes that were started from here are known, also those of jobs and of Ray."""
GOALS = {"workers": 0.6, "ray": 1.1, "slurm": 1.1, "memory": 1.5}
SIDE = 200
"""Of the photographs, in pixels: they take 120,000 bytes each."""


def swept(root: Path, epochs: int, *words: str) -> dict[str, float]:
    """Seconds of a sweep into `root`: `command`, of the whole command; `work`, from the first claim to the last run
    saved, and in that time `processor`, of all processes that it and its engine have, and `busiest`, of one of them.
    """
    shutil.rmtree(root, ignore_errors=True)
    command = [sys.executable, "-m", "sddcli", "sweep", *SWEEP.split(), "--epochs", str(epochs), "--runs", str(root)]
    began = time.time()
    process = subprocess.Popen([*command, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    until(lambda: any(root.glob("*/*/.lock")) or any(root.glob("*/.lock")) or process.poll() not in (None, 0))
    first, before, after = time.time(), spent(), dict[int, float]()

    def done() -> bool:
        after.update(spent())
        return len(finished(root)) == RUNS or process.poll() not in (None, 0)

    until(done, pause=1.0)
    _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(errors)
    had = [seconds - before.get(number, 0.0) for number, seconds in after.items()]
    work = max(path.stat().st_mtime for path in finished(root)) - first
    return {"command": time.time() - began, "work": work, "processor": sum(had), "busiest": max(had)}


def spent() -> dict[int, float]:
    """The seconds that a processor has worked for each of the processes that were started from here, wherever."""
    seconds, ticks = dict[int, float](), os.sysconf("SC_CLK_TCK")
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended, or is another user's
            if MARK.encode() in (folder / "environ").read_bytes():
                facts = (folder / "stat").read_text().rpartition(")")[2].split()
                seconds[int(folder.name)] = (int(facts[11]) + int(facts[12])) / ticks
    return seconds


def finished(root: Path) -> list[Path]:
    """The manifests of the runs that are trained."""
    return [path for path in root.rglob("manifest.json") if json.loads(path.read_text()).get("stage") == "trained"]


def until(what: Callable[[], bool], pause: float = 0.02) -> None:
    """Waits for something to come true, looking after each pause. Raises TimeoutError where it takes an hour."""
    deadline = time.monotonic() + 3600
    while not what():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(pause)


def weights(root: Path) -> dict[str, str]:
    """Path -> hash of the weights of each run."""
    paths = sorted(root.rglob("weights.safetensors"))
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@contextmanager
def engine(name: str, folder: Path) -> Iterator[list[str]]:
    """The words of `sdd sweep` for a cluster of two nodes of a core each that is there meanwhile."""
    import pytest

    from tests.launchers import engines

    shutil.rmtree(folder, ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        if name == "ray":
            with engines.ray_cluster(patch) as (cluster, *_):
                yield ["--on", "ray", "--address", cluster.address]
        else:
            with engines.slurm_cluster(folder, patch):
                yield ["--on", "slurm", "--time", "60"]
                until(lambda: not engines.slurm("squeue", "-h").strip(), pause=1.0)


def sweeps(asked: argparse.Namespace) -> dict[str, Any]:
    """A row a round: seconds of one worker, of two, and of the engines that were asked for."""
    rows, folder, names = [], asked.folder / "sweeps", [name for name in ("ray", "slurm") if name in asked.parts]
    for _ in range(asked.rounds):
        row: dict[str, Any] = {"load": os.getloadavg()[0]}
        for name, words in (("one", ["--workers", "1"]), ("two", ["--workers", "2"])):
            row[name] = swept(folder / name, asked.epochs, *words)
        for name in names:
            with engine(name, asked.folder / "cluster") as words:
                row[name] = swept(folder / name, asked.epochs, "--workers", "2", *words)
        same = [weights(folder / name) == weights(folder / "one") for name in row if name != "load"]
        assert all(same) and len(weights(folder / "one")) == RUNS, "weights differ"
        rows.append(row)
        print(json.dumps(row), flush=True)
    kinds = {"workers": "work", "workers_command": "command", "workers_processor": "busiest"}
    ratios = {name: [row["two"][seconds] / row["one"][seconds] for row in rows] for name, seconds in kinds.items()}
    for name in names:
        ratios[name] = [row[name]["work"] / row["two"]["work"] for row in rows]
        ratios[f"{name}_processor"] = [row[name]["processor"] / row["two"]["processor"] for row in rows]
    return {"sweep": f"{SWEEP} --epochs {asked.epochs}", "rows": rows, "ratios": ratios}


TRAINED = """
import json, resource, sys, time
from pathlib import Path

import torch

from sddcli.core.types import Tensors
from sddcli.datasets.reading import files
from sddcli.recipes import planning, prune_retrain
from sddcli.resolve import runs
from sddcli.store import Store

root, images, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
torch.set_num_threads(1)
torch.set_flush_denormal(True)
files.MAPPED = files.MAPPED if limit else 1 << 60
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
if limit:
    before = int(status["VmData"].split()[0]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (before + limit,) * 2)
words = {"dataset": f"folder:{images}", "model": "lenet-16-8", "epochs": "1", "batch_size": "64"}
(run,) = runs(words | {"seed": "0", "level": "0", "noise": "0.2", "lr": "0.001", "init": "kaiming"})
began, heard = time.perf_counter(), []
planning.check([run])
ready, spent = time.perf_counter(), time.process_time()
prune_retrain.work(Store(root), [run], {}, "cpu", heard.append)
assert type(heard[-1]).__name__ == "Saved", heard[-1]
facts = {"reading": ready - began, "training": time.perf_counter() - ready, "processor": time.process_time() - spent}
print(json.dumps(facts))
"""
"""Trains a small network on a folder of images; what it prints is measured after they were decoded once."""
FREED = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
"""What makes glibc give back the memory of an image at once: what it keeps for later differs from time to time."""


def memory(asked: argparse.Namespace) -> dict[str, Any]:
    """A row a round: seconds of a training in memory, and mapped."""
    images, limit = photographs(asked.folder / f"images-{asked.gigabytes:g}", asked.gigabytes), int(asked.limit * 1e9)
    limits = {"memory": 0, "mapped": limit}
    environment = os.environ | FREED | {"SDD_DATA": str(asked.folder / "data")}

    def trained(name: str) -> dict[str, float]:
        root = asked.folder / "trained" / name
        shutil.rmtree(root, ignore_errors=True)
        words = [str(root), str(images), str(limits[name])]
        command = [sys.executable, "-c", TRAINED, *words]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        return dict(json.loads(done.stdout.splitlines()[-1]))

    trained("mapped")  # decodes the images, once
    rows = []
    for _ in range(asked.rounds):
        row: dict[str, Any] = {"load": os.getloadavg()[0], **{name: trained(name) for name in limits}}
        in_memory, mapped = (weights(asked.folder / "trained" / name) for name in limits)
        assert in_memory == mapped, "weights differ"
        rows.append(row)
        print(json.dumps(row), flush=True)
    ratios = {
        "memory": [row["mapped"]["training"] / row["memory"]["training"] for row in rows],
        "memory_with_reading": [total(row["mapped"]) / total(row["memory"]) for row in rows],
        "memory_processor": [row["mapped"]["processor"] / row["memory"]["processor"] for row in rows],
    }
    return {"bytes": asked.gigabytes * 1e9, "limit": limit, "rows": rows, "ratios": ratios}


def total(row: dict[str, float]) -> float:
    """Seconds of reading and training."""
    return row["reading"] + row["training"]


def photographs(folder: Path, gigabytes: float) -> Path:
    """A folder of so many gigabytes of images when decoded, of ten classes, each image of one colour with stripes."""
    from PIL import Image

    count, draw = int(gigabytes * 1e9 / (3 * SIDE**2)), np.random.default_rng(0)
    for k in range(count if not folder.exists() else 0):
        path = folder.with_name(f".{folder.name}") / ("test" if k % 50 == 0 else "train") / str(k % 10) / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = np.broadcast_to(draw.integers(0, 256, (1, 1, 3), np.uint8), (SIDE, SIDE, 3)).copy()
        picture[:: 2 + k % 10] = draw.integers(0, 256, 3, np.uint8)
        Image.fromarray(picture).save(path, compress_level=1)
    if not folder.exists():
        folder.with_name(f".{folder.name}").rename(folder)
    return folder


def main() -> int:
    """Measures and prints the medians beside the goals; 1 where one is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="workers,ray,slurm,memory", help="of these")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=80, help="of each run of the sweep: more than a minute")
    parser.add_argument("--gigabytes", type=float, default=3.0)
    parser.add_argument("--limit", type=float, default=1.0, help="gigabytes of memory for data")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    asked.parts, asked.folder = asked.parts.split(","), asked.folder.absolute()
    asked.folder.mkdir(parents=True, exist_ok=True)
    os.environ[MARK] = "1"
    parts: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {}
    parts |= {"sweeps": sweeps} if {"workers", "ray", "slurm"} & set(asked.parts) else {}
    parts |= {"memory": memory} if "memory" in asked.parts else {}
    results = {name: measure(asked) for name, measure in parts.items()}
    medians = {name: statistics.median(all_) for part in results.values() for name, all_ in part["ratios"].items()}
    for name, ratio in medians.items():
        print(f"{name}: {ratio:.3f}" + (f", goal {GOALS[name]}" if name in GOALS else ""))
    if asked.json:
        machine = describe(" ".join(["python", *sys.argv]))
        asked.json.write_text(json.dumps({"machine": machine, "medians": medians, **results}, indent=1) + "\n")
    return int(any(medians[name] > GOALS[name] for name in GOALS if name in medians))


if __name__ == "__main__":
    sys.exit(main())
