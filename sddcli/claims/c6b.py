"""Double descent shows across data sets and architectures."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, by, shows, verdict

SOURCE = "He et al. 2022, figures 1, 20, 27 and 30"
SWEEPS = {
    # Five seeds could not decide on the convnet: two sets of them said different things.
    "laptop": (
        figures.digits(),
        figures.digits(model="convnet:width=8", level="0-30", seed="0-9"),
        figures.small_mnist(),
    ),
    "standard": (figures.mnist(), figures.photographs()),
    "paper": tuple(
        sweep
        for name in ("figure-1", "figure-20", "figure-27", "figure-30")
        for sweep in figures.FIGURES[name].sweeps["paper"]
    ),
}
FIGURE = "double-descent"


def decide(results: pd.DataFrame) -> Verdict:
    """Each data set and network by itself."""
    settings = by(results, "dataset", "model")
    return verdict(settings.values(), *(shows(", ".join(names), setting) for names, setting in settings.items()))
