"""New weights under the same masks move the curve to lower sparsity, and beat the ticket in places."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, above, below, by, difference, interval, on_each_dataset, verdict

SOURCE = "He et al. 2022, figures 10, 33 and 34"
SWEEPS = figures.beside_mnist(figures.FIGURES["figure-10"].sweeps, figures.small_mnist(retraining="lottery,reinit"))
FIGURE = "double-descent"
PANELS = "dataset"


@on_each_dataset
def decide(results: pd.DataFrame) -> Verdict:
    """Threshold and peak of new weights against the ticket's, and both in the ticket's valley, seed by seed."""
    settings = by(results, "retraining")
    ticket, new = settings["lottery"], settings["reinit"]
    valley = ticket.level("valley")
    there = new.at(valley, "test_accuracy") - ticket.at(valley, "test_accuracy")
    return verdict(
        settings.values(),
        below("threshold, new weights minus ticket", interval(new.thresholds() - ticket.thresholds()), "levels"),
        below("peak, new weights minus ticket", difference(new.level_of("peak"), ticket.level_of("peak")), "levels"),
        above("in the ticket's valley, new weights minus ticket", interval(there)),
    )
