"""Commands that tell what there is: list, status, logs, verify."""

import json
import sys
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from sddcli import sources
from sddcli.cli import screen
from sddcli.cli.completing import of_runs
from sddcli.cli.options import (
    DEFAULT_RUNS,
    DataDir,
    Debug,
    Folder,
    Json,
    Reads,
    Trust,
    Where,
    data_in,
    leaving_out,
    where_of,
)
from sddcli.cli.progress import spoken_time
from sddcli.core.words import printable, unknown
from sddcli.spec import FIELDS, Run, Value, setting
from sddcli.store import KEEPS, Damaged, Store, StoreError

WATCH_SECONDS = 2.0


def list_runs(runs: Reads = DEFAULT_RUNS, where: Where = [], as_json: Json = False, debug: Debug = False) -> None:
    """List finished runs, their levels and test accuracy.

    There is one line for each chain, which is a dense network and the levels pruned from it.

    Example: sdd list runs/ --where seed=0
    """
    from sddcli import table

    with leaving_out() as damaged:
        frame = table.select(table.read(runs, damaged), where_of(where))
        chains = table.chains(frame)
        if as_json:
            print(chains.to_json(orient="records", indent=1))
        else:
            screen.listing(chains, table.varied(frame), table.title(frame))


def status(
    runs: Folder = DEFAULT_RUNS,
    watch: Annotated[
        bool, typer.Option("--watch", help="Update every two seconds until all runs are finished.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show how far the sweeps of a folder are.

    Counts the runs that are done, running, waiting and failed, and estimates the time left.

    Example: sdd status runs/ --watch
    """
    store = Store(runs)
    with leaving_out() as damaged:
        while True:
            damaged.clear()
            counts = _status(store, damaged)
            if as_json:
                print(json.dumps(counts, indent=1))
            else:
                if watch and sys.stdout.isatty():
                    screen.console().clear()
                _print(counts, runs)
            if not watch or not (counts["waiting"] or counts["running"]):
                return
            time.sleep(WATCH_SECONDS)


def _status(store: Store, damaged: list[StoreError]) -> dict[str, Any]:
    from sddcli import sweeps

    finished = dict(store.manifests(damaged))  # raises where there is no such folder
    now = sweeps.progress(store, sweeps.recorded(store, damaged), finished=finished, also=finished)
    running = [run for run in now.to_make if store.working(run)]
    return {
        "runs": len(now.runs),
        "done": len(finished),
        "running": [_named(store, run) for run in running],
        "waiting": len(now.to_make) - len(running),
        "failed": [{"run": _named(store, run), "reason": failure["reason"]} for run, failure in now.failed.items()],
        "cut off": len(now.cut_off),
        "seconds left on one worker": sweeps.seconds(now.to_make, finished),
    }


def _named(store: Store, run: Run) -> str:
    return str(store.folder(run).relative_to(store.root))


def _print(counts: dict[str, Any], runs: Path) -> None:
    print(
        f"{counts['runs']} runs: {counts['done']} done, {len(counts['running'])} running, {counts['waiting']} waiting"
    )
    seconds = counts["seconds left on one worker"]
    if counts["running"] or counts["waiting"]:
        print(f"left: {'unknown' if seconds is None else 'about ' + spoken_time(seconds)} of work on one worker")
    for name in counts["running"]:
        print(f"running  {name}")
    for each in counts["failed"]:
        print(f"failed   {each['run']}: {each['reason']}")
    if counts["failed"]:
        print(f"{counts['cut off']} runs depend on failed ones. To see why: sdd logs {runs}/RUN")
        print("To try again: the command of the sweep with --retry-failed")


def logs(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="Folder of a run: runs/CHAIN or runs/CHAIN/level-07.", autocompletion=of_runs
        ),
    ],
    debug: Debug = False,
) -> None:
    """Show how one run was trained, and why it failed.

    Example: sdd logs runs/RUN/level-01
    """
    record = _record(folder)
    if record is None and not (folder / "failed.json").exists() and not (folder / "checkpoint.json").exists():
        raise StoreError(f"{folder} is no folder of a run")
    if record:
        store, run, manifest = record
        print(f"{manifest['stage']}: {run.slug} level {run.level}, run {run.id}")
        for name in (
            "command",
            "host",
            "machine",
            "processor",
            "mkl_cbwr",
            "device",
            "commit",
            "seconds",
            "side_by_side",
        ):
            if manifest.get(name) is not None:
                print(printable(f"{name}: {manifest[name]}"))
        print(_settings(store, run))
        if manifest["stage"] == "trained":
            screen.history(store.history(run))
    store = Store(folder.parent)
    failure, saved = store.failure_in(folder), store.checkpoint_step_in(folder)
    if saved is not None:
        print(f"in training: saved at step {saved}")
    if failure:
        if not record:
            print(_settings(Store(folder.parents[failure["run"].level > 0]), failure["run"]))
        print(f"failed {datetime.fromtimestamp(failure['when']):%Y-%m-%d %H:%M:%S}: {printable(failure['reason'])}")
        print(printable(failure["trace"]))


def _settings(store: Store, run: Run) -> str:
    """Two lines: in which settings `run` differs from others that sweeps of its folder asked for, and all others."""
    values: dict[str, set[Value]] = {}
    for plan in store.plans([]):
        for name, axis in ((name, axis) for table in plan["tables"] for name, axis in table.items()):
            values.setdefault(name, set()).update(axis)
    varied = [name for name in FIELDS if name != "level" and len(values.get(name, ())) > 1]
    others = [name for name, f in FIELDS.items() if name not in (*varied, "level") and getattr(run, name) != f.default]
    lines = {"differs in": setting(run, varied), "settings": setting(run, others)}
    return "\n".join(f"{title}: {line}" for title, line in lines.items() if line)


def _record(folder: Path) -> tuple[Store, Run, dict[str, Any]] | None:
    if not (folder / "manifest.json").exists():
        return None
    store, run = Store.holding(folder)
    manifest = store.manifest(run)
    return (store, run, manifest) if manifest else None


def gc(
    runs: Folder = DEFAULT_RUNS,
    keep: Annotated[
        str,
        typer.Option("--keep", metavar="masks|last", help="Files to keep of earlier levels: masks, or none (last)."),
    ] = "masks",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print how much it would free; delete nothing.")] = False,
    debug: Debug = False,
) -> None:
    """Delete weights that no sweep needs any more.

    All results stay, and so do the weights of dense networks and of the last level of each chain.

    Example: sdd gc runs/ --dry-run
    """
    from sddcli import sweeps

    if keep not in KEEPS[1:]:
        raise unknown("way to keep", keep, KEEPS[1:])
    with leaving_out() as damaged:
        count, size = sweeps.collect(Store(runs), keep, dry_run, damaged=damaged)
        print(f"{'would free' if dry_run else 'freed'} {size / 1e6:.1f} MB of weights of {count} runs")


def verify(
    runs: Folder = DEFAULT_RUNS,
    evaluate: Annotated[bool, typer.Option("--evaluate", help="Recompute accuracies too.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Move damaged runs to RUNS/.damaged; the next sweep trains them again.")
    ] = False,
    data_dir: DataDir = None,
    trust: Trust = False,
    debug: Debug = False,
) -> None:
    """Check the files of every run for damage.

    Compares hashes and numbers of weights, and checks that each mask lies within the one it was pruned from.

    Example: sdd verify runs/
    """
    from sddcli.launchers import looking, machine

    data_in(data_dir)
    store = Store(runs)
    store.must_exist()
    from sddcli.recipes import verifying

    machine.one_thread()
    if trust:
        sources.trust(store)
    counted: Counter[str] = Counter()
    if evaluate:
        looking.find_images(store)
    for folder, wrong in verifying.verified(store, evaluate):
        damaged = any(isinstance(error, Damaged) for error in wrong)
        counted["runs"] += damaged or not wrong
        counted["damaged"] += damaged
        counted["not checked"] += bool(wrong) and not damaged
        for error in wrong:
            print(f"sdd: {error}", file=sys.stderr)
        if damaged and repair:
            print(f"moved {folder} to {store.set_aside(folder)}")
    others = f"; {n} could not be checked and are left where they are" if (n := counted["not checked"]) else ""
    print(f"{counted['runs']} runs, {counted['damaged']} of them damaged{others}")
    if (counted["damaged"] and not repair) or counted["not checked"]:
        raise SystemExit(4)
