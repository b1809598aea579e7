"""The sign of a ticket's initial weight is what counts, not its value: other values with that sign do as well."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import CLOSE, HIGH, Verdict, above, by, interval, on_each_dataset, verdict

SOURCE = "Zhou et al. 2019, section 4.1"
WORDS = {
    "noise": "0",
    "pruning": "one-shot",
    "start": "original,permuted:sign=kept,constant,original:sign=random,permuted:sign=random,constant:sign=random",
}
SWEEPS = {
    # The masks are those of the dense network for all starts: pruned step by step, each start would make its own.
    "laptop": (
        figures.digits(**WORDS, level="0,12,14,16,18", seed="0-9"),
        figures.clean_mnist(**WORDS, level="0,12,14,16,18", seed="0-9"),
    ),
    "standard": (figures.mnist(**WORDS, level="0,12,14,16,18"),),
}
FIGURE = "double-descent"
PANELS = "dataset"


@on_each_dataset
def decide(results: pd.DataFrame) -> Verdict:
    """Test accuracy, mean over the levels with 90 % of the weights gone or more, seed by seed; a point is as good."""
    settings = by(results, "start")
    mean = {name: setting.beyond(HIGH, "test_accuracy") for name, setting in settings.items()}
    own = mean["original"]
    others = {"permuted": "permuted:sign=kept", "constant": "constant"}
    return verdict(
        settings.values(),
        *(
            above(
                f"{name} values with their signs minus own values, above -1", interval(mean[word] - own), least=-CLOSE
            )
            for name, word in others.items()
        ),
        *(
            above(
                f"{name} values, their signs minus random ones",
                interval(mean[word] - mean[f"{word.split(':')[0]}:sign=random"]),
            )
            for name, word in {"own": "original", **others}.items()
        ),
    )
