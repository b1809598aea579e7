"""Compares `sdd sweep --levels auto` with the full sweep: the share of its epochs that it takes, valley and peak.

    python3 benchmarks/auto_levels.py --runs DIR --json benchmarks/results/auto-levels-digits.json

Each case is a pruning, a noise and five seeds of the digits' protocol, each sweep in a folder of its own. Epochs are
those that the histories of finished runs end with; valley and peak are the levels that `sdd analyze double-descent`
says. Then, without training, the rule of iterative chains is replayed on the stored curves of each noise's ten seeds,
for all choices of five of them, and of the two among these that come first; beside it, how often two halves of the ten
agree on both.
"""

import argparse
import json
import shutil
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from sddcli import auto, judging, table
from sddcli.launchers.machine import describe
from sddcli.store import Store
from sddcli.verdicts import double_descent

CASES = [(pruning, noise, seeds) for pruning, noises in (("iterative", ("0.4", "0.2", "0.6")), ("one-shot", ("0.4",)))
         for noise in noises for seeds in ("0-4", "5-9")]  # fmt: skip


def swept(root: Path, words: list[str]) -> dict[str, Any]:
    """Valley, peak, number of seeds and verdict of a sweep in a folder of its own, and the epochs that it trained."""
    sdd = [sys.executable, "-m", "sddcli"]
    subprocess.run([*sdd, "sweep", "--workers", "1", "--runs", str(root), *words], check=True, capture_output=True)
    said = subprocess.run([*sdd, "analyze", "double-descent", str(root), "--json"], check=True, capture_output=True)
    (verdict,) = json.loads(said.stdout)
    store = Store(root)
    found = [int(store.history(run)[-1]["epoch"]) for run, _ in store.manifests()]
    return {name: verdict[name] for name in ("valley", "peak", "n", "double_descent")} | {
        "runs": len(found),
        "epochs": sum(found),
    }


def near(full: dict[str, Any], found: dict[str, Any]) -> bool:
    """Whether valley and peak agree within a level."""
    return all(abs(full[place] - found[place]) <= 1 for place in ("valley", "peak"))


def replayed(test: np.ndarray) -> dict[str, Any]:
    """What the rule finds on (10, K) stored curves, for all choices of five seeds, each two of which come first."""
    levels, good, shares = test.shape[1], [], []
    density = 0.8 ** np.arange(float(levels))
    for five in combinations(range(len(test)), 5):
        full = double_descent.turning_points(double_descent.smoothed(test[list(five)].mean(0), density))
        for first in five:
            for second in set(five) - {first}:
                order = [first, second, *(set(five) - {first, second})]
                found, share = chosen(test[order], density)
                good.append(max(abs(full[k] - found[k]) for k in (0, 1)) <= 1)
                shares.append(share)
    found = {"choices": len(good), "within one": round(float(np.mean(good)), 4), "largest share": max(shares)}
    return found | {"halves within one": halves(test, density, 1), "halves within two": halves(test, density, 2)}


def halves(test: np.ndarray, density: np.ndarray, most: int) -> float:
    """In which share of splits into two halves valley and peak of (10, K) curves differ by so many levels at most."""
    seeds, near = set(range(len(test))), []
    for half in combinations(seeds, len(test) // 2):
        a, b = (
            double_descent.turning_points(double_descent.smoothed(test[list(each)].mean(0), density))
            for each in (half, seeds - set(half))
        )
        near.append(max(abs(a[k] - b[k]) for k in (0, 1)) <= most)
    return round(float(np.mean(near)), 4)


def chosen(test: np.ndarray, density: np.ndarray) -> tuple[tuple[int, int], float]:
    """The valley and peak that the rule finds on (S, K) curves, and the share of trainings that it takes."""
    seeds, levels = test.shape
    curves: list[auto.Curve] = [{} for _ in range(seeds)]
    room = auto.budget(seeds, levels - 1)
    while more := auto._iterative(curves, levels - 1, 0.2, room):
        room -= len(more)
        for k, level in more:
            curves[k][level] = float(test[k, level])
    begun = [curve for curve in curves if curve]
    shared = min(map(len, begun))
    mean = test[: len(begun), :shared].mean(0)
    found = double_descent.turning_points(double_descent.smoothed(mean, density[:shared]))
    return found, round(sum(map(len, begun)) / test.size, 4)


def main() -> int:
    """Sweeps, compares, writes; 0 where valley and peak of the first case agree within one level."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="full sweeps in it are not made again")
    parser.add_argument("--cases", type=int, default=len(CASES), help="only so many of the cases")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rows, tests = [], dict[str, list[np.ndarray]]()
    for pruning, noise, seeds in CASES[: asked.cases]:
        words, root = (
            ["--pruning", pruning, "--noise", noise, "--seeds", seeds],
            asked.runs / f"{pruning}-noise-{noise}-seeds-{seeds}",
        )
        full = swept(root / "full", words)
        shutil.rmtree(root / "auto", ignore_errors=True)
        found = swept(root / "auto", [*words, "--levels", "auto"])
        share = round(found["epochs"] / full["epochs"], 4)
        facts = {"pruning": pruning, "noise": noise, "seeds": seeds, "full": full, "auto": found}
        rows.append({**facts, "share": share, "within one": near(full, found)})
        print(json.dumps(rows[-1]), flush=True)
        if pruning == "iterative":
            tests.setdefault(noise, []).extend(curve.test for curve in judging.curves(table.read(root / "full")))
    replays = {noise: replayed(np.concatenate(found)) for noise, found in tests.items() if len(found) == 2}
    print(json.dumps(replays))
    if asked.json:
        facts = describe("python3 benchmarks/auto_levels.py")
        asked.json.write_text(json.dumps({"cases": rows, "replayed": replays, **facts}, indent=1) + "\n")
    return 0 if rows[0]["within one"] else 1


if __name__ == "__main__":
    sys.exit(main())
