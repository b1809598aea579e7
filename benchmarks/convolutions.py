"""How fast convolutional networks train on one thread: channels last, bf16, both, and as before, beside the usual loop.

    uv run python benchmarks/convolutions.py --photographs DIR --json benchmarks/results/FILE.json

DIR holds 32x32 images as train/CLASS and test/CLASS. Times are CPU milliseconds of a training step, without
evaluations, of the process that trains, in turns, --repeats times; the shortest epoch counts. Processes that load
images for the usual loop are not counted, which is in its favour. `before` is fp32 as convolutions lay before channels
came last, and with freed memory given back to the system. Each measurement has a process of its own.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).parent))
import reference
import speed

from sddcli.core import memory
from sddcli.launchers import machine
from sddcli.spec import Run

WAYS = {
    "before": ("fp32", False, False),
    "channels last": ("fp32", True, False),
    "today": ("fp32", True, True),
    "today in bf16": ("bf16", True, True),
}
"""What is measured: precision, whether channels come last, and whether freed memory is kept, as workers keep it."""


class Case(NamedTuple):
    """A network and its data; augmented: as the usual loop of that name does it. steps: of an epoch."""

    model: str
    photographs: bool
    batch: int
    steps: int
    augment: str = "none"


CASES = {
    "convnet-digits": Case("convnet:width=16", False, 64, 20),
    "convnet-photographs": Case("convnet:width=16", True, 128, 5),
    "narrow-resnet18": Case("resnet18:width=16", True, 128, 5, "crop-flip"),
}
EPOCHS = 4


def run_of(case: Case, photographs: Path, precision: str) -> Run:
    """What our engine trains."""
    data = f"folder:{photographs}" if case.photographs else "digits"
    return Run(
        data, case.model, noise=0.2, train_size=case.batch * case.steps, batch_size=case.batch, momentum=0.9,
        weight_decay=1e-4, augment=case.augment, precision=precision, epochs=EPOCHS, eval_every=EPOCHS + 1,
    )  # fmt: skip


def step_seconds(case: Case, photographs: Path, way: str) -> float:
    """CPU seconds of a step of one model; the first epoch warms up."""
    precision, last, keeps = WAYS[way]
    if not last:
        memory.channels_last = lambda x: x
    if keeps:
        machine.keep_freed_memory()
    speed.quiet(1)
    run = run_of(case, photographs, precision)
    return min(speed.each_epoch(run, 1, "cpu", lambda: None, time.process_time)[1:]) / case.steps


def usual_seconds(name: str, photographs: Path) -> float:
    """The same of the usual loop."""
    torch.set_num_threads(1)
    case = CASES[name]
    size = case.batch * case.steps
    trained, _ = reference.epoch_seconds(name, photographs, "cpu", size, case.batch, time.process_time)
    return trained / case.steps


def measured(name: str, photographs: Path, repeats: int) -> dict[str, Any]:
    """Milliseconds of a step in each way, and the ratios to `before`."""
    ways: dict[str, Callable[[], float]] = {way: partial(step_seconds, CASES[name], photographs, way) for way in WAYS}
    ways["usual loop"] = partial(usual_seconds, name, photographs)
    turns = speed.in_turns(ways, repeats)
    best = {way: min(seconds) for way, seconds in turns.items()}
    return {
        "case": name,
        "network": CASES[name].model,
        "milliseconds": {way: 1e3 * seconds for way, seconds in best.items()},
        "times faster than before": {way: best["before"] / seconds for way, seconds in best.items()},
        "times faster than the usual loop": {way: best["usual loop"] / seconds for way, seconds in best.items()},
        "all milliseconds": {way: [1e3 * each for each in seconds] for way, seconds in turns.items()},
    }


def main() -> None:
    """Measures all cases, prints them and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--only", default=",".join(CASES), help="cases, separated by commas")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows = []
    for name in asked.only.split(","):
        rows.append(measured(name, asked.photographs, asked.repeats))
        ratios = rows[-1]["times faster than before"]
        times = (f"{way} {ms:.2f} ms ({ratios[way]:.2f}x)" for way, ms in rows[-1]["milliseconds"].items())
        print(f"{name}: {', '.join(times)}", flush=True)
    if asked.json:
        facts = machine.describe(" ".join(["python", *sys.argv])) | {"threads": 1}
        asked.json.write_text(json.dumps({"machine": facts, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
