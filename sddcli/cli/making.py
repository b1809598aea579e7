"""Commands that make runs: sweep."""

import json
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
from sddcli.events import Failed
from sddcli.spec import Run, with_parents
from sddcli.store import Store, StoreError


@with_fields
def sweep(
    fields: dict[str, str],
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE.toml]", help="A sweep: fields of Run, lists are axes.")
    ] = None,
    sets: Annotated[list[str], typer.Option("--set", metavar="KEY=LIST", help="Set a field by name.")] = [],
    runs: Writes = DEFAULT_RUNS,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Worker processes; one a core.")] = None,
    threads: Annotated[int, typer.Option(min=1, max=256, help="Threads of each worker.")] = 1,
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
    store, family = Store(runs), with_parents(asked)
    todo = [run for run in family if not store.finished(run)]
    count = min(workers or machine.cores(), local.width(todo))
    if dry_run:
        _estimate(store, len(family), todo, count, as_json)
        return
    command = shlex.join(["sdd", *sys.argv[1:]])
    display = Display(todo, Console(stderr=True))
    for run in set(family).difference(todo):
        try:
            store.verify(run)
        except StoreError as error:
            display(Failed(run, str(error), damaged=True))
    signal.signal(signal.SIGTERM, _terminated)
    try:
        with display:
            local.sweep(store, todo, machine.describe(command), count, threads, display)
    except (KeyboardInterrupt, typer.Abort, SystemExit) as stop:
        code = stop.code if isinstance(stop, SystemExit) else 130
        print(f"sdd: stopped; finished runs are kept, go on with: {command}", file=sys.stderr)
        raise SystemExit(code) from None
    _conclude(store, asked, display, as_json, debug)


def _terminated(*_: Any) -> None:
    raise SystemExit(143)


def _conclude(store: Store, asked: tuple[Run, ...], display: Display, as_json: bool, debug: bool) -> None:
    """Writes the tables, shows those of this sweep, and ends with exit code 3 or 4 where runs failed."""
    from sddcli import table
    from sddcli.launchers import local

    for failure in display.failures:
        print(f"sdd: {failure.run.slug} level {failure.run.level} failed: {failure.reason}", file=sys.stderr)
        if debug and failure.trace:
            print(failure.trace, file=sys.stderr)
    if any(store.finished(run) for run in asked):
        for line in local.analyze(store, "learning-distance", {run.id for run in asked}):
            print(f"sdd: {line}", file=sys.stderr)
        frame = table.of_runs(table.export(store), asked)
        if as_json:
            print(frame.to_json(orient="records", indent=1))
        else:
            columns = ("test_accuracy", "train_accuracy", "learning_distance")
            screen.curves(table.summary(frame), table.varied(frame), table.title(frame), columns)
            print(f"\n{store.root / 'results.csv'} holds every run.", end=" ")
            print(f"See it: sdd plot double-descent {shlex.quote(str(store.root))}")
    if display.failures:
        raise SystemExit(4 if any(failure.damaged for failure in display.failures) else 3)


def _estimate(store: Store, runs: int, todo: list[Run], workers: int, as_json: bool) -> None:
    """What a sweep would do: its runs, epochs, disk, and time where runs of its kind were timed in this folder."""
    from sddcli.launchers import local

    epochs, size, alone = local.estimate(store, todo)
    seconds = None if alone is None else alone / workers
    if as_json:
        facts = {"runs": runs, "done": runs - len(todo), "to do": len(todo), "epochs": epochs, "bytes": size}
        print(json.dumps(facts | {"seconds": seconds, "workers": workers}, indent=1))
        return
    print(f"{runs} runs: {runs - len(todo)} done, {len(todo)} to do")
    print(f"epochs to train: {epochs}")
    print(f"disk: about {size / 1e6:.1f} MB in {store.root}")
    when = "unknown until runs of this kind are timed here" if seconds is None else f"about {spoken_time(seconds)}"
    print(f"time on {workers} workers: {when}")
