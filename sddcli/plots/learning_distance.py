"""Learning distance beside test accuracy, against sparsity (He et al. 2022, figure 9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sddcli.plots.drawing.columns import Row, drawn

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NEEDS = ("test_accuracy", "learning_distance", "masking_distance")


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity", panels: str = "") -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell curves apart;
    x: one of sddcli.axes.AXES; panels: the field whose values have a column of panels each.

    Dotted is the floor: the part of the distance that masking alone makes, which can only grow. Dashed, where it
    differs, is the distance from where the level's own training started.
    """
    distances = [("learning_distance", "learning distance", "-"), ("masking_distance", "due to masking alone", ":")]
    own = "own_distance" in summary and ((summary["own_distance"] - summary["learning_distance"]).abs() > 1e-6).any()
    if own:
        distances.append(("own_distance", "from its own start", "--"))
    rows = [
        Row("test accuracy", [("test_accuracy", "", "-")]),
        Row("learning distance (L2)", distances, "number", from_zero=True),
    ]
    return drawn(summary, varied, title, x, panels, rows)
