"""Without BatchNorm, learning distance is largest where test accuracy is lowest."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, by, difference, interval, near, verdict

SOURCE = "He et al. 2022, figure 9"
SWEEPS = {
    "laptop": (figures.digits(), figures.small_mnist()),
    "standard": (figures.mnist(),),
    "paper": figures.FIGURES["figure-9"].sweeps["paper"],
}
FIGURE = "learning-distance"
NEEDS = ("learning_distance",)


def decide(results: pd.DataFrame) -> Verdict:
    """Where learning distance is largest, seed by seed, against the valley: three levels are near."""
    settings = by(results, "dataset")
    findings = []
    for name, setting in settings.items():
        distances = setting.rows.pivot(index="seed", columns="level", values="learning_distance")
        largest = interval(distances.idxmax(axis="columns").astype(float))
        apart = difference(largest, setting.level_of("valley"))
        findings.append(near(f"{name}: level of the largest distance minus valley", apart, most=3))
    return verdict(settings.values(), *findings)
