"""Where only critical weights learn from a batch, fewer wrong labels are memorized and test accuracy is higher."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, above, below, by, interval, verdict

SOURCE = "Xia et al. 2021, CDR"
WORDS = {"regularization": "none,critical:share=0.64", "rate": "0.7", "level": "0-4"}
"""Of 40 % symmetric noise on ten classes 64 % of the labels are correct: the share that the paper takes."""
SWEEPS = {
    "laptop": (figures.digits(**WORDS, seed="0-9"),),
    "standard": (figures.mnist(noise="0.4", **WORDS),),
}
FIGURE = "memorization"


def decide(results: pd.DataFrame) -> Verdict:
    """The dense network, seed by seed, at the end of training, which fits all labels, and at the best evaluation: where
    early stopping, which the paper takes with it, could end at best.

    And the level at which the networks without are worst: do those with critical weights alone do better there?
    """
    settings = by(results, "regularization")
    plain, critical = settings["none"], next(each for name, each in settings.items() if name != "none")
    worst = min(range(4), key=lambda level: plain.at(level, "test_accuracy").mean())

    def gain(level: int, name: str) -> "pd.Series[float]":
        return critical.at(level, name) - plain.at(level, name)

    return verdict(
        settings.values(),
        below("wrong labels fitted by the dense network: critical minus all", interval(gain(0, "memorized"))),
        above("its test accuracy: critical minus all", interval(gain(0, "test_accuracy"))),
        above("at its best epoch: critical minus all", interval(gain(0, "best_test_accuracy"))),
        above(f"level {worst}, test accuracy: critical minus all", interval(gain(worst, "test_accuracy"))),
    )
