"""Epochs: accuracy as training goes on, at four sparsities, before and after pruned weights return (He et al. 2022).

Their figures 35 and 36 show sparse training, figures 6 and 37 to 39 what follows when all weights are trained again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from sddcli.plots.style import (
    GREY,
    LINES,
    aligned,
    band,
    headlines,
    landmarks,
    legend,
    mosaic,
    named,
    percent_axis,
    replicates,
    settings,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NEEDS = ("test_accuracy", "train_accuracy")
TABLE = "history"
KEYS = ("epoch",)


def draw(
    summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity", details: pd.DataFrame | None = None
) -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell settings apart;
    details: the same of the accuracies at each evaluated `epoch` of each level.

    A column of panels for each setting, a colour and a line style for each of four levels. Above the test set, below
    the labels trained on. Where sparse networks are there, those that got their weights back go on from their epochs.
    """
    assert details is not None
    evaluated, release = continued(details)
    columns = settings(evaluated, varied)
    names = [[f"{split} {k}" for k in range(len(columns))] for split in ("test", "train")]
    with mosaic(names, height=2.1, width=max(4.6, 1 + 2.6 * len(columns)), sharex=True) as (figure, axes):
        entries = []
        for split in ("test", "train"):
            aligned([axes[f"{split} {k}"] for k in range(len(columns))])
        for k, (setting, rows) in enumerate(columns):
            shown = landmarks(summary, setting, rows["level"].unique())
            for (level, label, colour), line in zip(shown, LINES, strict=False):
                for split in ("test", "train"):
                    epochs = rows[rows["level"] == level].sort_values("epoch")
                    band(axes[f"{split} {k}"], epochs.assign(x=epochs["epoch"]), f"{split}_accuracy",
                         color=colour, linestyle=line)  # fmt: skip
                entries.append((label, colour, line))
            if release is not None:
                _mark(axes[f"test {k}"], axes[f"train {k}"], release)
            axes[f"train {k}"].set_xlabel("epoch")
        percent_axis(axes["test 0"], "test accuracy")
        percent_axis(axes["train 0"], "train accuracy,\nlabels trained on")
        legend(figure, dict.fromkeys(entries))
        headlines(figure, title, replicates(evaluated))
        named([axes[f"test {k}"] for k in range(len(columns))], columns)
    return figure


def continued(details: pd.DataFrame) -> tuple[pd.DataFrame, int | None]:
    """Epochs of re-dense training after those of the sparse networks that it begins with, and the last of these.

    As they are, and None, where `details` lacks the one or the other. A dense network has no weights to get back.
    """
    words = details["retraining"] if "retraining" in details else pd.Series("", index=details.index)
    redense = words.str.startswith("redense") & (details["level"] > 0)
    sparse = details[words == "lottery"]
    if sparse.empty or not redense.any():
        return details, None
    release = int(sparse["epoch"].max())
    before = [sparse.assign(retraining=word) for word in sorted(words[redense].unique())]
    after = details[redense].assign(epoch=details["epoch"] + release)
    both = pd.concat([*before, after])
    return both[both["level"].isin([0, *after["level"]])], release


def _mark(upper: Axes, lower: Axes, release: int) -> None:
    """The epoch after which all weights are trained again, as a line through both panels."""
    for ax in (upper, lower):
        ax.axvline(release, color=GREY, linewidth=0.8, linestyle=":")
    top = upper.get_xaxis_transform()
    upper.text(release, 1, " pruned weights return", transform=top, va="top", fontsize=7, color=GREY)
