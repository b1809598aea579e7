"""How cost grows: seconds of a model-epoch against M, batch size, examples, width and sparsity, all in one run.

    uv run python benchmarks/growth.py --data-dir DIR --json benchmarks/results/FILE.json

DIR holds MNIST in torchvision's layout. One axis is varied at a time around LeNet-300-100 on 10,000 images, batch 128,
trained alone, one thread. The axes take turns and the best of several rounds counts, so that a busy moment of the
machine falls on all of them; `relative` is to the first value of an axis, and is the claim.
"""

import argparse
import json
import os
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
import floor

from sddcli.core import masks
from sddcli.data import load
from sddcli.launchers.machine import describe
from sddcli.spec import Run, to_dict
from sddcli.stages import pruning, setting, training

BASE = Run("mnist", "lenet-300-100", noise=0.2, train_size=10_000, epochs=3, eval_every=3, batch_size=128)
AXES: dict[str, list[Any]] = {
    "M": [1, 2, 4, 8, 16],
    "train_size": [2_500, 5_000, 10_000, 20_000, 40_000],
    "batch_size": [512, 256, 128, 64, 32],
    "width": [75, 150, 300, 600, 1200],
    "level": [0, 5, 10, 15, 20],
}


def seconds(axis: str, value: int) -> float:
    """Of one epoch of one model, training alone, with `axis` at that value."""
    fields = {"M": {}, "width": {"model": f"lenet-{value}-{value // 3}"}, "level": {}}.get(axis, {axis: value})
    run = Run(**to_dict(BASE) | fields)
    data = load(run.dataset, run.train_size)
    model = setting.model_of(run, data)
    runs = [Run(**to_dict(run) | {"seed": seed}) for seed in range(value if axis == "M" else 1)]
    starts = [setting.fresh(each, model) for each in runs]
    kept = [pruning.full_masks(model, start) for start in starts]
    if axis == "level" and value:
        scores = [{name: start[name].abs() for name in model.prunable} for start in starts]
        left = masks.kept(model.size, 0.2, value)
        kept = [masks.keep(score, full, left) for score, full in zip(scores, kept, strict=True)]
    begun = [
        training.beginning(each, model, data, start, mask) for each, start, mask in zip(runs, starts, kept, strict=True)
    ]
    marks = [time.perf_counter()]
    for _ in training.train(runs, model, data, begun, starts):
        marks.append(time.perf_counter())
    # The last epoch is evaluated, and the first one warms up: what lies between is the middle one.
    return min(later - earlier for earlier, later in list(pairwise(marks))[1:-1]) / len(runs)


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("SDD_DATA", "data")))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    os.environ["SDD_DATA"] = str(asked.data_dir.absolute())
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    best: dict[tuple[str, int], float] = {}
    for _ in range(asked.rounds):
        for axis, values in AXES.items():
            for value in values:
                best[axis, value] = min(best.get((axis, value), float("inf")), seconds(axis, value))
    rows = [
        {"axis": axis, "value": value, "seconds_per_epoch": spent, "relative": spent / best[axis, AXES[axis][0]]}
        for (axis, value), spent in best.items()
    ]
    for row in rows:
        print(f"{row['axis']:>10} {row['value']:>6}: {1000 * row['seconds_per_epoch']:8.1f} ms  {row['relative']:6.2f}")
    machine = describe(" ".join(["python", *sys.argv])) | {"matrix_flops": floor.rate("cpu")}
    if asked.json:
        asked.json.write_text(json.dumps({"machine": machine, "base": to_dict(BASE), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
