"""Double descent outlives pruning of whole neurons, of whole filters, and of N weights of each M."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import CLOSE, Verdict, by, interval, near, on_each_dataset, shows, verdict

SOURCE = "nobody has published it; our question"
SWEEPS = {
    "laptop": (
        figures.digits(unit="neuron", level="0-29"),
        figures.digits(unit="filter", model="convnet:width=8", level="0-28"),
        # From 64 of each 64 inputs down to one: 2:4 by itself has one density, and is no curve.
        figures.digits(unit="1:64", model="lenet-128-64", level="0-18"),
        figures.digits(unit="weight,2:4", level="3"),
        figures.small_mnist(unit="neuron", count="prunable"),
        figures.small_mnist(unit="weight,2:4", level="3", count="prunable"),
    ),
    "standard": (
        figures.mnist(unit="neuron", level="0-25", count="prunable"),
        figures.photographs(unit="filter", level="0-23"),
        figures.mnist(unit="weight,2:4", level="3", count="prunable"),
    ),
}
FIGURE = "double-descent"
PANELS = "dataset"


@on_each_dataset
def decide(results: pd.DataFrame) -> Verdict:
    """Each unit by itself; of 2:4 its accuracy against that of as many weights by themselves, seed by seed."""
    settings = by(results, "unit", "model")
    curves = {names: each for names, each in settings.items() if each.rows["level"].nunique() > 3}
    pairs = {unit: each.at(3, "test_accuracy") for (unit, model), each in settings.items() if unit in ("weight", "2:4")}
    return verdict(
        curves.values(),
        *(shows(f"{unit}, {model}", setting) for (unit, model), setting in curves.items()),
        near("2:4 minus half of the weights by themselves", interval(pairs["2:4"] - pairs["weight"]), CLOSE, "points"),
    )
