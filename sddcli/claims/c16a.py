"""A dense network trained for as many epochs as the whole chain does not get what pruning gets under label noise."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, above, interval, on_each_dataset, one, verdict

SOURCE = "Jin et al. 2022"
SWEEPS = {
    "laptop": (
        figures.digits(),
        figures.digits(level="0", epochs="1980"),
        figures.small_mnist(),
        figures.small_mnist(level="0", epochs="3900"),
    ),
    "standard": (figures.photographs(), figures.photographs(level="0", epochs="1920")),
    "paper": (figures.mnist(), figures.mnist(level="0", epochs="5200")),
}
FIGURE = "double-descent"
PANELS = "dataset"


@on_each_dataset
def decide(results: pd.DataFrame) -> Verdict:
    """The chain's peak, and wrong labels fitted there, against the long dense network of the same seed."""
    longest = results["epochs"].max()
    chain, dense = one(results[results["epochs"] < longest]), results[results["epochs"] == longest].set_index("seed")
    peak = chain.level("peak")
    gain = chain.at(peak, "test_accuracy") - dense["test_accuracy"]
    forgotten = dense["memorized"] - chain.at(peak, "memorized")
    return verdict(
        [chain],
        above("test accuracy, peak of the chain minus the long dense network", interval(gain)),
        above("wrong labels fitted, the long dense network minus the peak", interval(forgotten)),
    )
