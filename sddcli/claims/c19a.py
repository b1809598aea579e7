"""The less stable pruning is, the better the network in the end; less so where it happens rarely."""

from math import atanh, sqrt, tanh

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Interval, Verdict, above, below, by, interval, verdict

SOURCE = "Bartoldson et al. 2020, figures 2 and 3"
PERIODS = (1, 2, 4, 8)
WORDS = {"model": "convnet:width=8", "unit": "filter", "noise": "0", "level": "0,1", "train_size": "400"}
USUAL = WORDS | {"optimizer": "adam", "lr": "0.001", "milestones": "0.8", "seed": "0-9"}


def events(target: str, period: int, batches: int = 0) -> str:
    """Those of the last four convolutions, of which a quarter goes, of the last one half: within 36 of 60 epochs."""
    ramp = f"period={period}ep:start=2:end=28/28/28/36:share=0.25/0.25/0.25/0.5:layers=4"
    return f"events:target={target}:{ramp}" + (f":batches={batches}" if batches else "")


RANKED = {
    "criterion": "l2-norm",
    "retraining": ",".join(events(t, n) for t in ("smallest", "largest") for n in PERIODS),
}
RANDOM = {"criterion": "random", "retraining": ",".join(events("smallest", n) for n in PERIODS)}
SWEEPS = {"laptop": (figures.digits(**USUAL, **RANKED), figures.digits(**USUAL, **RANDOM))}
FIGURE = "event-stability"
NEEDS = ("event_instability", "settled_test_accuracy")


def decide(results: pd.DataFrame) -> Verdict:
    """The correlation, over targets and periods, of mean stability and the best test accuracy after the last event.

    Then the unstable target, the largest filters, against the stable one, the smallest, at the shortest period and the
    longest one, seed by seed. Clean labels, 400 examples, five seeds.
    """
    settings = by(results, "criterion", "retraining")
    stable = [1 - each.at(1, "event_instability").mean() for each in settings.values()]
    best = {names: each.at(1, "settled_test_accuracy") for names, each in settings.items()}
    gain = {n: best["l2-norm", events("largest", n)] - best["l2-norm", events("smallest", n)] for n in PERIODS}
    return verdict(
        settings.values(),
        below(
            "correlation of stability and accuracy", correlation(stable, [each.mean() for each in best.values()]), ""
        ),
        above(f"largest minus smallest, every {PERIODS[0]} epoch", interval(gain[PERIODS[0]])),
        above(
            f"that difference, every {PERIODS[0]} epoch minus every {PERIODS[-1]}",
            interval(gain[PERIODS[0]] - gain[PERIODS[-1]]),
        ),
    )


def correlation(x: list[float], y: list[float]) -> Interval:
    """Pearson's, with its 95 % interval by Fisher's transformation."""
    r = float(pd.Series(x).corr(pd.Series(y)))
    half = 1.96 / sqrt(len(x) - 3)
    return r, tanh(atanh(r) - half), tanh(atanh(r) + half)
