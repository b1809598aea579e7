"""Along the effective parameters of the Hessian, instead of weights kept, the curves of all criteria fall onto one."""

import numpy as np
import pandas as pd

from sddcli.claims.deciding.terms import Verdict, below, by, interval, verdict
from sddcli.figures import digits

SOURCE = "an open question; effective parameters after Maddox et al. 2020"
CRITERIA = "magnitude,gradient,random,snip,movement,large-init"
LEVELS = ",".join(map(str, range(0, 28, 3)))
SWEEPS = {"laptop": (digits(criterion=CRITERIA, level=LEVELS, seed="0-2"),)}
FIGURE, ALONG = "double-descent", "n-eff"
# At an alpha of 0.001, and with fewer steps, quadrature is off by more than it finds.
ANALYSES = ("effective-parameters:alpha=0.01:steps=120:probes=2",)
NEEDS = ("n_eff",)
ONE = 0.1
"""The share of the variance that may be left where curves fall onto one: about what seeds make differ."""


def decide(results: pd.DataFrame) -> Verdict:
    """Six criteria, three seeds, nine levels: how well the curves of the others foretell the accuracy of each network.

    What is left is the mean squared error as a share of the variance, seed by seed. Curves are taken as functions of
    the axis: where effective parameters go down and up again from level to level, neighbours are those on the axis.
    """
    pruned = results[results["level"] > 0].drop_duplicates("run")
    left = {
        axis: pd.Series({seed: unexplained(rows, axis) for seed, rows in pruned.groupby("seed")})
        for axis in ("weights", "n_eff")
    }
    ratio = interval(left["n_eff"] / left["weights"])
    return verdict(
        by(results, "criterion").values(),
        below("variance left along effective parameters, as a share of that along weights, below 1", ratio, "", 1),
        below("variance left along effective parameters, below 0.1", interval(left["n_eff"]), "", ONE),
    )


def unexplained(rows: pd.DataFrame, axis: str) -> float:
    """The share of the variance of test accuracy that is left when the curves of other criteria foretell it.

    By their mean, each between its points in steps of equal ratio on the axis; networks beyond the ends of all others
    are left out. rows: a network each, of one seed, with `criterion`, `test_accuracy` and the axis, above 0.
    """
    curves = {name: curve.sort_values(axis) for name, curve in rows.groupby("criterion")}
    points = {name: (np.log(curve[axis].to_numpy(float)), curve["test_accuracy"]) for name, curve in curves.items()}
    compared = []
    for name, (at, tests) in points.items():
        others = [np.interp(at, *other, left=np.nan, right=np.nan) for each, other in points.items() if each != name]
        compared.append(pd.DataFrame({"test": tests.array, "foretold": pd.DataFrame(others).mean().array}))
    both = pd.concat(compared).dropna()
    return float(((both["test"] - both["foretold"]) ** 2).mean() / both["test"].var(ddof=0))
