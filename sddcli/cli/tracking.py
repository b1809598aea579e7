"""The command that hands finished runs to a tracker, and what a sweep does with its own: track."""

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from sddcli.cli.completing import among
from sddcli.cli.options import DEFAULT_RUNS, Debug, Folder, leaving_out
from sddcli.core.words import UsageError, unknown
from sddcli.events import Event, Report, Saved
from sddcli.families import members
from sddcli.spec import Run, to_dict
from sddcli.store import Store

TRACKERS = members("trackers")


def track(
    runs: Folder = DEFAULT_RUNS,
    to: Annotated[
        str, typer.Option("--to", metavar="|".join(TRACKERS), help="Tracker.", autocompletion=among(TRACKERS))
    ] = "tensorboard",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Folder to write to; by default RUNS/tracked.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Hand finished runs to TensorBoard or Weights & Biases.

    Writes files alone, one run each, and sends nothing: tensorboard --logdir DIR/tensorboard shows them, and
    wandb sync DIR/wandb/wandb/offline-* sends them. During a sweep: sdd sweep --track tensorboard.

    Example: sdd track runs/ --to tensorboard
    """
    store, hear = Store(runs), listener(Store(runs), to, output)
    count = 0
    with leaving_out() as damaged:
        for run, _ in store.manifests(damaged):
            hear(Saved(run))
            count += 1
        print(f"{count} runs in {(output or runs / 'tracked') / to}")


def listener(store: Store, to: str, output: Path | None = None) -> Report:
    """Hears of runs that are saved, and hands each to the tracker. Raises UsageError for an unknown one."""
    if to not in TRACKERS:
        raise unknown("tracker", to, TRACKERS)
    record, folder = import_module(f"sddcli.trackers.{to}").record, (output or store.root / "tracked") / to

    def hear(event: Event) -> None:
        if isinstance(event, Saved) and (manifest := store.manifest(event.run)):
            history = [_numbers(row) for row in store.history(event.run, manifest)]
            try:
                record(folder, _name(event.run), to_dict(event.run), history, _numbers(manifest["metrics"]))
            except ImportError:
                raise UsageError(f"{to} is not installed: pip install 'sddcli[{to}]'") from None

    return hear


def _name(run: Run) -> str:
    return f"{run.slug}-{run.chain}-level-{run.level:02d}"


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in row.items() if value not in (None, "")}
