"""Large batches end where the loss is more curved, and generalize worse."""

import pandas as pd

from sddcli.claims.deciding.terms import Verdict, above, along, below, interval, one, verdict
from sddcli.figures import digits

SOURCE = "Keskar et al. 2017"
SWEEPS = {
    "laptop": (digits(model="lenet-100-100", noise="0.2", batch_size="16,32,64,128,256,512", lr="0.02", level="0"),)
}
FIGURE, ALONG = "double-descent", "batch-size"
ANALYSES = ("sharpness",)
NEEDS = ("hessian_top", "epsilon_sharpness")


def decide(results: pd.DataFrame) -> Verdict:
    """Dense networks of equal epochs and learning rate: batches of 512 minus those of 16, seed by seed."""
    of_batches = {name: along(results, "batch_size", name) for name in ("test_accuracy", "learning_distance", *NEEDS)}
    change = {name: interval(each[max(each)] - each[min(each)]) for name, each in of_batches.items()}
    return verdict(
        [one(results, "batch-size")],
        above("largest eigenvalue of the Hessian, largest batch minus smallest", change["hessian_top"], ""),
        above("sharpness within a box (Keskar et al.), largest batch minus smallest", change["epsilon_sharpness"], ""),
        below("test accuracy, largest batch minus smallest", change["test_accuracy"]),
        below("learning distance, largest batch minus smallest", change["learning_distance"], ""),
    )
