"""The valley lies at the interpolation threshold, where training labels stop being fitted."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, difference, interval, near, one, shows, verdict

SOURCE = "He et al. 2022, section 4"
SWEEPS = figures.FIGURES["figure-5"].sweeps
FIGURE = "double-descent"


def decide(results: pd.DataFrame) -> Verdict:
    """The valley, and how far it lies from the last level with 99 % train accuracy: three levels are near."""
    setting = one(results)
    threshold = interval(setting.thresholds())
    return verdict(
        [setting],
        shows("there is a valley", setting),
        near("valley minus threshold", difference(setting.level_of("valley"), threshold), most=3),
    )
