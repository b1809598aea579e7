"""Pruned weights do better at 0 than frozen at their start, and best at 0 where training moved them towards 0."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, above, by, interval, verdict

SOURCE = "Zhou et al. 2019, section 3"
FREEZINGS = "start,zero-fallen,zero-random,zero-grown"
WORDS = {"noise": "0", "retraining": ",".join(["lottery", *(f"freeze:pruned={word}" for word in FREEZINGS.split(","))])}
SWEEPS = {
    "laptop": (figures.digits(**WORDS, level="0,4,8,12,16,20"),),
    "standard": (figures.mnist(**WORDS, level="0,4,8,12,16,20"),),
}
FIGURE = "double-descent"


def decide(results: pd.DataFrame) -> Verdict:
    """Test accuracy, mean over all levels but the dense one, seed by seed; the last two are the paper's controls."""
    settings = by(results, "retraining")
    mean = {str(name).split("=")[-1]: each.beyond(0.1, "test_accuracy") for name, each in settings.items()}
    some = mean["zero-fallen"]
    return verdict(
        settings.values(),
        above("all at 0 minus frozen at their start", interval(mean["lottery"] - mean["start"])),
        above("those that fell at 0 minus all at 0", interval(some - mean["lottery"])),
        above("those that fell at 0 minus as many at random", interval(some - mean["zero-random"])),
        above("those that fell at 0 minus those that grew", interval(some - mean["zero-grown"])),
    )
