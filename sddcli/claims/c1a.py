"""Under label noise, test accuracy falls, rises and falls again as sparsity grows."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, above, interval, one, shows, verdict

SOURCE = "He et al. 2022, figures 1 and 5"
SWEEPS = figures.FIGURES["figure-5"].sweeps
FIGURE = "double-descent"


def decide(results: pd.DataFrame) -> Verdict:
    """From the one curve: the test for a dip, the rise behind it, and the fall after the peak."""
    setting = one(results)
    peak, last = setting.level("peak"), int(results["level"].max())
    return verdict(
        [setting],
        shows("falls, then rises", setting),
        above("the peak is above the valley by", setting.size("rise")),
        above(
            "and above the last level by",
            interval(setting.at(peak, "test_accuracy") - setting.at(last, "test_accuracy")),
        ),
    )
