"""MNIST-1D: along width accuracy has a valley where noisy labels are just fitted, and without noise only a plateau."""

import pandas as pd

from sddcli.claims.deciding.terms import CLOSE, Verdict, above, along, below, by, interval, shows, verdict
from sddcli.figures import Sweep

SOURCE = "Greydanus 2020 (MNIST-1D), after Nakkiran et al. 2020"
MODEL = ",".join(f"lenet-{width}-{width}" for width in (4, 8, 16, 24, 32, 48, 64, 128))
USUAL = {"dataset": "mnist1d", "model": MODEL, "noise": "0,0.15", "level": "0", "seed": "0-4"}
SWEEPS = {
    # As much learning rate times epochs as the setting that this is from, in half the epochs.
    "laptop": (Sweep({**USUAL, "epochs": "250", "lr": "0.02", "eval_every": "50"}),),
    "standard": (Sweep(USUAL),),
}
FIGURE, ALONG, PANELS = "double-descent", "width", "noise"
FITTED = 0.99


def decide(results: pd.DataFrame) -> Verdict:
    """Dense networks. Threshold: of the two widths between which 99 % of the labels come to be fitted the worse one.

    Without noise the same two widths are compared, between which accuracy falls with noise.
    """
    settings = by(results, "noise", along="width")
    clean, noisy = settings[0.0].rows, settings[0.15].rows
    tests = along(noisy, "width", "test_accuracy")
    train = {width: float(each.mean()) for width, each in along(noisy, "width", "train_accuracy").items()}
    fitted = min(width for width in train if train[width] >= FITTED - 1e-9)
    before = max(width for width in train if width < fitted)
    valley = min((fitted, before), key=lambda width: float(tests[width].mean()))
    narrow = max((width for width in tests if width < valley), key=lambda width: float(tests[width].mean()))
    plateau = along(clean, "width", "test_accuracy")
    return verdict(
        settings.values(),
        shows("noise 0.15", settings[0.15]),
        above(f"noise 0.15, width {narrow:.0f} minus width {valley:.0f}", interval(tests[narrow] - tests[valley])),
        above(f"noise 0.15, widest minus width {valley:.0f}", interval(tests[max(tests)] - tests[valley])),
        below(
            f"no noise, width {narrow:.0f} minus width {valley:.0f}, below 1",
            interval(plateau[narrow] - plateau[valley]),
            most=CLOSE,
        ),
    )
