"""Re-dense networks lie in sharper minima the sparser they were before, and in sharper ones than the dense network."""

import pandas as pd

from sddcli.claims import c10a
from sddcli.claims.deciding.terms import Verdict, above, interval, redense, verdict

SOURCE = "He et al. 2022, figures 8 and 43"
SWEEPS = c10a.SWEEPS
FIGURE = "double-descent"
ANALYSES = ("flatness",)
NEEDS = ("flatness_train_loss_rise",)


def decide(results: pd.DataFrame) -> Verdict:
    """How much train loss rises along random directions: dense, re-dense from the first pruned level, from the peak.

    Directions have the length of the network's own filters (Li et al. 2018). For each learning rate, seed by seed.
    """
    ticket, settings = redense(results)
    peak, first = ticket.level("peak"), int(sorted(results["level"].unique())[1])
    findings = []
    for label, dense in settings.items():
        sharp = {level: dense.at(level, "flatness_train_loss_rise") for level in (0, first, peak)}
        more = sharp[peak] - sharp[first]
        findings.append(
            above(f"{label}, rise of train loss, from the peak minus dense", interval(sharp[peak] - sharp[0]), "")
        )
        findings.append(above(f"{label}, from the peak minus from level {first}", interval(more), ""))
    return verdict([ticket, *settings.values()], *findings)
