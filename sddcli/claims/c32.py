"""Large batches end where the loss is more curved, and generalize worse."""

import pandas as pd

from sddcli.claims.deciding.terms import Finding, Verdict, above, along, below, by, interval, verdict
from sddcli.figures import digits
from sddcli.verdicts.double_descent import FIT

SOURCE = "Keskar et al. 2017"
# So many epochs that the largest batches, of three steps an epoch, fit their labels too.
LONG = {"epochs": "400", "eval_every": "400", "lr": "0.05", "level": "0"}
SWEEPS = {"laptop": (digits(model="lenet-100-100", noise="0,0.2", batch_size="32,128,512", seed="0-9", **LONG),)}
FIGURE, ALONG, PANELS = "double-descent", "batch-size", "noise"
ANALYSES = ("sharpness",)
NEEDS = ("hessian_top", "epsilon_sharpness")


def decide(results: pd.DataFrame) -> Verdict:
    """Dense networks of equal epochs and learning rate: batches of 512 minus those of 32, seed by seed, at each noise.

    Sharpness is the largest relative rise of the loss within a small box around the weights, as Keskar et al. have it.
    """
    settings = by(results, "noise", along="batch-size")
    findings = [each for noise, setting in settings.items() for each in _findings(f"noise {noise:g}", setting.rows)]
    return verdict(settings.values(), *findings)


def _findings(where: str, rows: pd.DataFrame) -> list[Finding]:
    names = ("train_accuracy", "test_accuracy", *NEEDS)
    of_batches = {name: along(rows, "batch_size", name) for name in names}
    change = {name: interval(each[max(each)] - each[min(each)]) for name, each in of_batches.items()}
    fits, difference = of_batches["train_accuracy"], "largest batch minus smallest"
    return [
        above(f"{where}: train accuracy of the largest batch, above 99", interval(fits[max(fits)]), least=FIT),
        above(f"{where}: largest eigenvalue of the Hessian, {difference}", change["hessian_top"], ""),
        above(f"{where}: sharpness within a box, {difference}", change["epsilon_sharpness"], ""),
        below(f"{where}: test accuracy, {difference}", change["test_accuracy"]),
    ]
