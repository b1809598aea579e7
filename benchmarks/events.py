"""What events within a training cost: CPU time of a training with filter events, against the same without them.

    uv run python benchmarks/events.py --rounds 5

A small convnet on digits, filters of the last four convolutions removed every fourth epoch, test accuracy measured
before and after each event: most of the cost, so that it depends on how large the test set is beside the training set,
here 500 and 1,297 examples. Both are trained in turns within one run; the ratio is of the shortest of each.
"""

import argparse
import json
import time
from dataclasses import replace

import torch

from sddcli.data import load
from sddcli.spec import Run
from sddcli.stages import pruning, setting, training

RAMP = "period=4ep:start=2:end=28:share=0.5:layers=4"
EVENTS = Run(
    "digits", "convnet:width=8", criterion="l2-norm", retraining=f"events:{RAMP}", unit="filter", rate=0.2,
    level=1, epochs=40, batch_size=50, optimizer="adam", lr=1e-3, eval_every=5,
)  # fmt: skip


def seconds(run: Run) -> tuple[float, int]:
    """CPU time of one training, and how many events it had."""
    data = load(run.dataset, run.train_size, run.validation)
    model = setting.model_of(run, data)
    start = setting.fresh(run.root, model)
    begun, events = training.beginning(run, model, data, start, pruning.full_masks(model, start)), 0
    began = time.process_time()
    for now in training.train([run], model, data, [begun], [start]):
        events += len(now.events)
    return time.process_time() - began, events


def main() -> None:
    """Prints the shortest times, their ratio, and the cost of an event in epochs, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    dense = replace(EVENTS, level=0)
    seconds(dense)  # what is loaded once
    times = [(seconds(EVENTS), seconds(dense)) for _ in range(rounds)]
    eventful, plain = (min(each[k][0] for each in times) for k in (0, 1))
    events = times[0][0][1]
    said = {"seconds with events": round(eventful, 3), "without": round(plain, 3), "events": events, "rounds": rounds}
    said |= {
        "ratio": round(eventful / plain, 3),
        "epochs an event": round((eventful / plain - 1) * dense.epochs / events, 3),
    }
    print(json.dumps(said, indent=1))


if __name__ == "__main__":
    main()
