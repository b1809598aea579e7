"""Risk: the expected squared error of regressions, simulated and by theory (Chang et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sddcli.plots.drawing.columns import Row, drawn

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NEEDS = ("risk", "theory_risk")
FILE = "theory.csv"
"""The table of a folder that it draws."""
ALONG = "ratio"
"""The axis along which it is drawn where regressions differ in it, unless another is asked for."""


def draw(summary: pd.DataFrame, varied: Sequence[str], title: str, x: str = "sparsity", panels: str = "") -> Figure:
    """summary: means over seeds as `table.summary` gives them; varied: the fields that tell curves apart;
    x: one of sddcli.axes.AXES; panels: the field whose values have a column of panels each.

    Solid with marks is the mean of simulations, dashed the asymptotic theory, which weights that were fitted again
    have none of. Where a regression has as many weights as examples its risk is infinite, and lines have a gap.
    """
    lines = [("risk", "simulated", "-"), ("theory_risk", "theory", "--")]
    return drawn(summary, varied, title, x, panels, [Row("expected squared error", lines, "number", log=True)])
