"""Learning from a good teacher beside the labels removes double descent."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, above, by, interval, verdict, without

SOURCE = "Quetu & Tartaglione 2024"
PEAK = {"laptop": 28, "standard": 24}
"""The level at which networks that learn from labels alone are best: the good teacher."""
SWEEPS = {
    "laptop": (figures.digits(loss=f"cross-entropy,distill:teacher=dense,distill:teacher={PEAK['laptop']}"),),
    "standard": (figures.mnist(loss=f"cross-entropy,distill:teacher=dense,distill:teacher={PEAK['standard']}"),),
}
FIGURE = "double-descent"


def decide(results: pd.DataFrame) -> Verdict:
    """No double descent with the good teacher, and a valley that is higher than that of labels alone, seed by seed.

    The dense network has fitted the wrong labels: what it teaches is compared too.
    """
    settings = by(results, "loss")
    (alone,) = (each for loss, each in settings.items() if loss == "cross-entropy")
    (good,) = (each for loss, each in settings.items() if loss[-1].isdigit())
    dense = settings["distill:teacher=dense"]
    valley = int(alone.curve["valley"])
    gains = {
        name: interval(each.at(valley, "test_accuracy") - alone.at(valley, "test_accuracy"))
        for name, each in (("the good teacher", good), ("the dense network", dense))
    }
    return verdict(
        settings.values(),
        without("with the good teacher", good),
        *(
            above(f"level {valley}, the valley of labels alone: taught by {name} minus not", gain)
            for name, gain in gains.items()
        ),
    )
