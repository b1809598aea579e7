"""Pruned weights do better at 0 than frozen at their start, and best at 0 where training moved them towards 0."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import HIGH, Verdict, above, by, interval, on_each_dataset, verdict

SOURCE = "Zhou et al. 2019, section 3"
FREEZINGS = "start,zero-fallen,zero-random,zero-grown"
WORDS = {"noise": "0", "retraining": ",".join(["lottery", *(f"freeze:pruned={word}" for word in FREEZINGS.split(","))])}
SWEEPS = {
    "laptop": (
        figures.digits(**WORDS, level="0,4,8,12,16,20"),
        figures.clean_mnist(**WORDS, level="0,4,8,12,16,20"),
    ),
    "standard": (figures.mnist(**WORDS, level="0,4,8,12,16,20"),),
}
FIGURE = "double-descent"
PANELS = "dataset"
LEAST = 0.1
"""Less than the sparsity of the first pruned level."""


@on_each_dataset
def decide(results: pd.DataFrame) -> Verdict:
    """Test accuracy, mean over levels, seed by seed: those with less than 90 % of the weights gone, and the others.

    The last two findings, over all pruned levels, are the paper's controls.
    """
    settings = {str(name).split("=")[-1]: each for name, each in by(results, "retraining").items()}
    few = {name: each._replace(rows=each.rows[each.rows["sparsity"] < HIGH]) for name, each in settings.items()}
    early, late, pruned = (
        {name: each.beyond(least, "test_accuracy") for name, each in of.items()}
        for of, least in ((few, LEAST), (settings, HIGH), (settings, LEAST))
    )
    parts = {"less than 90 % gone": early, "90 % gone or more": late}
    return verdict(
        settings.values(),
        *(above(f"{part}: all at 0 minus frozen", interval(a["lottery"] - a["start"])) for part, a in parts.items()),
        *(
            above(f"{part}: those that fell at 0 minus all at 0", interval(a["zero-fallen"] - a["lottery"]))
            for part, a in parts.items()
        ),
        *(
            above(f"those that fell at 0 minus {control}", interval(pruned["zero-fallen"] - pruned[word]))
            for word, control in {"zero-random": "as many at random", "zero-grown": "those that grew"}.items()
        ),
    )
