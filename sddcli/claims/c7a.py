"""Accuracy at the best epoch shows no clear double descent."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, above, interval, one, verdict, without

SOURCE = "He et al. 2022, figure 11"
SWEEPS = {
    **figures.at_scales("cifar100", "0.4"),
    "laptop": (figures.digits(seed="0-9"),),
    "standard": (figures.mnist(),),
}
FIGURE = "best-epoch"


def decide(results: pd.DataFrame) -> Verdict:
    """In the valley of the last epoch the best one is no worse than dense; and it has no valley of its own."""
    last = one(results)
    best = one(results.assign(test_accuracy=results["best_test_accuracy"]))
    valley = last.level("valley")
    kept = last.at(valley, "best_test_accuracy") - last.at(0, "best_test_accuracy")
    return verdict(
        [best],
        above("best epoch in the valley of the last one, minus dense", interval(kept), least=-0.01),
        without("best epoch by itself", best),
    )
