"""Pruning regression by the Hessian beats magnitude where features differ in variance, fitting again helps there, and \
may hurt where they do not."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Setting, Verdict, above, along, below, interval, verdict

SOURCE = "Chang et al. 2021"
SWEEPS = {"laptop": (figures.Study({"ratio": "0.3,0.5,1.5,2,4", "seed": "0-9", "repetitions": "20"}),)}
FIGURE = "risk"
ALONG, PANELS = "ratio", "dataset"


def decide(results: pd.DataFrame) -> Verdict:
    """40 weights kept of each number of features; seed by seed.

    Mean differences over the numbers of features; of isotropic features, where it hurts most.
    """
    settings, findings = [], []
    for word, rows in results[results["level"] == 1].groupby("dataset", sort=True):
        features = str(word)
        settings.append(Setting(rows, {}))
        risk = {
            key: along(each, "parameters", "risk") for key, each in rows.groupby(["criterion", "retraining"], sort=True)
        }
        hessian, magnitude = risk["hessian", "none"], risk["magnitude", "none"]
        again = {p: risk["hessian", "refit"][p] - hessian[p] for p in hessian}
        if features == "isotropic":
            worst = max(again, key=lambda p: float(again[p].mean()))
            text = f"{features}, {round(worst)} features: fitted again minus not"
            findings.append(above(text, interval(again[worst]), ""))
            continue
        rule = pd.DataFrame({p: hessian[p] - magnitude[p] for p in hessian}).mean(axis=1)
        findings += [
            below(f"{features}: Hessian minus magnitude", interval(rule), ""),
            below(f"{features}: fitted again minus not, Hessian", interval(pd.DataFrame(again).mean(axis=1)), ""),
        ]
    return verdict(settings, *findings)
