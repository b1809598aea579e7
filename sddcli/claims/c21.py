"""A level is as good as the dense network exactly where no barrier lies between it and the level above."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import CLOSE, Verdict, above, below, interval, on_each_dataset, one, verdict

SOURCE = "Paul et al. 2023"
SWEEPS = figures.beside_mnist(figures.at_scales("cifar10", "0"), figures.clean_mnist(level="0-20"))
FIGURE = "double-descent"
PANELS = "dataset"
ANALYSES = ("interpolation",)
NEEDS = ("test_error_barrier",)
PAIRS = "levels"
NONE = 0.02
"""A barrier of test error that counts as none: 2 points, as in Frankle et al. 2020."""


@on_each_dataset
def decide(results: pd.DataFrame) -> Verdict:
    """Seed by seed, the mean barrier of test error to the level above, over two kinds of levels.

    Levels within a point of the dense network's accuracy, by the mean over seeds, and the others.
    """
    setting = one(results)
    gaps = (setting.rows.groupby("level")["test_accuracy"].mean() - setting.at(0, "test_accuracy").mean()).drop(0)
    barriers = setting.rows.pivot(index="seed", columns="level", values="test_error_barrier")
    as_good, others = (barriers[gaps.index[rows]].mean(axis="columns") for rows in (gaps >= -CLOSE, gaps < -CLOSE))
    return verdict(
        [setting],
        below("barrier where levels are as good as dense, below 2", interval(as_good), most=NONE),
        above("barrier where they are not, above 2", interval(others), least=NONE),
    )
