"""The best pruned network has about as many weights whatever the width of the dense one it is pruned from."""

from math import log

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, above, below, by, difference, verdict

SOURCE = "a study of lottery tickets under label noise, UAI 2023 (arXiv 2306.12190)"
SWEEPS = {
    "laptop": (
        figures.digits(model="lenet-30-10", level="0-20", seed="0-9"),
        figures.digits(model="lenet-100-30", level="0-27", seed="0-9"),
        figures.digits(seed="0-9"),
    ),
    "standard": (figures.mnist(model="lenet-30-10,lenet-100-30,lenet-300-100", level="0-25"),),
}
FIGURE = "double-descent"
WEAK = 0.5
"""The exponent of size against width below which sizes are alike: pruned networks spread less than half as far."""


def decide(results: pd.DataFrame) -> Verdict:
    """Weights at the peak of accuracy go with those of the dense network to some power: 0 the same, 1 in proportion.

    From the widest and the narrowest; a peak at a later level by one means (1 - rate) times the weights.
    """
    settings = by(results, "model")
    dense = {name: float(setting.at(0, "weights").mean()) for name, setting in settings.items()}
    wide, narrow = settings[max(dense, key=dense.__getitem__)], settings[min(dense, key=dense.__getitem__)]
    spread = log(max(dense.values()) / min(dense.values()))
    step = log(1 - float(results["rate"].max())) / spread
    later, low, high = difference(wide.level_of("peak"), narrow.level_of("peak"))
    power = (1 + step * later, 1 + step * high, 1 + step * low)
    gains = (above(f"{name}: peak minus dense", setting.size("gain")) for name, setting in settings.items())
    return verdict(settings.values(), *gains, below("power of size against width, below 0.5", power, "", WEAK))
