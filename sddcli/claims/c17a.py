"""On clean labels a ticket needs its own initial weights, and pruning step by step beats pruning at once."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import HIGH, Verdict, above, by, interval, on_each_dataset, verdict

SOURCE = "Frankle & Carbin 2019"
LEVELS = "0,12,16,20,24,28"
SWEEPS = {
    "laptop": (
        figures.digits(noise="0", level=LEVELS, retraining="lottery,reinit"),
        figures.digits(noise="0", level=LEVELS, pruning="one-shot"),
        figures.clean_mnist(level="0,12,16,20", retraining="lottery,reinit"),
        figures.clean_mnist(level="0,12,16,20", pruning="one-shot"),
    ),
    "standard": (
        figures.mnist(noise="0", level="0,12,16,20,22", retraining="lottery,reinit"),
        figures.mnist(noise="0", level="0,12,16,20,22", pruning="one-shot"),
    ),
}
FIGURE = "double-descent"
PANELS = "dataset"


@on_each_dataset
def decide(results: pd.DataFrame) -> Verdict:
    """Test accuracy, mean over the levels with 90 % of the weights gone or more, seed by seed."""
    settings = by(results, "retraining", "pruning")
    ticket = settings["lottery", "iterative"]
    mean = {names: setting.beyond(HIGH, "test_accuracy") for names, setting in settings.items()}
    own = mean["lottery", "iterative"]
    return verdict(
        [ticket],
        above("own initial weights minus new ones", interval(own - mean["reinit", "iterative"])),
        above("step by step minus at once", interval(own - mean["lottery", "one-shot"])),
    )
