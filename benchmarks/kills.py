"""Kills a sweep of the digits at random moments, again and again, and shows that nothing was lost.

    uv run python benchmarks/kills.py --kills 100 --json docs/evidence/kills.json

Every kill is SIGKILL, to the sweep or to one of its workers, while runs are being trained and saved after each
epoch; the same command then goes on. At the end weights, histories and results.csv must be those of a sweep that
was never killed, byte for byte, and no finished run may have been written again. --kind names another kind of run than
those of the lottery.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

SHORT = "--seeds 0,1 --workers 1 --epochs 50 --set eval_every=5"
KINDS = {
    "lottery": "--levels 0-8 --seeds 0-3 --epochs 20 --set eval_every=5 --rewind 3it",
    "supermask": f"{SHORT} --levels 1-2 --retraining supermask:rescale=yes --start constant",
    "edge-popup": f"{SHORT} --levels 1-2 --retraining edge-popup",
    "set": f"{SHORT} --levels 2-3 --retraining set:every=13it",
    "rigl": f"{SHORT} --levels 2-3 --retraining rigl:every=13it --scope erk",
    "events": f"{SHORT} --levels 1-2 --retraining events:period=3ep:batches=40:end=0.9 --unit neuron",
    "distill": f"{SHORT} --levels 1-2 --loss distill:teacher=1",
    "take": f"{SHORT} --levels 0-2 --take validation --validation 0.2 --dropout 0.2",
}
"""The sweep of each kind of run."""


def contents(root: Path) -> dict[str, str]:
    """Path -> hash of all that sweeps must agree in: manifests hold times, and what was asked for the folder's name."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "manifest.json" and path.parent.name != "sweeps" and path.name[0] != "."
    }


def start(root: Path, kind: str) -> "subprocess.Popen[bytes]":
    """The sweep, as a process."""
    command = [sys.executable, "-m", "sddcli", "sweep", *KINDS[kind].split(), "--runs", str(root)]
    command += ["--checkpoint-every", "0"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def saved(root: Path) -> float:
    """When a run was last saved, in its middle or at its end."""
    files = [path for name in ("checkpoint.json", "weights.safetensors") for path in root.rglob(name)]
    times = []
    for path in files:
        with suppress(FileNotFoundError):  # of a run that has just ended
            times.append(path.stat().st_mtime)
    return max(times, default=0.0)


def workers(process: "subprocess.Popen[bytes]") -> list[int]:
    """The processes that train; the other child is multiprocessing's tracker of resources."""
    found = subprocess.run(["pgrep", "-f", "-P", str(process.pid), "spawn_main"], capture_output=True, text=True)
    return [int(pid) for pid in found.stdout.split()]


def stamps(root: Path) -> dict[Path, int]:
    """When the weights of each finished run were written, in nanoseconds."""
    finished = {}
    for path in root.rglob("manifest.json"):
        if json.loads(path.read_text())["stage"] == "trained":
            weights = path.parent / "weights.safetensors"
            finished[weights] = weights.stat().st_mtime_ns
    return finished


def main() -> int:
    """Kills, goes on, compares; 0 where nothing differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--kind", choices=KINDS, default="lottery")
    asked = parser.parse_args()
    draw, kills, inside, of_workers = random.Random(asked.seed), 0, 0, 0
    finished: dict[Path, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        whole, root = Path(folder) / "whole", Path(folder) / "killed"
        began = time.perf_counter()
        assert start(whole, asked.kind).wait() == 0
        seconds, began = time.perf_counter() - began, time.perf_counter()
        while kills < asked.kills:
            before, process = saved(root), start(root, asked.kind)
            while process.poll() is None and saved(root) <= before:
                time.sleep(0.005)
            time.sleep(draw.random() * 0.25)
            crew = workers(process)
            if process.poll() is not None:
                break
            inside += any(root.rglob("checkpoint.json"))
            if crew and draw.random() < 0.2:
                with suppress(ProcessLookupError):  # it has just ended by itself
                    os.kill(draw.choice(crew), signal.SIGKILL)
                of_workers += 1
                time.sleep(0.05)
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            now = stamps(root)
            assert all(now.get(path) == then for path, then in finished.items()), (
                "a finished run was lost or made again"
            )
            finished = now
        assert kills == asked.kills, f"it was done after {kills} kills: make the sweep longer"
        assert start(root, asked.kind).wait() == 0
        now = stamps(root)
        assert all(now[path] == then for path, then in finished.items()), "a finished run was made again"
        one, other = contents(root), contents(whole)
        differing = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
        for name in differing:
            print(f"differs: {name}", file=sys.stderr)
        same = not differing
        said = {
            "kills": kills,
            "with a run saved in its middle": inside,
            "of a worker first": of_workers,
            "runs": len(now),
            "finished runs before the last go": len(finished),
            "bit-identical": same,
            "seconds": round(time.perf_counter() - began),
            "seconds without kills": round(seconds),
            "sweep": KINDS[asked.kind],
        }
    print(json.dumps(said, indent=1))
    if asked.json:
        asked.json.write_text(json.dumps(said, indent=1) + "\n")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
