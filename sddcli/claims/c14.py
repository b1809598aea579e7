"""The entropy of activations marks where the phases change, and says where to stop along sparsity."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import CLOSE, Setting, Verdict, below, by, interval, near, verdict
from sddcli.verdicts import stopping
from sddcli.verdicts.reading.curves import smoothed

SOURCE = "Quetu & Tartaglione 2024"
SWEEPS = {
    "laptop": (figures.digits(noise="0.2,0.4,0.8", seed="0-9"),),
    "standard": (figures.mnist(noise="0.2,0.4,0.8"),),
}
FIGURE = "complexity"
ANALYSES = ("complexity",)
NEEDS = ("activation_entropy",)
NEAR = 2.0
"""Levels that a change may lie from the threshold."""


def decide(results: pd.DataFrame) -> Verdict:
    """Seed by seed: where does the entropy fall fastest, against the last level at which all labels are fitted; and how
    much test accuracy does the level give up at which it has levelled off, against the best level.

    The rule by which a level is chosen was made by curves of 40 % label noise: of these findings those of 20 and 80 %
    are its test.
    """
    settings = by(results, "noise")
    findings = []
    for noise, setting in settings.items():
        turns, stops = _chosen(setting)
        label, best = f"noise {noise:g}", setting.level("peak")
        findings.append(near(f"{label}, steepest fall minus threshold", interval(turns - setting.thresholds()), NEAR))
        given_up = setting.at(best, "test_accuracy") - _at(setting, stops)
        findings.append(below(f"{label}, best level minus the one chosen", interval(given_up), most=CLOSE))
    return verdict(settings.values(), *findings)


def _chosen(setting: Setting) -> "tuple[pd.Series[float], pd.Series[float]]":
    """The level from which the entropy falls fastest, and that at which it has levelled off, by seed."""
    entropy = setting.rows.pivot(index="seed", columns="level", values="activation_entropy")
    density = setting.rows.groupby("level")["density"].mean().to_numpy(float)
    levels = entropy.columns.to_numpy(float)
    curves = entropy.to_numpy(float)
    turns = [levels[stopping.steepest(smoothed(curve, density), density)] for curve in curves]
    stops = [levels[stopping.chosen_by("activation_entropy", curve, density)] for curve in curves]
    return pd.Series(turns, entropy.index), pd.Series(stops, entropy.index)


def _at(setting: Setting, levels: "pd.Series[float]") -> "pd.Series[float]":
    """Test accuracy of each seed at a level of its own."""
    accuracy = setting.rows.pivot(index="seed", columns="level", values="test_accuracy")
    columns = accuracy.columns.get_indexer(pd.Index(levels))
    return pd.Series(accuracy.to_numpy(float)[range(len(levels)), columns], levels.index)
