"""Weight decay removes double descent in a simple setup, and costs accuracy or sparsity."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import CLOSE, Verdict, above, below, by, interval, shows, verdict, without

SOURCE = "Quetu & Tartaglione 2023, Quest for the antidote to sparse double descent"
DECAYS = "0,0.001,0.003"
SWEEPS = {
    "laptop": (figures.digits(weight_decay=DECAYS),),
    "standard": (figures.mnist(weight_decay=DECAYS),),
}
FIGURE = "double-descent"


def decide(results: pd.DataFrame) -> Verdict:
    """The least weight decay whose curve has no double descent, or the largest where each has one, against none.

    Is it higher, seed by seed, at the level of the valley that is there without? And is the accuracy of the best level
    without weight decay, less a point, given up at a lower sparsity?
    """
    settings = by(results, "weight_decay")
    plain, others = settings[0.0], {decay: each for decay, each in settings.items() if decay}
    least = next((decay for decay, each in others.items() if without("", each).holds), max(others))
    decayed, valley = others[least], int(plain.curve["valley"])
    gain = decayed.at(valley, "test_accuracy") - plain.at(valley, "test_accuracy")
    good = plain.at(plain.level("peak"), "test_accuracy").mean() - CLOSE
    return verdict(
        settings.values(),
        shows("without weight decay", plain),
        without(f"weight decay {least:g}", decayed),
        above(f"level {valley}, the valley without: weight decay {least:g} minus 0", interval(gain)),
        below(
            f"last level with {100 * good:.1f} % test accuracy: weight decay {least:g} minus 0",
            interval(decayed.last(good) - plain.last(good)),
            "levels",
        ),
    )
