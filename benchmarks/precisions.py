"""How fast fully connected networks train on one thread in bf16, beside single precision.

    uv run python benchmarks/precisions.py --data-dir DIR --json benchmarks/results/FILE.json

DIR holds MNIST in torchvision's layout. Times are CPU milliseconds of a training step of one model, of M side by side,
without evaluations and with those on training and test set after each epoch; the shortest epoch of all turns counts.
Each measurement has a process of its own; both precisions take turns.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import speed

from sddcli.launchers import machine
from sddcli.spec import Run

RUNS = {
    "digits": (Run("digits", "lenet-300-100", noise=0.2, batch_size=64, momentum=0.9, epochs=8), 21),
    "mnist": (Run("mnist", "lenet-300-100", noise=0.2, batch_size=128, train_size=6400, epochs=8), 50),
}
"""Name -> what is trained, and the steps of an epoch."""


def step_seconds(name: str, precision: str, models: int, evaluated: bool) -> float:
    """CPU seconds of a step of one of so many models; the first epoch warms up."""
    speed.quiet(1)
    machine.keep_freed_memory()
    run, steps = RUNS[name]
    run = replace(run, precision=precision, eval_every=1 if evaluated else run.epochs + 1)
    return min(speed.each_epoch(run, models, "cpu", lambda: None, time.process_time)[1:]) / steps / models


def measured(name: str, models: int, evaluated: bool, repeats: int) -> dict[str, Any]:
    """Milliseconds of a step in each precision, and their ratio."""
    ways = {precision: partial(step_seconds, name, precision, models, evaluated) for precision in ("fp32", "bf16")}
    turns = speed.in_turns(ways, repeats)
    best = {precision: min(seconds) for precision, seconds in turns.items()}
    return {
        "data": name,
        "M": models,
        "evaluated": evaluated,
        "milliseconds": {precision: 1e3 * seconds for precision, seconds in best.items()},
        "times faster": best["fp32"] / best["bf16"],
        "all milliseconds": {precision: [1e3 * each for each in seconds] for precision, seconds in turns.items()},
    }


def main() -> None:
    """Measures all cases, prints them and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--side-by-side", default="1,3,6")
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    os.environ["SDD_DATA"] = str(asked.data_dir)
    rows = []
    for name in RUNS:
        for models in map(int, asked.side_by_side.split(",")):
            for evaluated in (False, True):
                rows.append(measured(name, models, evaluated, asked.repeats))
                ms = rows[-1]["milliseconds"]
                print(
                    f"{name}, M = {models}{', evaluated' if evaluated else ''}: fp32 {ms['fp32']:.3f} ms, "
                    f"bf16 {ms['bf16']:.3f} ms ({rows[-1]['times faster']:.2f}x)",
                    flush=True,
                )
    if asked.json:
        facts = machine.describe(" ".join(["python", *sys.argv])) | {"threads": 1}
        asked.json.write_text(json.dumps({"machine": facts, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
