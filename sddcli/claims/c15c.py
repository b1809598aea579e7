"""A mask is worth more than its count: shuffled within layers it fits fewer wrong labels, and the curve moves left."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, below, by, difference, interval, on_each_dataset, verdict

SOURCE = "Kumar et al. 2024 (effective parameters: nonzeros and what the mask knows of the data); our test of it"
SWEEPS = figures.beside_mnist(
    figures.at_scales("cifar10", "0.2", retraining="lottery,shuffle"),
    figures.small_mnist(retraining="lottery,shuffle"),
)
FIGURE = "double-descent"
PANELS = "dataset"


@on_each_dataset
def decide(results: pd.DataFrame) -> Verdict:
    """Shuffled masks against the ticket's own of the same size in each layer: threshold, peak, wrong labels fitted."""
    settings = by(results, "retraining")
    ticket, shuffled = settings["lottery"], settings["shuffle"]
    fitted = shuffled.at(ticket.fitted, "memorized") - ticket.at(ticket.fitted, "memorized")
    return verdict(
        settings.values(),
        below("threshold, shuffled minus ticket", interval(shuffled.thresholds() - ticket.thresholds()), "levels"),
        below("peak, shuffled minus ticket", difference(shuffled.level_of("peak"), ticket.level_of("peak")), "levels"),
        below("wrong labels fitted at the ticket's threshold, shuffled minus ticket", interval(fitted)),
    )
