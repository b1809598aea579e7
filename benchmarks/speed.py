"""How fast: our engine beside the conventional loop and the machine's limits, all measured in one run.

    uv run python benchmarks/speed.py --models lenet-300-100 --data-dir DIR --json benchmarks/results/FILE.json
    uv run python benchmarks/speed.py --models resnet18 --photographs DIR --device cuda --precision bf16 --json FILE

DIR holds MNIST in torchvision's layout, or images as train/CLASS and test/CLASS. Ratios are the claim, not seconds:
`ratio_to_reference` with accuracies on training and test set after each epoch on both sides, `ratio_training_only`
without, `share_of_floor` of the measured rate of a large matrix product. All are per model-epoch.
"""

import argparse
import json
import os
import resource
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
import floor
import reference

from sddcli import stages
from sddcli.datasets.load import load
from sddcli.launchers.machine import describe
from sddcli.spec import Run


def engine_seconds(run: Run, models: int, device: str) -> tuple[float, float]:
    """Seconds of one epoch of `models` models side by side, each: training alone, and with both evaluations."""
    data = load(run.dataset, run.train_size, 0.0, device)
    model = stages.model_of(run, data)
    runs = [Run(**{**vars_of(run), "seed": seed}) for seed in range(models)]
    starts = [stages.fresh(each, model) for each in runs]
    begun = [stages.beginning(each, data, start) for each, start in zip(runs, starts, strict=True)]
    kept = [stages.full_masks(model, start) for start in starts]
    marks = []
    began = time.perf_counter()
    for now in stages.train(runs, model, data, begun, kept):
        wait(device)
        marks.append(time.perf_counter() - began)
        state = now.state
    # Epoch 1 warms up and is not evaluated; what lies between two yields is one epoch.
    trained = min(later - earlier for earlier, later in pairwise(marks))
    began = time.perf_counter()
    stages.metrics(runs, model, state.weights, data)
    wait(device)
    return trained / models, (trained + time.perf_counter() - began) / models


def vars_of(run: Run) -> dict[str, Any]:
    """The fields of a run."""
    from sddcli.spec import to_dict

    return to_dict(run)


def wait(device: str) -> None:
    """Until the device is done."""
    if device != "cpu":
        torch.cuda.synchronize()


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="lenet-300-100", help="of: lenet-300-100, resnet18")
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("SDD_DATA", "data")))
    parser.add_argument("--photographs", type=Path, help="for resnet18")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int, default=1, help="of our engine; the reference has torch's own number")
    parser.add_argument("--side-by-side", default="1,2,4,8")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--train-size", type=int, default=0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    os.environ["SDD_DATA"] = str(asked.data_dir.absolute())
    threads = torch.get_num_threads()
    torch.set_num_threads(asked.threads)
    matrix = floor.rate(asked.device, asked.precision)
    copy = floor.bandwidth(asked.device)
    print(f"matrix product {matrix / 1e9:.0f} GFLOP/s, copy {copy / 1e9:.1f} GB/s")
    rows = []
    for name in asked.models.split(","):
        photographs = name != "lenet-300-100"
        torch.set_num_threads(threads)
        trained, whole = reference.epoch_seconds(
            name, asked.photographs if photographs else asked.data_dir, asked.device, asked.train_size
        )
        print(f"{name}: reference {whole:.2f} s an epoch, {trained:.2f} s of it training")
        torch.set_num_threads(asked.threads)
        torch.set_flush_denormal(True)
        for models in map(int, asked.side_by_side.split(",")):
            run = Run(
                f"folder:{asked.photographs}" if photographs else "mnist",
                name,
                noise=0.2,
                train_size=asked.train_size,
                epochs=asked.epochs,
                eval_every=asked.epochs,
                momentum=0.9 if photographs else 0.0,
                weight_decay=1e-4 if photographs else 0.0,
                augment="crop-flip" if photographs else "none",
                precision=asked.precision,
            )
            if asked.device != "cpu":
                torch.cuda.reset_peak_memory_stats()
            alone, evaluated = engine_seconds(run, models, asked.device)
            n = len(load(run.dataset, run.train_size).train.y)
            usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            rows.append(
                {
                    "model": name,
                    "M": models,
                    "seconds_per_epoch": evaluated,
                    "seconds_training_only": alone,
                    "ratio_to_reference": whole / evaluated,
                    "ratio_training_only": trained / alone,
                    "share_of_floor": floor.FLOPS[name] * n / alone / matrix,
                    "peak_bytes": usage if asked.device == "cpu" else torch.cuda.max_memory_allocated(),
                }
            )
            shown = rows[-1]
            print(
                f"M = {models:2d}: {evaluated:.3f} s a model-epoch, {shown['ratio_to_reference']:.1f}x the reference, "
                f"{shown['ratio_training_only']:.1f}x in training, {shown['share_of_floor']:.0%} of the matrix rate"
            )
    machine = describe(" ".join(["python", *sys.argv]))
    device = torch.cuda.get_device_name() if asked.device != "cpu" else "cpu"
    machine |= {"device": device, "threads": asked.threads, "matrix_flops": matrix, "copy_bytes": copy}
    if asked.json:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
