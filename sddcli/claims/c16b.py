"""Winning tickets of a small learning rate lie in sharper minima and lose more accuracy to label noise."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import CLOSE, Verdict, above, by, interval, verdict

SOURCE = "Sakamoto & Sato 2022"
LEVELS = "0,4,8,12,16,20"
SWEEPS = {
    "laptop": (figures.digits(noise="0,0.4", lr="0.01,0.1", level=LEVELS),),
    "standard": (figures.photographs(noise="0,0.2", lr="0.01,0.1", level=LEVELS),),
}
FIGURE = "double-descent"
ANALYSES = ("flatness",)
NEEDS = ("flatness_train_loss_rise",)


def decide(results: pd.DataFrame) -> Verdict:
    """At the sparsest level that, on clean labels, keeps both dense accuracies within a point; seed by seed.

    Sharpness is how much train loss on clean labels rises along random directions as long as the network's filters.
    """
    settings = by(results, "noise", "lr")
    rates, noise = sorted({lr for _, lr in settings}), max(noise for noise, _ in settings)
    clean, noisy = ([settings[share, lr] for lr in rates] for share in (0.0, noise))
    wins = [
        level
        for level in sorted(results["level"].unique())
        if all((each.at(level, "test_accuracy") - each.at(0, "test_accuracy")).mean() >= -CLOSE for each in clean)
    ]
    small, large = (
        before.at(wins[-1], "test_accuracy") - after.at(wins[-1], "test_accuracy")
        for before, after in zip(clean, noisy, strict=True)
    )
    flat, steep = (each.at(wins[-1], "flatness_train_loss_rise") for each in clean[::-1])
    return verdict(
        settings.values(),
        above(f"level {wins[-1]}, rise of train loss, small rate minus large", interval(steep - flat), ""),
        above("accuracy lost to label noise, small rate minus large", interval(small - large)),
    )
