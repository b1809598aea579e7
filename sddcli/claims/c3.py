"""More label noise moves the critical phase to lower sparsity and the peak of the sweet phase to higher."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, above, below, by, difference, interval, shows, verdict

SOURCE = "He et al. 2022, figure 4"
SWEEPS = {**figures.FIGURES["figure-4"].sweeps, "laptop": (figures.digits(noise=figures.NOISES, seed="0-9"),)}
FIGURE = "double-descent"


def decide(results: pd.DataFrame) -> Verdict:
    """Each noise shows it; threshold, valley and peak of the most noise against those of the least."""
    settings = by(results, "noise")
    least, most = settings[min(settings)], settings[max(settings)]
    return verdict(
        settings.values(),
        *(shows(f"{noise:.0%} noise", setting) for noise, setting in settings.items()),
        below("threshold, most noise minus least", interval(most.thresholds() - least.thresholds()), "levels"),
        below(
            "valley, most noise minus least", difference(most.level_of("valley"), least.level_of("valley")), "levels"
        ),
        above("peak, most noise minus least", difference(most.level_of("peak"), least.level_of("peak")), "levels"),
    )
