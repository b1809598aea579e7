"""TensorBoard: a finished run as a folder of events, which `tensorboard --logdir` shows."""

from collections.abc import Mapping, Sequence
from pathlib import Path


def record(
    folder: Path,
    name: str,
    settings: Mapping[str, object],
    history: Sequence[Mapping[str, float]],
    final: Mapping[str, float],
) -> None:
    """Writes a run below `folder`: each metric at each evaluation, its step the epoch, and the final numbers as text.

    Raises ImportError where tensorboard is not installed.
    """
    from tensorboard.summary import Writer

    writer = Writer(str(folder / name))
    for row in history:
        for metric, value in row.items():
            if metric != "epoch":
                writer.add_scalar(metric, value, int(row["epoch"]))
    for metric, value in final.items():
        writer.add_scalar(f"final/{metric}", value, 0)
    writer.close()
