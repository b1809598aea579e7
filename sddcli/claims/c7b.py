"""Double descent is no sign of training too short: trained twice as long, the curve is the same."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import DEEP, Verdict, below, by, difference, interval, near, shows, verdict

SOURCE = "He et al. 2022, figures 35 and 36"
SWEEPS = {
    # Five seeds left open how far the valley moves.
    "laptop": (figures.digits(epochs="60,120", seed="0-9"),),
    "standard": (figures.photographs(epochs="80,160"),),
    "paper": (figures.mnist(epochs="200,400"),),
}
FIGURE = "double-descent"


def decide(results: pd.DataFrame) -> Verdict:
    """The same dip at both lengths: valley and peak within three levels, and no 5 points better where it is deepest."""
    settings = by(results, "epochs")
    short, long = settings[min(settings)], settings[max(settings)]
    valley = short.level("valley")
    better = long.at(valley, "test_accuracy") - short.at(valley, "test_accuracy")
    return verdict(
        settings.values(),
        *(shows(f"{epochs} epochs", setting) for epochs, setting in settings.items()),
        near("valley, long minus short", difference(long.level_of("valley"), short.level_of("valley")), most=3),
        near("peak, long minus short", difference(long.level_of("peak"), short.level_of("peak")), most=3),
        below("accuracy in the valley of the short one, long minus short, below 5", interval(better), most=DEEP),
    )
