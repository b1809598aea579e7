"""Double descent outlives the way of retraining: rewinding, fine-tuning, learning-rate rewinding, from scratch."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, by, shows, verdict

SOURCE = "He et al. 2022, figure 3"
SWEEPS = {
    **figures.at_scales("cifar100", "0.4", retraining=f"lottery,{figures.RETRAININGS}"),
    # Five seeds could not decide on fine-tuning, of which two sets said different things, nor on training from scratch.
    "laptop": (
        figures.digits(retraining="lottery,lr-rewind"),
        figures.digits(retraining="finetune,scratch", seed="0-9"),
    ),
}
FIGURE = "double-descent"


def decide(results: pd.DataFrame) -> Verdict:
    """Each retraining by itself."""
    settings = by(results, "retraining")
    return verdict(settings.values(), *(shows(str(name), setting) for name, setting in settings.items()))
