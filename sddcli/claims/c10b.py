"""On the straight line from a network of the sweet phase to its re-dense one, training loss only falls."""

import pandas as pd

from sddcli.claims import c10a
from sddcli.claims.deciding.terms import Verdict, below, interval, redense, verdict

SOURCE = "He et al. 2022, figures 7, 40, 41 and 42"
SWEEPS = c10a.SWEEPS
FIGURE = "double-descent"
ANALYSES = ("interpolation",)
NEEDS = ("train_loss_rise",)
SMALL = 0.01
"""The share of the fall along the line that a rise may have: less than the eye sees in the paper's figures."""


def decide(results: pd.DataFrame) -> Verdict:
    """At the ticket's peak, seed by seed: loss is lower at the end, and hardly rises anywhere on the way."""
    ticket, settings = redense(results)
    peak, findings = ticket.level("peak"), []
    for label, dense in settings.items():
        fall = ticket.at(peak, "train_loss") - dense.at(peak, "train_loss")
        rise = dense.at(peak, "train_loss_rise") / fall.abs()
        findings.append(below(f"{label}, train loss, re-dense minus sparse", interval(-fall), ""))
        findings.append(
            below(f"{label}, largest rise on the way, share of the fall, below 0.01", interval(rise), "", SMALL)
        )
    return verdict([ticket, *settings.values()], *findings)
