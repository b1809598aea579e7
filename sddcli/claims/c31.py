"""Of networks that all fit their training labels, those that generalize better end where the loss is less curved."""

import pandas as pd

from sddcli.claims.deciding.terms import Verdict, above, along, below, interval, one, verdict
from sddcli.figures import digits
from sddcli.verdicts.double_descent import FIT

SOURCE = "Wu & Zhu 2017 (poisoned training sets)"
# A network of 100 and 100 units fits only 98 % of the labels where 40 % are wrong.
SWEEPS = {"laptop": (digits(model="lenet-256-256", noise="0,0.1,0.2,0.4", noise_kind="flip", level="0"),)}
FIGURE, ALONG = "double-descent", "noise"
ANALYSES = ("sharpness",)
NEEDS = ("hessian_top", "hessian_trace")


def decide(results: pd.DataFrame) -> Verdict:
    """Dense networks trained on more and more wrong labels; most of them minus none, seed by seed.

    Curvature is that of the loss on the labels trained on, at the end of training.
    """
    poisoned = {name: along(results, "noise", name) for name in ("train_accuracy", "test_accuracy", *NEEDS)}
    most = max(poisoned["test_accuracy"])
    change = {name: interval(each[most] - each[0.0]) for name, each in poisoned.items()}
    return verdict(
        [one(results, "noise")],
        above("train accuracy with most wrong labels, above 99", interval(poisoned["train_accuracy"][most]), least=FIT),
        below("test accuracy, most minus none", change["test_accuracy"]),
        above("largest eigenvalue of the Hessian, most minus none", change["hessian_top"], ""),
        above("trace of the Hessian, most minus none", change["hessian_trace"], ""),
    )
