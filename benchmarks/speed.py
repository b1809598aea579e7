"""How fast: our engine beside the conventional loop and the machine's limits, all measured in one run.

    uv run python benchmarks/speed.py --models lenet-300-100 --data-dir DIR --json benchmarks/results/FILE.json
    uv run python benchmarks/speed.py --models digits --side-by-side 1,2,4,8,16 --epochs 60 --json FILE
    uv run python benchmarks/speed.py --models lenet-300-100 --processes 2 --data-dir DIR --json FILE
    uv run python benchmarks/speed.py --models resnet18 --photographs DIR --device cuda --precision bf16 --json FILE

DIR holds MNIST in torchvision's layout, or images as train/CLASS and test/CLASS; `digits` are LeNet-300-100 on the
digits that ship with scikit-learn, which have no conventional loop beside them. Ratios are the claim, not seconds:
`ratio_to_reference` with accuracies on training and test set after each epoch on both sides, `ratio_training_only`
without, `share_of_floor` of the measured rate of a large matrix product, `ratio_to_one_by_one` of the first M of
--side-by-side, 1 if not said otherwise, to this one. All are per model-epoch: with --processes P, each with M models of
its own, one takes a P * M-th of the slowest process's epoch, and the matrix rate is the sum of P measured at once.
`ratio_to_one_after_another`, on CPUs, is of the whole machine: of one model in one process, by one thread or by as many
as there are cores, whichever is faster, to P * M models at once.
Everything is measured --repeats times, one thing after the other; the shortest times count.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
import floor
import reference

from sddcli.core.types import Lesson, Model
from sddcli.data import load
from sddcli.launchers.machine import describe
from sddcli.spec import Run
from sddcli.stages import pruning, setting, training

Meet = Callable[[], object]
"""Waits until all processes are here."""


def engine_seconds(
    run: Run, models: int, device: str, compiled: bool, meet: Meet
) -> tuple[list[float], list[float], int]:
    """Seconds of each epoch of `models` models side by side, not evaluated and evaluated; the most bytes used."""
    plain, lesson = setting.forward_of, setting.lesson_of
    if compiled:  # the network alone: within it nothing may come from the CPU
        faster = cache(torch.compile)
        setting.forward_of = lambda model, data: plain(replace(model, forward=faster(model.forward)), data)
        setting.lesson_of = lambda run, model, data: compiled_slopes(model, lesson(run, model, data))
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    trained = each_epoch(replace(run, eval_every=run.epochs + 1), models, device, meet)
    evaluated = each_epoch(replace(run, eval_every=1), models, device, meet)
    setting.forward_of, setting.lesson_of = plain, lesson
    peak = torch.cuda.max_memory_allocated() if device != "cpu" else 0
    return trained, evaluated, peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def compiled_slopes(model: Model, lesson: Lesson) -> Lesson:
    """A lesson whose gradient is written out, compiled."""
    return (lambda *tensors: torch.compile(lesson(*tensors))) if model.slopes else lesson


def each_epoch(
    run: Run, models: int, device: str, meet: Meet, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Seconds of each epoch but the last, which is always evaluated."""
    data = load(run.dataset, run.train_size, 0.0, device)
    model = setting.model_of(run, data)
    runs = [replace(run, seed=seed) for seed in range(models)]
    starts = [setting.fresh(each, model) for each in runs]
    begun = [
        training.beginning(each, model, data, start, pruning.full_masks(model, start))
        for each, start in zip(runs, starts, strict=True)
    ]
    epochs = training.train(runs, model, data, begun, starts)
    seconds = []
    for _ in range(run.epochs - 1):
        meet()
        began = clock()
        next(epochs)
        wait(device)
        seconds.append(clock() - began)
    return seconds


def matrix_rate(device: str, precision: str, meet: Meet) -> float:
    """FLOP per second of a large matrix product."""
    meet()
    return floor.rate(device, precision)


def wait(device: str) -> None:
    """Until the device is done."""
    if device != "cpu":
        torch.cuda.synchronize()


def quiet(threads: int) -> None:
    """Settings of a process that computes."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.backends.cudnn.benchmark = True


def at_once(processes: int, threads: int, work: Callable[..., Any], *words: object) -> list[Any]:
    """What `work(*words, meet)` gives in each of so many processes; in this one if it is to be alone."""
    quiet(threads)
    if processes == 1:
        return [work(*words, lambda: None)]
    context = get_context("spawn")
    barrier, found = context.Barrier(processes, timeout=600), context.Queue()
    jobs = [context.Process(target=apart, args=(found, barrier, threads, work, words)) for _ in range(processes)]
    for job in jobs:
        job.start()
    results = [found.get(timeout=3600) for _ in jobs]
    for job in jobs:
        job.join()
    for found_wrong in (each for each in results if isinstance(each, str)):
        raise RuntimeError(found_wrong)
    return results


def apart(found: Any, barrier: Any, threads: int, work: Callable[..., Any], words: tuple[object, ...]) -> None:
    """One of several processes: works, and says what it found."""
    quiet(threads)
    try:
        found.put(work(*words, barrier.wait))
    except BaseException as error:
        barrier.abort()  # the others wait for this one
        found.put(f"{type(error).__name__}: {error}")
        raise


def in_turns(ways: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Seconds that each way takes, each time in a process of its own; the ways take turns, to and fro."""
    turns: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(repeats):
        for way in list(ways)[:: -1 if turn % 2 else 1]:
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                turns[way].append(pool.submit(ways[way]).result())
    return turns


def epoch_seconds(found: list[tuple[list[float], list[float], int]], models: int) -> tuple[float, float]:
    """Seconds of a model-epoch: training alone, and with both evaluations. The first epoch warms up."""
    slowest = [[max(each) for each in zip(*(part[kind] for part in found), strict=True)] for kind in (0, 1)]
    trained, evaluated = (min(seconds[1:]) / models / len(found) for seconds in slowest)
    return trained, evaluated


def run_of(name: str, asked: argparse.Namespace) -> Run:
    """What is trained under the name of a network, or `digits`."""
    common: dict[str, Any] = {"noise": 0.2, "train_size": asked.train_size, "precision": asked.precision}
    common |= {"epochs": asked.epochs + 1}
    if name == "digits":
        return Run("digits", "lenet-300-100", batch_size=64, momentum=0.9, **common)
    if name == "lenet-300-100":
        return Run("mnist", name, **common)
    photographs = f"folder:{asked.photographs}"
    return Run(photographs, name, momentum=0.9, weight_decay=1e-4, augment="crop-flip", **common)


def measured(name: str, asked: argparse.Namespace, threads: int) -> list[dict[str, Any]]:
    """A row for each number of models side by side."""
    run, sides = run_of(name, asked), [int(models) for models in asked.side_by_side.split(",")]
    n = len(load(run.dataset, run.train_size).train.y)
    matrix, theirs = 0.0, []
    ours: dict[int, list[tuple[float, float]]] = {models: [] for models in sides}
    peaks = dict.fromkeys(sides, 0)
    alone: list[tuple[float, float]] = []
    for _ in range(asked.repeats):
        rates = at_once(asked.processes, asked.threads, matrix_rate, asked.device, asked.precision)
        matrix = max(matrix, sum(rates))
        if name in reference.CASES:
            torch.set_num_threads(threads)
            torch.set_flush_denormal(False)
            folder = asked.data_dir if name == "lenet-300-100" else asked.photographs
            theirs.append(reference.epoch_seconds(name, folder, asked.device, asked.train_size))
        for count in {1, threads} if asked.device == "cpu" else ():
            found = at_once(1, count, engine_seconds, run, 1, asked.device, asked.compile)
            alone.append(epoch_seconds(found, 1))
        for models in sides:
            found = at_once(asked.processes, asked.threads, engine_seconds, run, models, asked.device, asked.compile)
            ours[models].append(epoch_seconds(found, models))
            peaks[models] = max(peaks[models], sum(peak for *_, peak in found))
    best = {models: tuple(map(min, zip(*times, strict=True))) for models, times in ours.items()}
    rows = []
    for models, (trained, whole) in best.items():
        row = {"model": name, "M": models, "processes": asked.processes, "compiled": asked.compile}
        row |= {"seconds_per_epoch": whole, "seconds_training_only": trained}
        if theirs:
            plain, evaluated = map(min, zip(*theirs, strict=True))
            row |= {"ratio_to_reference": evaluated / whole, "ratio_training_only": plain / trained}
        row["ratio_to_one_by_one"] = best[sides[0]][1] / whole
        if alone:
            plain, evaluated = map(min, zip(*alone, strict=True))
            row |= {
                "ratio_to_one_after_another": evaluated / whole,
                "ratio_to_one_after_another_training_only": plain / trained,
            }
        row["share_of_floor"] = floor.FLOPS[name] * n / trained / matrix
        rows.append(row | {"matrix_flops": matrix, "peak_bytes": peaks[models]})
    return rows


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="lenet-300-100", help="of: lenet-300-100, digits, resnet18")
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("SDD_DATA", "data")))
    parser.add_argument("--photographs", type=Path, help="for resnet18")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int, default=1, help="of our engine; the reference has torch's own number")
    parser.add_argument("--processes", type=int, default=1, help="of our engine at once")
    parser.add_argument("--compile", action="store_true", help="torch.compile around the network, a trial")
    parser.add_argument("--side-by-side", default="1,2,4,8")
    parser.add_argument("--epochs", type=int, default=4, help="2 or more: the first is not counted")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--train-size", type=int, default=0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    os.environ["SDD_DATA"] = str(asked.data_dir.absolute())
    threads = torch.get_num_threads()
    rows: list[dict[str, Any]] = []
    for name in asked.models.split(","):
        for row in measured(name, asked, threads):
            said = {"reference": "the reference", "one_by_one": "one by one", "one_after_another": "one after another"}
            ratios = [f"{row[f'ratio_to_{key}']:.2f}x {what}" for key, what in said.items() if f"ratio_to_{key}" in row]
            print(
                f"{name}, M = {row['M']:2d}: {row['seconds_per_epoch']:.4f} s a model-epoch, {', '.join(ratios)}, "
                f"{row['share_of_floor']:.0%} of {row['matrix_flops'] / 1e9:.0f} GFLOP/s",
                flush=True,
            )
            rows.append(row)
    machine = describe(" ".join(["python", *sys.argv]))
    device = torch.cuda.get_device_name() if asked.device != "cpu" else "cpu"
    machine |= {"device": device, "threads": asked.threads, "processes": asked.processes}
    machine |= {"matrix_flops": max(row["matrix_flops"] for row in rows), "copy_bytes": floor.bandwidth(asked.device)}
    if asked.json:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
