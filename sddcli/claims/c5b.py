"""On clean labels, rewinding the learning rate is no worse than rewinding weights, and both beat fine-tuning."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import CLOSE, HIGH, Verdict, above, by, interval, on_each_dataset, verdict

SOURCE = "Renda et al. 2020"
WAYS = "lottery,lr-rewind,finetune"
SWEEPS = figures.beside_mnist(
    figures.at_scales("cifar10", "0", retraining=WAYS), figures.clean_mnist(retraining=WAYS, level="0,12,16,20")
)
FIGURE = "double-descent"
PANELS = "dataset"


@on_each_dataset
def decide(results: pd.DataFrame) -> Verdict:
    """Test accuracy, mean over all levels with 90 % of the weights gone or more, seed by seed; a point is no worse."""
    settings = by(results, "retraining")
    accuracy = {name: setting.beyond(HIGH, "test_accuracy") for name, setting in settings.items()}
    tuned = accuracy["finetune"]
    return verdict(
        settings.values(),
        above(
            "rewound learning rate minus rewound weights, above -1",
            interval(accuracy["lr-rewind"] - accuracy["lottery"]),
            least=-CLOSE,
        ),
        above("rewound weights minus fine-tuned", interval(accuracy["lottery"] - tuned)),
        above("rewound learning rate minus fine-tuned", interval(accuracy["lr-rewind"] - tuned)),
    )
