"""More training helps or hurts by regime: it hurts networks that can fit wrong labels, and helps those that cannot."""

import pandas as pd

from sddcli.claims.deciding.terms import Verdict, above, below, by, interval, verdict
from sddcli.figures import digits

SOURCE = "the three-regime model of pruning, 2023 (temperature as epochs)"
LENGTHS = {"epochs": "8,30,120", "eval_every": "120"}
SWEEPS = {"laptop": (digits(model="lenet-100-100", rate="0.4", level="0-12", **LENGTHS),)}
FIGURE = "double-descent"
ANALYSES = ("interpolation",)
NEEDS = ("test_error_barrier",)
PAIRS = "levels"
SPARSE = 10


def decide(results: pd.DataFrame) -> Verdict:
    """The longest training minus the shortest at the dense network and at level 10, 0.6 % of the weights, by seed.

    And the barrier of test error between neighbouring levels there, of the longest training: small where levels are of
    one basin, as where more training helps.
    """
    settings = by(results, "epochs")
    short, long = settings[min(settings)], settings[max(settings)]
    dense, sparse = (long.at(level, "test_accuracy") - short.at(level, "test_accuracy") for level in (0, SPARSE))
    barriers = {level: long.at(level, "test_error_barrier") for level in (1, SPARSE)}
    return verdict(
        settings.values(),
        below("dense, 120 epochs minus 8", interval(dense)),
        above(f"level {SPARSE}, 120 epochs minus 8", interval(sparse)),
        below(
            f"barrier to the level above, 120 epochs, level {SPARSE} minus level 1",
            interval(barriers[SPARSE] - barriers[1]),
        ),
    )
