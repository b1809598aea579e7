"""Commands that check and compare: doctor, compare."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sddcli import resolve
from sddcli.cli.completing import of_field, of_runs
from sddcli.cli.options import DEFAULT_RUNS, DataDir, Debug, Device, Json, Writes, data_in
from sddcli.core.words import UsageError, printable
from sddcli.launchers import machine
from sddcli.metrics import METRICS, metric_of
from sddcli.spec import FIELDS, Run
from sddcli.store import Manifest, Store, StoreError

if TYPE_CHECKING:
    from sddcli.recipes.health import Check

LEAST_FREE = 10**9
"""Bytes on the disk below which runs may soon not be saved."""
RunFolder = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="Folder of a run: runs/CHAIN or runs/CHAIN/level-07.", autocompletion=of_runs),
]


def doctor(
    runs: Writes = DEFAULT_RUNS,
    dataset: Annotated[
        str,
        typer.Option(
            "--data", metavar="DATASET", help="Read this data set whole, too.", autocompletion=of_field("dataset")
        ),
    ] = "",
    device: Device = "auto",
    data_dir: DataDir = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check whether everything that training needs works here.

    Looks at libraries and whether they fit, the device, the data, the disk, the right to write, and how fast 21
    steps are. Exit code 1 says that something is wrong.

    Example: sdd doctor --data digits
    """
    from sddcli.recipes import health, planning

    data_in(data_dir)
    machine.one_thread()
    python = health.Check("python", True, ", ".join(f"{k} {v}" for k, v in machine.here()["versions"].items()))
    where = health.Check("machine", True, f"{machine.here()['machine']}, {machine.processor()}")
    (usual,) = resolve.runs({"seed": "0", "level": "0", "noise": "0", "epochs": "1"}, [])
    checks = [python, where, *_disk(runs), *health.checks(planning.device_of(device), usual, dataset)]
    if as_json:
        print(json.dumps([check._asdict() for check in checks], indent=1))
    else:
        for check in checks:
            print(f"{'ok   ' if check.fine else 'WRONG'}  {check.name}: {check.says}")
    if not all(check.fine for check in checks):
        raise SystemExit(1)


def _disk(runs: Path) -> "list[Check]":
    """Whether there is room for runs, and the right to write them."""
    from sddcli.recipes.health import Check

    nearest = next(folder for folder in (runs.absolute(), *runs.absolute().parents) if folder.exists())
    free, may = shutil.disk_usage(nearest).free, nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    return [
        Check("disk", free > LEAST_FREE, f"{free / 1e9:.1f} GB free for {runs}"),
        Check(
            "right to write", may, f"{nearest} can be written to" if may else f"{nearest} cannot; --runs DIR: another"
        ),
    ]


def compare(a: RunFolder, b: RunFolder, as_json: Json = False, debug: Debug = False) -> None:
    """Compare two runs: what they differ in, and what came of it.

    Shows the settings that differ, the numbers of both, where they were made, and how many weights both keep.

    Example: sdd compare runs/RUN/level-03 runs/RUN/level-07
    """
    (store, first, one), (other, second, two) = _finished(a), _finished(b)
    settings = {n: (getattr(first, n), getattr(second, n)) for n in FIELDS if getattr(first, n) != getattr(second, n)}
    numbers = {name: (one["metrics"].get(name), two["metrics"].get(name)) for name in METRICS}
    numbers = {name: pair for name, pair in numbers.items() if pair[0] is not None and pair[1] is not None}
    origin = {
        name: (_origin(one, name), _origin(two, name)) for name in ("machine", "device", "commit", "torch", "data")
    }
    origin = {name: pair for name, pair in origin.items() if pair[0] != pair[1]}
    masks = _kept(store, first, other, second)
    if as_json:
        print(json.dumps({"settings": settings, "numbers": numbers, "made by": origin, "masks": masks}, indent=1))
        return
    _print("differs in", {name: tuple(map(str, pair)) for name, pair in settings.items()})
    _print("numbers", {name: _cells(name, *pair) for name, pair in numbers.items()})
    _print("made by", origin)
    if masks:
        print(f"weights kept: {masks['a']} and {masks['b']}, {masks['both']} of them in both")


def _finished(folder: Path) -> tuple[Store, Run, Manifest]:
    store, run = Store.holding(folder)
    manifest = store.manifest(run)
    if manifest is None or manifest["stage"] != "trained":
        raise UsageError(f"{folder} is not finished; first: sdd retrain {folder}")
    return store, run, manifest


def _origin(manifest: Manifest, name: str) -> str:
    known = {
        **manifest,
        "torch": (manifest.get("versions") or {}).get("torch"),
        "data": manifest["data"]["sha256"][:12],
    }
    return printable(str(known.get(name) or "unknown"))


def _kept(store: Store, first: Run, other: Store, second: Run) -> dict[str, int]:
    """How many weights each keeps, and how many both; {} of other networks, and where files are gone."""
    try:
        masks = store.masks(first), other.masks(second)
    except StoreError:
        return {}
    if {name: mask.shape for name, mask in masks[0].items()} != {name: mask.shape for name, mask in masks[1].items()}:
        return {}
    counts = [sum(int(mask.sum()) for mask in each.values()) for each in masks]
    return {"a": counts[0], "b": counts[1], "both": sum(int((m & masks[1][n]).sum()) for n, m in masks[0].items())}


def _cells(name: str, a: Any, b: Any) -> tuple[str, ...]:
    """Both numbers and what the second has more."""
    share = metric_of(name).unit == "share"
    form, times = ("{:.2f}%", 100) if share else ("{:g}", 1)
    return form.format(times * a), form.format(times * b), f"{times * (b - a):+.4g}{' points' if share else ''}"


def _print(title: str, rows: Mapping[str, tuple[str, ...]]) -> None:
    """Rows below a title, in columns as wide as their words."""
    if not rows:
        return
    print(f"{title}:")
    wide = [max(len(row[k]) for row in rows.values()) for k in range(len(next(iter(rows.values()))))]
    names = max(map(len, rows))
    for name, row in rows.items():
        cells = "  ".join(cell.rjust(width) for cell, width in zip(row, wide, strict=True))
        print(f"  {name.replace('_', ' '):<{names}}  {cells}")
