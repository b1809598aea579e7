"""All that only a GPU can show, part by part, each within its minutes; a short table last.

    python3 benchmarks/gpu.py check --data DIR --out DIR
    python3 benchmarks/gpu.py speed --data DIR --out DIR --minutes 4.5
    python3 benchmarks/gpu.py trials --data DIR --out DIR --minutes 4.5
    python3 benchmarks/gpu.py figure,curve --data DIR --out DIR --minutes 4.5 -- --epochs 16 --levels 0-25

DIR of --data holds `cifar10-jpeg.tar.xz`, CIFAR-10 as train/CLASS and test/CLASS, `reference.csv`, the points of
the paper's figure, and MNIST in torchvision's layout or, packed, as `mnist.tar.xz`.
check: the tests that run on every device, and the same networks by plain steps, by captured ones and on the CPU.
speed: speed.py, LeNet-300-100 and ResNet-18; trials: in several processes, and compiled. figure: LeNet-300-100 on
MNIST by the paper's protocol, 5 seeds and levels 0-25, timed. curve: figure1.py, ResNet-18 in bf16, with the words
after `--`. A part that was stopped goes on where it was, as long as the machine keeps its files. --small tries all
this on a CPU, in minutes and without meaning.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sddcli.core import capture
from sddcli.data import load
from sddcli.spec import Run
from sddcli.stages import pruning, setting, training

HERE = Path(__file__).parent
Row = tuple[str, str]
Part = Callable[[argparse.Namespace], list[Row]]


def unpacked(asked: argparse.Namespace, name: str, inside: str) -> Path:
    """The folder that `inside` lies in, of an archive of --data that is unpacked once."""
    folder: Path = asked.work / name
    if not folder.exists():
        with tarfile.open(asked.data / f"{name}.tar.xz") as archive:
            members = archive.getmembers()[:: 100 if asked.small and name != "mnist" else 1]
            archive.extractall(folder, members, filter="data")
    return next(path.parent for path in sorted(folder.rglob(inside)) if path.is_dir())


def photographs(asked: argparse.Namespace) -> Path:
    """CIFAR-10 as files."""
    return unpacked(asked, "cifar10-jpeg", "train")


def digits(asked: argparse.Namespace) -> Path:
    """MNIST."""
    there: Path = asked.data
    return there if (there / "MNIST").exists() else unpacked(asked, "mnist", "MNIST")


def ran(asked: argparse.Namespace, log: str, *words: object) -> float:
    """Runs Python with these words, within the minutes of a part; returns its seconds, its last lines are shown."""
    began = time.perf_counter()
    with (asked.out / f"{log}.log").open("w") as file:
        process = subprocess.Popen([sys.executable, *map(str, words)], stdout=file, stderr=file, start_new_session=True)
        try:
            code: object = process.wait(60 * asked.minutes)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with the processes that it started: they would keep the GPU
            code = f"stopped, {process.wait()}"
    print(f"--- {log}: {code}\n" + "".join((asked.out / f"{log}.log").read_text().splitlines(keepends=True)[-12:]))
    return time.perf_counter() - began


def ends(run: Run, device: str, captured: bool, seeds: int) -> tuple[dict[str, torch.Tensor], list[float]]:
    """The weights of some seeds together after one epoch, on the CPU, and their test accuracies after the last."""
    replayed = capture.replayed
    capture.replayed = replayed if captured else lambda step: step
    data = load(run.dataset, run.train_size, 0.0, device)
    model = setting.model_of(run, data)
    runs = [replace(run, seed=seed) for seed in range(seeds)]
    starts = [setting.fresh(each, model) for each in runs]
    begun = [
        training.beginning(each, model, data, start, pruning.full_masks(model, start))
        for each, start in zip(runs, starts, strict=True)
    ]
    first, found = {}, []
    for now in training.train(runs, model, data, begun, starts):
        first = first or {name: w.cpu().clone() for name, w in training.network(runs, now.state).items()}
        found = now.metrics or []
    capture.replayed = replayed
    return first, [row["test_accuracy"] for row in found]


def check(asked: argparse.Namespace) -> list[Row]:
    """Tests, then plain steps against captured ones."""
    tests = ["-k", "cuda or precisions", "tests/core", "tests/recipes"]
    ran(asked, "tests", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests)
    common: dict[str, Any] = {"noise": 0.2, "momentum": 0.9, "epochs": 2 if asked.small else 6, "eval_every": 10}
    common |= {"train_size": 200 if asked.small else 2000}
    net = "resnet18:width=4" if asked.small else "resnet18:width=16"
    subjects = {
        "lenet": Run("mnist", "lenet-300-100", batch_size=128, lr=0.05, **common),
        "resnet": Run(f"folder:{photographs(asked)}", net, batch_size=128, augment="crop-flip", **common),
    }
    rows = []
    for name, run in subjects.items():
        plain, accuracies = ends(run, asked.device, False, 4)
        short = replace(run, epochs=1)  # one epoch says whether weights agree; more would take minutes
        kinds = {"on the CPU, one epoch": (short, "cpu", False), "captured": (run, asked.device, asked.device != "cpu")}
        kinds |= {"captured, bf16": (replace(run, precision="bf16"), *kinds["captured"][1:])}
        rows.append((f"{name}, plain steps: test accuracy", " ".join(f"{a:.3f}" for a in accuracies)))
        for kind, words in kinds.items():
            torch.set_num_threads((os.cpu_count() or 1) if words[1] == "cpu" and not asked.small else 1)
            other, theirs = ends(*words, 4)
            apart = max(float((other[key] - w).norm() / w.norm()) for key, w in plain.items() if key.endswith("weight"))
            said = " ".join(f"{a:.3f}" for a in theirs)
            rows.append((f"{name}, {kind}: most that weights differ after an epoch; accuracy", f"{apart:.1e}; {said}"))
    return rows


def speed(asked: argparse.Namespace) -> list[Row]:
    """speed.py, as many models side by side as one process trains."""
    sides = "1" if asked.small else "1,2,4"
    return measured(asked, "lenet", "--side-by-side", "1,5,16,64") + measured(asked, "resnet", "--side-by-side", sides)


def trials(asked: argparse.Namespace) -> list[Row]:
    """The same of ResNet-18 in several processes, and of both by torch.compile; LeNet's products in TF32."""
    rows = measured(asked, "resnet", "--side-by-side", 1, "--processes", 2 if asked.small else 4)
    rows += measured(asked, "resnet", "--side-by-side", 1, "--compile")
    rows += measured(asked, "lenet", "--side-by-side", 5, "--compile")  # as many as the paper's figure has seeds
    return rows + measured(asked, "lenet", "--side-by-side", 5, "--precision", "tf32")


def measured(asked: argparse.Namespace, model: str, *options: object) -> list[Row]:
    """What speed.py says of each M, with these options."""
    name = "-".join(map(str, (model, *options))).replace("--", "").replace(",", "-")
    words = ["--data-dir", digits(asked), "--photographs", photographs(asked), "--device", asked.device, "--repeats", 1]
    words += ["--train-size", 500] if asked.small else []
    words += (
        ["--models", "lenet-300-100", "--epochs", 4] if model == "lenet" else ["--models", "resnet18", "--epochs", 2]
    )
    words += ["--precision", "fp32" if asked.small or model == "lenet" else "bf16"]
    record = asked.out / f"{name}.json"
    ran(asked, name, HERE / "speed.py", *words, *options, "--json", record)
    rows = []
    for row in json.loads(record.read_text())["rows"] if record.exists() else []:
        said = f"{row['seconds_per_epoch']:.3f} s, {row['ratio_to_reference']:.1f}x, {row['share_of_floor']:.0%}"
        rows.append((f"{name}, M = {row['M']}: a model-epoch, times the reference, share of the floor", said))
    return rows


def figure(asked: argparse.Namespace) -> list[Row]:
    """The paper's LeNet figure, timed."""
    words = ["--levels", "0-1", "--seeds", "0,1", "--epochs", 2, "--train-size", 500] if asked.small else []
    words = words or ["--levels", "0-25", "--seeds", "0-4"]
    runs = asked.work / "mnist"
    command = ["-m", "sddcli", "sweep", "--dataset", "mnist", "--noise", 0.2, "--data-dir", digits(asked), *words]
    seconds = ran(asked, "figure", *command, "--device", asked.device, "--runs", runs)
    results = runs / "results.csv"
    if results.exists():
        (asked.out / "mnist-results.csv").write_bytes(results.read_bytes())
    return [("LeNet-300-100 on MNIST, the paper's figure: minutes", f"{seconds / 60:.1f}")]


def curve(asked: argparse.Namespace) -> list[Row]:
    """The paper's ResNet-18 curve, as much of it as time allows."""
    words = ["--levels", "0-1", "--epochs", 2, "--train-size", 200] if asked.small else ["--precision", "bf16"]
    words += ["--model", "resnet18:width=8" if asked.small else "resnet18", *asked.sweep]
    options = ["--photographs", photographs(asked), "--reference", asked.data / "reference.csv", "--out", asked.out]
    options += ["--runs", asked.work / "curve", "--seconds", 60 * asked.minutes - 30]
    seconds = ran(asked, "curve", HERE / "figure1.py", *options, "--", *words, "--device", asked.device)
    return [("ResNet-18, the paper's curve: minutes", f"{seconds / 60:.1f}")]


PARTS: dict[str, Part] = {"check": check, "speed": speed, "trials": trials, "figure": figure, "curve": curve}


def main() -> None:
    """Does the parts and prints their table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", help=f"of: {', '.join(PARTS)}")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/gpu"), help="runs and unpacked images")
    parser.add_argument("--minutes", type=float, default=8.0, help="of each part at most")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("sweep", nargs="*", help="after --: words for the curve's sweep")
    asked = parser.parse_args()
    os.environ["PYTHONPATH"] = str(HERE.parent)
    torch.backends.cudnn.benchmark = True
    torch.set_num_threads(1)
    for folder in (asked.out, asked.work):
        folder.mkdir(parents=True, exist_ok=True)
    os.environ["SDD_DATA"] = str(digits(asked).absolute())
    rows = [("device", torch.cuda.get_device_name() if asked.device != "cpu" else "cpu")]
    for name in asked.parts.split(","):
        began = time.perf_counter()
        rows += PARTS[name](asked)
        rows.append((f"{name}: minutes", f"{(time.perf_counter() - began) / 60:.1f}"))
        text = "\n".join(f"{what:80} {said}" for what, said in rows)
        (asked.out / "table.txt").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
