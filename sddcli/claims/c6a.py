"""Asymmetric and pairflip label noise show double descent as well."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, by, shows, verdict

SOURCE = "He et al. 2022, figures 21 and 22"
SWEEPS = {
    **figures.at_scales("cifar10", "0.2", noise_kind="asymmetric,pairflip"),
    # Five seeds could not decide on pairflip: two sets of them said different things.
    "laptop": (figures.digits(noise_kind="asymmetric,pairflip", seed="0-9"),),
}
FIGURE = "double-descent"


def decide(results: pd.DataFrame) -> Verdict:
    """Each kind of noise by itself."""
    settings = by(results, "noise_kind")
    return verdict(settings.values(), *(shows(str(name), setting) for name, setting in settings.items()))
