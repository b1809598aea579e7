"""Commands that make runs: sweep."""

import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from sddcli import resolve
from sddcli.cli import screen
from sddcli.cli.options import DEFAULT_RUNS, Debug, Json, Writes, with_fields
from sddcli.cli.progress import Display, spoken_time
from sddcli.spec import Run, with_parents
from sddcli.store import Store


@with_fields
def sweep(
    fields: dict[str, str],
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE.toml]", help="A sweep: fields of Run, lists are axes.")
    ] = None,
    sets: Annotated[list[str], typer.Option("--set", metavar="KEY=LIST", help="Set a field by name.")] = [],
    runs: Writes = DEFAULT_RUNS,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes; by default one a core.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each worker.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done, and what it costs.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train, prune and retrain: every combination of the values given, resumable.

    LIST is a value or several: 0,0.2,0.4 or 0-4. What is not said comes from the data set's protocol.
    Finished runs are kept: the same command goes on where it stopped, another one adds to them.

    Example: sdd sweep --noise 0,0.4 --criterion magnitude,random --seeds 0-2
    """
    from sddcli.launchers import local, machine

    asked = resolve.runs(fields, sets, file)
    store = Store(runs)
    todo = [run for run in with_parents(asked) if not store.finished(run)]
    count = min(workers or machine.cores(), max(1, len(todo)))
    if dry_run:
        _estimate(store, asked, todo, count, as_json)
        return
    command = shlex.join(["sdd", *sys.argv[1:]])
    progress = Console(stderr=True)
    signal.signal(signal.SIGTERM, _terminated)
    with Display(todo, progress) as display:
        try:
            local.sweep(store, asked, machine.describe(command), count, threads, display)
        except (KeyboardInterrupt, typer.Abort, SystemExit) as stop:
            code = stop.code if isinstance(stop, SystemExit) else 130
            print(f"\nsdd: stopped; finished runs are kept, go on with: {command}", file=sys.stderr)
            raise SystemExit(code) from None
    _conclude(store, asked, display, as_json, debug)


def _terminated(*_: Any) -> None:
    raise SystemExit(143)


def _conclude(store: Store, asked: tuple[Run, ...], display: Display, as_json: bool, debug: bool) -> None:
    """Writes the tables, shows those of this sweep, and ends with exit code 3 or 4 where runs failed."""
    from sddcli import table

    for failure in display.failures:
        print(f"sdd: {failure.run.slug} level {failure.run.level} failed: {failure.reason}", file=sys.stderr)
        if debug:
            print(failure.trace, file=sys.stderr)
    if not display.failures or any(store.finished(run) for run in asked):
        frame = table.of_runs(table.export(store), asked)
        if as_json:
            print(frame.to_json(orient="records", indent=1))
        else:
            columns = ("test_accuracy", "train_accuracy", "learning_distance")
            screen.curves(table.summary(frame), table.varied(frame), table.title(frame), columns)
            print(f"\n{store.root / 'results.csv'} holds every run. See it: sdd plot double-descent {store.root}")
    if display.failures:
        raise SystemExit(4 if any(failure.damaged for failure in display.failures) else 3)


def _estimate(store: Store, asked: tuple[Run, ...], todo: list[Run], workers: int, as_json: bool) -> None:
    """What a sweep would do: its runs, epochs, disk, and time where runs of its kind were timed in this folder."""
    import json

    from sddcli.recipes import prune_retrain

    prune_retrain.check(todo)
    cost = prune_retrain.cost(store, todo)
    seconds = None if cost.seconds is None else cost.seconds / workers
    facts = {
        "runs": len(with_parents(asked)),
        "done": len(with_parents(asked)) - len(todo),
        "to do": len(todo),
        "epochs": cost.epochs,
        "bytes": cost.bytes,
        "seconds": seconds,
    }
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    when = "unknown until runs of this kind are timed here" if seconds is None else f"about {spoken_time(seconds)}"
    print(f"{facts['runs']} runs: {facts['done']} done, {facts['to do']} to do")
    print(f"epochs to train: {cost.epochs}")
    print(f"disk: about {cost.bytes / 1e6:.1f} MB in {store.root}")
    print(f"time on {workers} workers: {when}")
