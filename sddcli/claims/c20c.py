"""Accuracy falls and rises again along width, examples and epochs too, and label noise moves threshold and valley to \
wider networks."""

from collections.abc import Sequence
from math import log2

import pandas as pd

from sddcli.claims.deciding.terms import Interval, Setting, Verdict, above, by, difference, interval, shows, verdict
from sddcli.figures import digits, widths

SOURCE = "Nakkiran et al. 2020"
SIZES, LENGTHS = "120,160,240,320,480,640,960,1280", "1,2,4,8,15,30,60,120,240"
SWEEPS = {
    "laptop": (
        widths(noise="0,0.2,0.4,0.6"),
        # As many steps for all: in as many epochs small sets are not fitted.
        digits(model="lenet-24-24", train_size=SIZES, length="2520it", eval_every="1000", level="0"),
        digits(model="lenet-64-64", epochs=LENGTHS, eval_every="240", level="0"),
    )
}
FIGURE, ALONG, PANELS = "double-descent", "width", "noise"
SHOWN = {"train_size": (0,), "eval_every": (5,)}
LESS, MORE, FITTED = 0.2, 0.4, 0.99


def decide(results: pd.DataFrame) -> Verdict:
    """Dense networks: 13 widths at four noises, eight training sets and nine lengths of training, each with five seeds.

    Threshold: the width at which a seed comes to fit 99 % of the labels, between two widths in proportion. Widths are
    compared in doublings.
    """
    examples, lengths = results["train_size"] > 0, results["eval_every"] == 240
    of_noise = by(results[~examples & ~lengths], "noise", along="width")
    of_size = by(results[examples], "noise", along="train-size")[MORE]
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
    """log2 of the width at which each seed comes to fit its labels; of one that never does, of twice the widest."""
    train = setting.rows.pivot(index="width", columns="seed", values="train_accuracy").sort_index()
    widths = [log2(width) for width in train.index]
    return pd.Series({seed: _crossing(widths, rates.tolist()) for seed, rates in train.items()})


def _crossing(widths: Sequence[float], rates: Sequence[float]) -> float:
    """Where rates come to FITTED, between two widths in proportion; a doubling behind the last where none does."""
    first = next((k for k, rate in enumerate(rates) if rate >= FITTED - 1e-9), None)
    if not first:
        return widths[-1] + 1 if first is None else widths[0]
    share = (FITTED - rates[first - 1]) / (rates[first] - rates[first - 1])
    return widths[first - 1] + share * (widths[first] - widths[first - 1])


def _doublings(width: Interval) -> Interval:
    """A width and its interval in doublings, from small to large."""
    value, one, other = (log2(each) for each in width)
    return value, min(one, other), max(one, other)
