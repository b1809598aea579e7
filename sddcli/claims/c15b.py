"""The best pruned network is better calibrated than the dense one, and closer to the true labels' likelihood."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, below, interval, one, verdict

SOURCE = "a study of lottery tickets under label noise, UAI 2023 (arXiv 2306.12190)"
SWEEPS = figures.at_scales("cifar10", "0.2")
FIGURE = "calibration"
ANALYSES = ("calibration",)
NEEDS = ("test_ece", "test_nll")


def decide(results: pd.DataFrame) -> Verdict:
    """At the peak of accuracy, minus the dense network, seed by seed: calibration error and negative log-likelihood."""
    setting = one(results)
    peak = setting.level("peak")
    less = {name: setting.at(peak, name) - setting.at(0, name) for name in ("test_ece", "test_nll")}
    return verdict(
        [setting],
        below("expected calibration error, peak minus dense", interval(less["test_ece"])),
        below("negative log-likelihood, peak minus dense", interval(less["test_nll"]), ""),
    )
