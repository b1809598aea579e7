"""At a fixed number of weights kept, pruned regression has less risk with more features than examples, and may beat \
the best so many features."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Setting, Verdict, along, below, interval, verdict

SOURCE = "Chang et al. 2021"
RATIOS = "0.8,0.9,0.95,1.05,1.1,1.3,1.6,2,3,4"
SWEEPS = {
    "laptop": (
        figures.Study({"ratio": RATIOS, "kept": "150", "rule": "hessian,oracle", "seed": "0-9", "repetitions": "20"}),
    )
}
FIGURE = "risk"
ALONG, PANELS = "ratio", "dataset"
NEAR = 1.1


def decide(results: pd.DataFrame) -> Verdict:
    """Weights pruned by the Hessian's score and not fitted again, of each kind of features; seed by seed.

    The descent is from 1.1 features an example on to the best number of them. Below the threshold and the oracle's: the
    lowest risk beyond the threshold minus the lowest before it, and minus that of least squares of the best features.
    """
    settings, findings = [], []
    for features, rows in results[results["level"] == 1].groupby("dataset", sort=True):
        pruned = rows[(rows["criterion"] == "hessian") & (rows["retraining"] == "none")]
        best = rows[rows["criterion"] == "oracle"].groupby("seed")["risk"].mean()
        risks = along(pruned.assign(ratio=pruned["parameters"] / pruned["examples"]), "ratio", "risk")
        before, beyond = (
            min((each for ratio, each in risks.items() if (ratio > 1) == side), key=lambda each: float(each.mean()))
            for side in (False, True)
        )
        settings.append(Setting(pruned, {}))
        findings += [
            below(
                f"{features}: lowest risk beyond the threshold minus that at 1.1", interval(beyond - risks[NEAR]), ""
            ),
            below(
                f"{features}: lowest risk beyond the threshold minus the lowest before it",
                interval(beyond - before),
                "",
            ),
            below(f"{features}: lowest risk beyond the threshold minus the oracle's", interval(beyond - best), ""),
        ]
    return verdict(settings, *findings)
