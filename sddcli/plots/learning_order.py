"""Learning order: when clean and wrong labels are learned, and how often they are forgotten, against sparsity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sddcli.plots.drawing.columns import Row, drawn

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NEEDS = ("learned_epoch_clean", "learned_epoch_wrong", "forgetting_events_clean", "forgetting_events_wrong")


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity", panels: str = "") -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell curves apart;
    x: one of sddcli.axes.AXES; panels: the field whose values have a column of panels each.

    Above the mean epoch from which on labels stay fitted, of those that are fitted at the end; below how often a
    label was fitted and then was not. Solid are the clean labels, dashed the wrong ones.
    """
    rows = [
        Row(label, [(f"{name}_clean", "clean labels", "-"), (f"{name}_wrong", "wrong labels", "--")], "number", True)
        for name, label in (
            ("learned_epoch", "learned at epoch"),
            ("forgetting_events", "forgetting events\nper label"),
        )
    ]
    return drawn(summary, varied, title, x, panels, rows)
