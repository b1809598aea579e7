"""All criteria show double descent; turning points come latest for magnitude, then gradient, then random pruning."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, above, by, difference, interval, on_each_dataset, shows, verdict

SOURCE = "He et al. 2022, figure 2"
OTHERS = (
    "gradient:batches=all,taylor,lamp,small-final,large-init,small-init,large-init-large-final,small-init-small-final,"
    "magnitude-increase,movement,same-sign,diff-sign,magnitude-increase-same-sign,magnitude-increase-diff-sign,"
    "snip,synflow"
)
"""All criteria of single weights but those of the paper, and GraSP: level by level it keeps weights from which
training dies."""
PAPER = figures.FIGURES["figure-2"].sweeps
SWEEPS = figures.beside_mnist(
    {**PAPER, "laptop": (*PAPER["laptop"], figures.digits(criterion=OTHERS, level="0-27", seed="0-2"))},
    figures.small_mnist(criterion="magnitude,gradient,random"),
)
FIGURE = "criteria"
SHOWN = {"dataset": ("digits",)}


@on_each_dataset
def decide(results: pd.DataFrame) -> Verdict:
    """Each criterion by itself; then its threshold and its peak against those of the next one in the paper's order."""
    settings = by(results, "criterion")
    findings = [shows(str(name), setting) for name, setting in settings.items()]
    for first, second in (("magnitude", "gradient"), ("gradient", "random")):
        one, other = settings[first], settings[second]
        order = f"{first} minus {second}"
        findings.append(above(f"threshold, {order}", interval(one.thresholds() - other.thresholds()), "levels"))
        findings.append(above(f"peak, {order}", difference(one.level_of("peak"), other.level_of("peak")), "levels"))
    return verdict(settings.values(), *findings)
