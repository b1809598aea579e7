"""The wider a network, the less each of its weights moves in training."""

import pandas as pd

from sddcli.claims.deciding.terms import Verdict, above, along, below, interval, one, verdict
from sddcli.figures import widths

SOURCE = "Du et al. 2018"
SWEEPS = {"laptop": (widths(of=(16, 32, 64, 128, 256), noise="0.2"),)}
FIGURE, ALONG = "learning-distance", "width"
ANALYSES = ("movement",)
NEEDS = ("movement", "movement_largest", "learning_distance")


def decide(results: pd.DataFrame) -> Verdict:
    """The widest network minus the narrowest, seed by seed: how far weights go, in the mean, at most and in all."""
    ends = {name: along(results, "width", name) for name in NEEDS}
    change = {name: interval(each[max(each)] - each[min(each)]) for name, each in ends.items()}
    return verdict(
        [one(results, "width")],
        below("mean movement of a weight, widest minus narrowest", change["movement"], ""),
        below("largest movement of a weight, widest minus narrowest", change["movement_largest"], ""),
        above("learning distance of all weights together, widest minus narrowest", change["learning_distance"], ""),
    )
