"""Two data orders from the rewind point end in one basin only where it is late enough, and only there tickets match."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import CLOSE, Verdict, above, below, by, interval, on_each_dataset, verdict

SOURCE = "Frankle et al. 2020"
REWINDS = "0it,1ep,5ep,20ep"
# Pruned at once: each rewind point takes one ticket then, and not a chain of them. Of each seed two networks grow from
# the ticket of its data order 0, by the data orders 11 and 12.
WORDS = {
    "noise": "0",
    "pruning": "one-shot",
    "level": "16",
    "retraining": "ticket:order_seed=0",
    "order_seed": "11,12",
    "rewind": REWINDS,
}
SWEEPS = {
    "laptop": (
        figures.digits(**WORDS),
        figures.digits(noise="0", level="0"),
        figures.clean_mnist(**WORDS),
        figures.clean_mnist(level="0"),
    ),
    "standard": (figures.mnist(**WORDS), figures.mnist(noise="0", level="0")),
}
FIGURE = "double-descent"
PANELS = "dataset"
ANALYSES = ("interpolation",)
NEEDS = ("test_error_barrier",)
PAIRS = "orders"
NONE = 0.02
"""A barrier of test error that counts as none: 2 points, as in Frankle et al. 2020."""


@on_each_dataset
def decide(results: pd.DataFrame) -> Verdict:
    """Rewound to the start and to the last rewind point: the barrier of test error between the two, and their accuracy.

    That is their mean minus the dense network of the same seed; a point is as good.
    """
    dense = results[results["level"] == 0].drop_duplicates("seed").set_index("seed")["test_accuracy"]
    settings = by(results[results["level"] > 0], "rewind")
    first, *_, last = REWINDS.split(",")
    barrier, short = (
        {word: each.rows.groupby("seed")[name].mean() for word, each in settings.items()}
        for name in ("test_error_barrier", "test_accuracy")
    )
    return verdict(
        settings.values(),
        above(f"barrier, rewound to {first}, above 2", interval(barrier[first]), least=NONE),
        below(f"barrier, rewound to {last}, below 2", interval(barrier[last]), most=NONE),
        below(f"accuracy minus dense, rewound to {first}, below -1", interval(short[first] - dense), most=-CLOSE),
        above(f"accuracy minus dense, rewound to {last}, above -1", interval(short[last] - dense), least=-CLOSE),
    )
