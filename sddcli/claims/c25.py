"""With much label noise the widest dense network is not the best, random sparsity helps it, and stronger weight decay \
makes it worse."""

import pandas as pd

from sddcli.claims.deciding.terms import Verdict, above, along, interval, one, verdict
from sddcli.figures import digits, widths

SOURCE = "Xue et al. 2024 (UAI)"
FEW = (8, 16, 24, 32, 64, 128, 256, 512)
SWEEPS = {
    "laptop": (
        widths(noise="0.6", seed="0-9"),
        widths(of=FEW, noise="0.6", weight_decay="0.001,0.003", seed="0-9"),
        digits(model="lenet-256-256", noise="0.6", retraining="static", rate="0.4", level="0-10", seed="0-9"),
    )
}
FIGURE, ALONG = "double-descent", "width"
SHOWN = {"retraining": ("",)}


def decide(results: pd.DataFrame) -> Verdict:
    """60 % noise; seed by seed, of the width, or sparsity, that is best by the mean over seeds.

    The fall is that from the best width to the widest, which weight decay makes worse where it makes it larger.
    """
    dense = results[(results["level"] == 0)].drop_duplicates("run")
    falls = {}
    for decay, rows in dense.groupby("weight_decay", sort=True):
        tests = along(rows[rows["width"].isin(FEW)], "width", "test_accuracy")
        best = max(tests, key=lambda width: float(tests[width].mean()))
        falls[float(str(decay))] = tests[best] - tests[max(tests)]
    sparse = along(results[results["retraining"] == "static"], "level", "test_accuracy")
    best = max(sparse, key=lambda level: float(sparse[level].mean()))
    strongest = max(falls)
    return verdict(
        [one(dense[dense["weight_decay"] == 0], "width"), one(results[results["retraining"] == "static"])],
        above("best width minus the widest", interval(falls[0.0])),
        above(f"random masks of level {round(best)} minus dense, width 256", interval(sparse[best] - sparse[0])),
        above(f"that fall, weight decay {strongest:g} minus none", interval(falls[strongest] - falls[0.0])),
    )
