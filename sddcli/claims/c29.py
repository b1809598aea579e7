"""Rewinding the learning rate changes more signs of weights, early in the chain, than rewinding the weights."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, above, below, by, interval, on_each_dataset, verdict

SOURCE = "Gadhikar & Burkholz 2024"
SWEEPS = figures.beside_mnist(
    figures.at_scales("cifar10", "0", retraining="lottery,lr-rewind"),
    figures.clean_mnist(retraining="lottery,lr-rewind", level="0-20"),
)
FIGURE = "double-descent"
PANELS = "dataset"
ANALYSES = ("signs",)
NEEDS = ("same_signs",)
HALF = 3
"""The first level with half of the weights gone, at the usual rate."""


@on_each_dataset
def decide(results: pd.DataFrame) -> Verdict:
    """The share of kept weights with the sign they were initialized with, seed by seed, where half of them are gone.

    And whether what is lost by then is more than half of what is lost at the last level: a difference, no ratio, for
    of few weights none may have changed.
    """
    settings = by(results, "retraining")
    ticket, rewound = settings["lottery"], settings["lr-rewind"]
    last = int(results["level"].max())
    lost = {level: 1 - rewound.at(level, "same_signs") for level in (HALF, last)}
    fewer = rewound.at(HALF, "same_signs") - ticket.at(HALF, "same_signs")
    return verdict(
        settings.values(),
        below(f"signs kept at level {HALF}, rewound learning rate minus weights", interval(fewer)),
        above(f"changed at level {HALF}, minus half of those at the last level", interval(lost[HALF] - lost[last] / 2)),
    )
