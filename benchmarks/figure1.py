"""Figure 1 of He et al. (2022) on photographs: runs as much of it as time allows, and lays it over the paper's curve.

    python3 benchmarks/figure1.py --photographs DIR --reference FILE.csv --out DIR --seconds 540 -- --levels 0-25 ...

What follows `--` goes to `sdd sweep`. The sweep is stopped when the time is over, and the same command goes on with
it. Written to --out: figure1.csv (results), figure1.png (ours, with the paper's points), and a short table on screen.
DIR is CIFAR-10 as images: where it is a JPEG copy, accuracies differ from those on the original bytes.
"""

import argparse
import signal
import subprocess
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import pandas as pd
from matplotlib import pyplot as plt

from sddcli import table
from sddcli.plots import style
from sddcli.spec import FIELDS
from sddcli.store import Store, StoreError


def overlay(frame: pd.DataFrame, reference: pd.DataFrame, source: str) -> "plt.Figure":
    """Our mean over seeds as lines, the paper's points, read off its figure, as crosses."""
    summary = style.placed(table.summary(frame), "sparsity")
    with style.panels(height=3.3) as (figure, (ax,)):
        for column, colour, line in (("test_accuracy", "#0072B2", "-"), ("train_accuracy", "#D55E00", "--")):
            style.band(ax, summary, column, color=colour, linestyle=line)
            points = style.placed(reference.dropna(subset=column), "sparsity")
            ax.plot(points["x"], points[column], "x", color=colour, markersize=4)
        style.x_axis(ax, summary, "sparsity")
        style.percent_axis(ax, "accuracy, last epoch")
        entries = [("test, ours", "#0072B2", "-"), ("train, ours", "#D55E00", "--"), ("x: the paper's", "white", "-")]
        style.legend(figure, entries)
        epochs = ", ".join(str(value) for value in sorted(frame["epochs"].unique()))
        style.headline(ax, f"{table.title(frame)}, {epochs} epochs, {source}", summary)
    return figure


def main() -> None:
    """Sweeps, then draws and prints what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/figure1"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=540.0)
    parser.add_argument("--source", default="a JPEG copy of CIFAR-10")
    parser.add_argument("sweep", nargs="*", help="after --: words for sdd sweep")
    asked = parser.parse_args()
    words = ["--dataset", f"folder:{asked.photographs}", "--noise", "0.2", "--protocol", "quick", *asked.sweep]
    command = [sys.executable, "-m", "sddcli", "sweep", *words, "--runs", str(asked.runs)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as sweep:
        try:
            sweep.wait(asked.seconds)
        except subprocess.TimeoutExpired:
            sweep.send_signal(signal.SIGTERM)
            sweep.wait()
    try:
        frame = table.grown(table.results(Store(asked.runs)))
    except StoreError as error:
        sys.exit(f"nothing is finished yet: {error}")
    reference = pd.read_csv(asked.reference)
    reference = reference[reference["dataset"] == "cifar10"]
    asked.out.mkdir(parents=True, exist_ok=True)
    frame.to_csv(asked.out / "figure1.csv", index=False)
    settings = {name: frame[name].iloc[0] for name in FIELDS if frame[name].nunique() == 1}
    (asked.out / "figure1.png").write_bytes(
        style.rendered(overlay(frame, reference, asked.source), ".png", {"command": command})
    )
    mean = frame.groupby("level")[["sparsity", "test_accuracy", "train_accuracy"]].mean()
    mean["paper's test"] = reference.set_index("level")["test_accuracy"]
    print(mean.round(3).to_string())
    print(
        {name: settings[name] for name in ("model", "epochs", "precision", "augment", "train_size") if name in settings}
    )


if __name__ == "__main__":
    main()
