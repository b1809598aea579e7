"""Weights & Biases: a finished run as an offline run, which `wandb sync` sends."""

from collections.abc import Mapping, Sequence
from pathlib import Path


def record(
    folder: Path,
    name: str,
    settings: Mapping[str, object],
    history: Sequence[Mapping[str, float]],
    final: Mapping[str, float],
) -> None:
    """Writes a run below `folder`: its settings, each metric at each evaluation, its final numbers. Sends nothing.

    Raises ImportError where wandb is not installed.
    """
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    quiet = wandb.Settings(silent=True, console="off")
    with wandb.init(
        project="sdd",
        name=name,
        config=dict(settings),
        dir=str(folder),
        mode="offline",
        reinit="create_new",
        settings=quiet,
    ) as run:
        for row in history:
            run.log({metric: value for metric, value in row.items() if metric != "epoch"}, step=int(row["epoch"]))
        run.summary.update(dict(final))
