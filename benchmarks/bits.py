"""Whether the code that trains has the same bits as that of another commit: sweeps of many kinds, made by both.

    uv run python benchmarks/bits.py COMMIT [--only adam,gradual]

Weights, masks, histories and fitted labels must agree byte for byte. A kind of run that the other commit does not have
is left out and named. Where all kinds of fully connected networks agree, or all but bf16, records of these in single
precision that the other commit's engine made are still today's: add it to `SAME_BITS` in sddcli/launchers/machine.py.
Where those of convolutional networks agree too, add it to `SAME_BITS_OF_CONVNETS` as well. Where bits change on
purpose, empty the list concerned.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from sddcli.launchers import machine

BASE = "--levels 0-3 --seeds 0,1 --epochs 4 --set eval_every=2 --workers 1"
CONVNET = "--model convnet:width=4 --train-size 300 --batch-size 50"
KINDS = {
    "digits": "--rewind 3it",
    "adam": "--optimizer adam --lr 0.001 --criterion gradient",
    "decay": "--set weight_decay=1e-3 --noise-kind pairflip --criterion random --scope layer",
    "two-sizes": "--model lenet-100-60 --noise 0,0.2",
    "convnet": CONVNET,
    "resnet": "--model resnet18:width=4 --train-size 120 --batch-size 40 --levels 0-1 --epochs 2",
    "retrainings": "--retraining finetune,lr-rewind,scratch,reinit,shuffle,redense --rewind 3it",
    "starts": "--retraining permute,freeze,lottery-finetune,cyclic",
    "at-initialization": "--criterion snip,grasp,synflow:rounds=5 --levels 1-2",
    "scopes": "--scope erk,uniform-plus,balanced --criterion lamp,random",
    "units": f"{CONVNET} --unit filter --levels 0-2",
    "events": f"{CONVNET} --unit filter --levels 2,4 --retraining events:period=1ep:layers=3:batches=4",
    "gradual": "--retraining gradual --levels 2,4",
    "moving": "--retraining static,set:every=3it,rigl:every=3it --levels 2,4",
    "supermask": "--retraining supermask --levels 2,4",
    "masks-learned": "--retraining supermask:rescale=yes,edge-popup --start constant --levels 2,4",
    "taught": "--loss distill:teacher=2 --levels 1,3",
    "masks-alone": "--retraining mask-only --levels 1-2",
    "bf16": "--precision bf16",
    "convnet-bf16": f"{CONVNET} --precision bf16",
}
COMPARED = (".safetensors", ".csv")


def contents(root: Path) -> dict[str, str]:
    """Path -> hash of what training made. Names of runs are by their content, so equal runs have equal paths."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.suffix in COMPARED and path.name != "results.csv" and path.name[0] != "."
    }


def run(tree: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Python with the package of `tree`."""
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *arguments], env=environment, cwd=tree, capture_output=True, text=True)


def engine(tree: Path) -> str:
    """The fingerprint of the code that trains there."""
    return run(tree, "-c", "from sddcli.launchers import machine; print(machine.engine())").stdout.strip()


def made(tree: Path, kind: str, folder: Path) -> dict[str, str] | str:
    """What the sweep of a kind makes by that tree's code, or its refusal."""
    words = f"sweep {BASE} {KINDS[kind]} --runs {folder}".split()
    done = run(tree, "-m", "sddcli", *_last_of_each(words))
    return contents(folder) if not done.returncode else done.stderr.strip().splitlines()[-1]


def _last_of_each(words: list[str]) -> list[str]:
    """Options of a kind take the place of those of all kinds: an option said twice is refused."""
    options: dict[str, str] = {}
    sets = []
    for name, value in zip(words[1::2], words[2::2], strict=True):
        if name == "--set":
            sets += [name, value]
        else:
            options[name] = value
    return [words[0], *(word for pair in options.items() for word in pair), *sets]


def main() -> None:
    """Makes the sweeps by both trees and says which kinds agree; exit code 1 where one does not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="the other commit, e.g. HEAD~1")
    parser.add_argument("--only", default=",".join(KINDS), help="kinds of runs, separated by commas")
    given = parser.parse_args()
    here, equal = Path(__file__).resolve().parent.parent, dict[str, bool]()
    with tempfile.TemporaryDirectory() as temporary:
        other = Path(temporary) / "tree"
        git = ["git", "-C", str(here), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(other), given.commit], check=True)
        try:
            engines = engine(here), engine(other)
            for kind in given.only.split(","):
                ours, theirs = (
                    made(tree, kind, Path(temporary) / f"{kind}-{name}")
                    for tree, name in ((here, "here"), (other, "other"))
                )
                if isinstance(ours, str):
                    raise SystemExit(f"{kind} failed here: {ours}")
                if isinstance(theirs, str):
                    print(f"{kind}: left out, the other commit says: {theirs}", flush=True)
                    continue
                differing = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
                family = "fully connected" if _fully_connected(kind) else "convolutional"
                equal[family] = equal.get(family, True) and not differing
                print(f"{kind}: {len(ours)} files, {len(differing)} differ {differing[:1] or ''}", flush=True)
        finally:
            subprocess.run([*git, "remove", "--force", str(other)], check=True)
    print(f"engine {engines[0]} here, {engines[1]} at {given.commit}")
    for family, same in equal.items():
        print(f"{family} networks: {'same bits' if same else 'OTHER BITS'}")
    raise SystemExit(not all(equal.values()))


def _fully_connected(kind: str) -> bool:
    words = KINDS[kind].split()
    return machine.fully_connected(words[words.index("--model") + 1] if "--model" in words else "lenet-300-100")


if __name__ == "__main__":
    main()
