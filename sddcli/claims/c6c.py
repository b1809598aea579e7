"""The peak of the sweet phase beats the dense network on some data and does not on other."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, above, below, by, verdict

SOURCE = "He et al. 2022, figure 1 (MNIST and CIFAR-10 against CIFAR-100)"
SWEEPS = {
    "laptop": (figures.digits(), figures.small_mnist()),
    "standard": (figures.digits(), figures.mnist()),
    "paper": figures.HEADLINE["paper"],
}
FIGURE = "double-descent"


def decide(results: pd.DataFrame) -> Verdict:
    """The peak minus the dense network: largest and smallest over data sets."""
    settings = by(results, "dataset")
    gains = {name: setting.size("gain") for name, setting in settings.items()}
    best, worst = max(gains, key=lambda name: gains[name][1]), min(gains, key=lambda name: gains[name][2])
    return verdict(
        settings.values(),
        above(f"{best}: peak minus dense, above 0", gains[best]),
        below(f"{worst}: peak minus dense, below 0", gains[worst]),
    )
