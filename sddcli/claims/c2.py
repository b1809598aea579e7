"""Without label noise there is no double descent to see."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, by, verdict, without

SOURCE = "He et al. 2022, figure 31"
SWEEPS = figures.FIGURES["figure-31"].sweeps
FIGURE = "double-descent"


def decide(results: pd.DataFrame) -> Verdict:
    """No dip without noise, on any of the data sets."""
    settings = by(results, "dataset")
    return verdict(settings.values(), *(without(str(name), setting) for name, setting in settings.items()))
