"""With BatchNorm, learning distance has no distinct peak, and falls past the interpolation threshold."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, below, interval, one, verdict

SOURCE = "He et al. 2022, figure 12"
SWEEPS = {
    "laptop": (figures.digits(model="convnet:width=8", level="0-30", seed="0-9"),),
    "standard": (figures.photographs(),),
    "paper": figures.FIGURES["figure-12"].sweeps["paper"],
}
FIGURE = "learning-distance"
NEEDS = ("learning_distance",)


def decide(results: pd.DataFrame) -> Verdict:
    """The largest distance over the dense one, and how much is left of the threshold's at the peak of accuracy."""
    setting = one(results)
    distances = setting.rows.pivot(index="seed", columns="level", values="learning_distance")
    peak = setting.level("peak")
    left = distances[peak] / distances[setting.fitted]
    return verdict(
        [setting],
        below(
            "largest distance over that of the dense network", interval(distances.max(axis=1) / distances[0]), "", 1.1
        ),
        below("distance at the peak of accuracy over that at the threshold", interval(left), "", 1.0),
    )
