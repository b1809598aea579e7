"""At the peak of the sweet phase wrong labels are no longer fitted."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, above, below, interval, one, verdict

SOURCE = "our reading of He et al. 2022, figure 1"
SWEEPS = figures.FIGURES["figure-5"].sweeps
FIGURE = "memorization"


def decide(results: pd.DataFrame) -> Verdict:
    """The share of wrong labels fitted at the threshold and at the peak, and of correct ones there."""
    setting = one(results)
    peak = setting.level("peak")
    return verdict(
        [setting],
        above("wrong labels fitted at the threshold", interval(setting.at(setting.fitted, "memorized")), least=0.8),
        below("wrong labels fitted at the peak", interval(setting.at(peak, "memorized")), most=0.2),
        above("correct labels fitted at the peak", interval(setting.at(peak, "clean_accuracy")), least=0.6),
    )
