"""Accuracy falls and rises again along width, examples and epochs too, and label noise moves threshold and valley to \
wider networks."""

from math import log2

import pandas as pd

from sddcli.claims.deciding.terms import Interval, Setting, Verdict, above, by, difference, interval, shows, verdict
from sddcli.figures import digits, widths

SOURCE = "Nakkiran et al. 2020"
SIZES, LENGTHS = "60,80,120,160,240,320,480,640,960,1280", "1,2,4,8,15,30,60,120,240"
SWEEPS = {
    "laptop": (
        widths(noise="0,0.2,0.4,0.6"),
        digits(model="lenet-12-12", noise="0.2", train_size=SIZES, level="0"),
        digits(model="lenet-64-64", epochs=LENGTHS, eval_every="240", level="0"),
    )
}
FIGURE = "double-descent"
LESS, MORE = 0.2, 0.4


def decide(results: pd.DataFrame) -> Verdict:
    """Dense networks: 13 widths at four noises, ten training sets and nine lengths of training, each with five seeds.

    Threshold: the narrowest width of a seed at which 99 % of the labels are fitted. Widths are compared in doublings.
    """
    examples, lengths = results["train_size"] > 0, results["eval_every"] == 240
    of_noise = by(results[~examples & ~lengths], "noise", along="width")
    of_size = by(results[examples], "noise", along="train-size")[LESS]
    of_length = by(results[lengths], "noise", along="epochs")[MORE]
    thresholds = {noise: _threshold(setting) for noise, setting in of_noise.items()}
    valleys = {noise: _doublings(setting.level_of("valley")) for noise, setting in of_noise.items()}
    moved = f"noise {MORE} minus noise {LESS}, in doublings of width"
    return verdict(
        [*of_noise.values(), of_size, of_length],
        *(shows(f"along width, noise {noise}", of_noise[noise]) for noise in (LESS, MORE)),
        shows("along training examples", of_size),
        shows("along epochs", of_length),
        above(f"threshold, {moved}", interval(thresholds[MORE] - thresholds[LESS]), ""),
        above(f"valley, {moved}", difference(valleys[MORE], valleys[LESS]), ""),
    )


def _threshold(setting: Setting) -> "pd.Series[float]":
    """log2 of the narrowest width at which a seed fits its labels; of one that never does, of twice the widest."""
    fitted = setting.rows[setting.rows["train_accuracy"] >= 0.99 - 1e-9]
    narrowest = fitted.groupby("seed")["width"].min()
    return narrowest.reindex(sorted(setting.rows["seed"].unique()), fill_value=2 * setting.rows["width"].max()).map(
        log2
    )


def _doublings(width: Interval) -> Interval:
    """A width and its interval in doublings, from small to large."""
    value, one, other = (log2(each) for each in width)
    return value, min(one, other), max(one, other)
