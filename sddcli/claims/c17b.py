"""Weights that grew are as good to keep as large ones; weights that were large before training are not."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import CLOSE, HIGH, Verdict, above, by, interval, on_each_dataset, verdict

SOURCE = "Zhou et al. 2019, section 2"
LEVELS = "0,12,16,20,24,28"
CRITERIA = "magnitude,magnitude-increase,large-init,small-init"
SWEEPS = {
    "laptop": (
        figures.digits(noise="0", level=LEVELS, criterion=CRITERIA, seed="0-9"),
        figures.clean_mnist(level="0,12,16,20", criterion=CRITERIA),
    ),
    "standard": (figures.mnist(noise="0", level="0,12,16,20,22", criterion=CRITERIA, scope="layer"),),
}
FIGURE = "double-descent"
PANELS = "dataset"


@on_each_dataset
def decide(results: pd.DataFrame) -> Verdict:
    """Test accuracy, mean over the levels with 90 % of the weights gone or more, seed by seed; a point is as good."""
    settings = by(results, "criterion")
    mean = {name: setting.beyond(HIGH, "test_accuracy") for name, setting in settings.items()}
    large = mean["magnitude"]
    return verdict(
        settings.values(),
        above("grown minus large, above -1", interval(mean["magnitude-increase"] - large), least=-CLOSE),
        above("large after training minus large before it", interval(large - mean["large-init"])),
        above("large before training minus small before it", interval(mean["large-init"] - mean["small-init"])),
    )
