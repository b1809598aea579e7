"""Movement: how far kept and pruned weights went, beside test accuracy, against sparsity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sddcli.plots.drawing.columns import Row, drawn

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NEEDS = ("test_accuracy", "movement_kept", "movement_pruned")


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity", panels: str = "") -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell curves apart;
    x: one of sddcli.axes.AXES; panels: the field whose values have a column of panels each.

    At each level, the weights of the network that it was pruned from: solid those it keeps, dashed those it removes.
    """
    moved = [("movement_kept", "weights kept at this level", "-"), ("movement_pruned", "weights it removes", "--")]
    rows = [
        Row("test accuracy", [("test_accuracy", "", "-")]),
        Row("mean |final − initial|\nbefore pruning", moved, "number", from_zero=True),
    ]
    return drawn(summary, varied, title, x, panels, rows)
