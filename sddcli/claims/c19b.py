"""What unstable pruning gives needs no removal: filters that are 0 for some batches and come back do as well."""

import pandas as pd

from sddcli import figures
from sddcli.claims.c19a import USUAL, events
from sddcli.claims.deciding.terms import Verdict, above, by, interval, verdict

SOURCE = "Bartoldson et al. 2020, figure 5"
PERIODS, BATCHES = (4, 8), (7, 21)
WORDS = [events("largest", period, batches) for period in PERIODS for batches in (0, *BATCHES)]
SWEEPS = {"laptop": (figures.digits(**USUAL, criterion="l2-norm", retraining=",".join(WORDS)),)}
FIGURE = "event-stability"
NEEDS = ("event_instability", "settled_test_accuracy")


def decide(results: pd.DataFrame) -> Verdict:
    """The best test accuracy after the last event, the largest filters gone for a time minus for good, and minus the
    dense network's best one; the same events, seed by seed. Seven batches are an epoch."""
    settings = by(results, "retraining")
    findings = []
    for period in PERIODS:
        gone = settings[events("largest", period)]
        for batches in BATCHES:
            away = settings[events("largest", period, batches)].at(1, "settled_test_accuracy")
            text = f"every {period} epochs, away for {batches} batches minus"
            findings.append(above(f"{text} for good", interval(away - gone.at(1, "settled_test_accuracy"))))
            findings.append(above(f"{text} dense", interval(away - gone.at(0, "best_test_accuracy"))))
    return verdict(settings.values(), *findings)
