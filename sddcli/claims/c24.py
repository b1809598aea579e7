"""At equal size, networks pruned by magnitude after training fit more wrong labels than those pruned before it."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, above, by, interval, on_each_dataset, verdict

SOURCE = "Kumar et al. 2024"
WORDS = {"pruning": "one-shot", "criterion": "magnitude,snip,grasp,synflow", "level": "4,8,12,16,20,24"}
SWEEPS = {
    "laptop": (figures.digits(**WORDS), figures.small_mnist(**WORDS)),
    "standard": (figures.mnist(**WORDS),),
}
FIGURE = "memorization"
PANELS = "dataset"


@on_each_dataset
def decide(results: pd.DataFrame) -> Verdict:
    """Wrong labels fitted, mean over all levels, seed by seed. All are pruned at once: only the ranking differs."""
    settings = by(results, "criterion")
    fitted = {name: setting.beyond(0, "memorized") for name, setting in settings.items()}
    large = fitted.pop("magnitude")
    return verdict(
        settings.values(),
        *(above(f"magnitude minus {name}", interval(large - other)) for name, other in fitted.items()),
    )
