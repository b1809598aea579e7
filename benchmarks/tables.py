"""Tables of very many runs: how long the first one takes, how long the next one after a few more runs, what memory.

    uv run python benchmarks/tables.py --runs 300000 --more 100 --json FILE

Makes synthetic runs in a temporary folder, by the store as a sweep does but without waiting for the disk, and then
the tables as `sdd sweep` does for the runs it made last, each time in a process of its own, whose peak memory is told.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from sddcli.core.types import Found
from sddcli.launchers import machine
from sddcli.spec import Run
from sddcli.store import Store

LEVELS = 26  # and a dense run: 27 runs a seed
EXPORT = """
import re, sys, time
from pathlib import Path
from sddcli import table
from sddcli.store import Store
began, spent = time.perf_counter(), time.process_time()
frame = table.export(Store(sys.argv[1]), set(sys.argv[2:]))
seconds = time.perf_counter() - began
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
print(len(frame), seconds, time.process_time() - spent, int(peak) * 1024)
"""


def synthetic(first: int) -> Iterator[Run]:
    """Chains of one sweep, a seed each, from seed `first` on."""
    seed = first
    while True:
        common = {"dataset": "digits", "model": "lenet-300-100", "noise": 0.4, "epochs": 60, "seed": seed}
        yield Run(**common)
        for level in range(1, LEVELS + 1):
            yield Run(**common, criterion="magnitude", retraining="lottery", rate=0.2, level=level)
        seed += 1


def make(store: Store, count: int, first: int) -> list[str]:
    """Writes `count` runs as if they were trained; returns their ids."""
    os.fsync = lambda _: None  # the disk's patience is not what is measured
    draw, weights, ids = np.random.default_rng(first), {"w": torch.ones(4)}, []
    for run, _ in zip(synthetic(first), range(count), strict=False):
        density = 0.8**run.level
        rows = [
            {"epoch": epoch, **{name: float(x) for name, x in zip(HISTORY, draw.random(len(HISTORY)), strict=True)}}
            for epoch in range(5, 61, 5)
        ]
        metrics = {"sparsity": 1 - density, "density": density, "weights": int(49200 * density), "examples": 1297}
        metrics |= {name: value for name, value in rows[-1].items() if name != "epoch"}
        facts = {"metrics": metrics, "data": {"name": "digits", "sha256": "0" * 64}, "seconds": 1.0}
        distance = Found({name: float(draw.random()) for name in ("learning_distance", "masking_distance")})
        store.save_trained(run, weights, {}, rows, {"learning-distance": distance}, facts)
        ids.append(run.id)
    return ids


HISTORY = ("train_accuracy", "clean_accuracy", "memorized", "test_accuracy", "train_loss", "test_loss")


def timed(root: Path, ids: list[str]) -> dict[str, float]:
    """The tables of the folder, made as a sweep of the runs with these ids makes them at its end."""
    said = subprocess.run([sys.executable, "-c", EXPORT, root, *ids], check=True, capture_output=True, text=True)
    rows, seconds, computing, peak = map(float, said.stdout.split())
    times = {"seconds": round(seconds, 1), "seconds_computing": round(computing, 1)}
    return {"rows_asked_for": int(rows), **times, "peak_mb": round(peak / 1e6)}


def main() -> None:
    """Makes runs, times tables, prints and, if asked, records."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=300_000)
    parser.add_argument("--more", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="where to make the runs, or where they were made before")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = asked.folder or Path(folder) / "runs"
        if not root.exists():
            make(Store(root), asked.runs, 0)
        for path in (root / ".index.sqlite3", *root.glob("*.csv")):
            path.unlink(missing_ok=True)
        ids = [run.id for run, _ in zip(synthetic(0), range(100), strict=False)]
        found = {"first table": timed(root, ids)}
        newer = make(Store(root), asked.more, 10_000_000)
        found[f"after {asked.more} more"] = timed(root, newer)
        found["again, nothing new"] = timed(root, newer)
        size = sum(path.stat().st_size for path in root.glob("*.csv"))
        found["files"] = {
            "results_and_history_mb": round(size / 1e6),
            "index_mb": round((root / ".index.sqlite3").stat().st_size / 1e6),
        }
    said = {"runs": asked.runs, **found, "machine": machine.describe(shlex.join(["python", *sys.argv]))}
    print(json.dumps(said, indent=1))
    if asked.json:
        asked.json.write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
