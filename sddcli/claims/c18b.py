"""Tickets carry over to other data of the same kind, and to another optimizer: nearly as good as native ones."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import CLOSE, HIGH, Finding, Verdict, above, by, interval, on_each_dataset, verdict

SOURCE = "Morcos et al. 2019"
CONTROLS = "shuffle,permute,reinit"
TICKETS = ("ticket:half=a", "ticket:optimizer=adam:lr=0.001", "ticket:optimizer=sgd:lr=0.1")


def tickets(data: figures.Sweep, dataset: str, level: str) -> tuple[figures.Sweep, ...]:
    """Native tickets of the half b of the data, those of the half a and of the other optimizer, and controls."""
    words = {**data.words, "dataset": f"{dataset}:half=b", "level": level, "noise": "0"}
    half, by_adam, by_sgd = TICKETS
    sgd, adam = f"lottery,{half},{by_adam},{CONTROLS}", f"lottery,{by_sgd},{CONTROLS}"
    return (
        figures.Sweep({**words, "optimizer": "sgd", "lr": "0.1", "retraining": sgd}),
        figures.Sweep({**words, "optimizer": "adam", "lr": "0.001", "retraining": adam}),
    )


SWEEPS = {
    "laptop": (
        *tickets(figures.digits(seed="0-9"), "digits", "0,12,16,20"),
        *tickets(figures.clean_mnist(), "mnist", "0,12,16,20"),
    ),
    "standard": tickets(figures.mnist(), "mnist", "0,12,16,20"),
}
FIGURE = "double-descent"
PANELS = "dataset"
SHOWN = {"retraining": ("lottery", *TICKETS, "reinit")}


@on_each_dataset
def decide(results: pd.DataFrame) -> Verdict:
    """Test accuracy, mean over the levels with 90 % of the weights gone or more, seed by seed; a point is as good.

    Controls: the native ticket's masks shuffled within layers or permuted among them, and new weights under them.
    """
    # The dense network of a ticket's source is none of the setting that it is a row of.
    pruned = results[results["level"] > 0]
    settings, findings = by(pruned, "optimizer", "retraining"), list[Finding]()
    mean = {names: setting.beyond(HIGH, "test_accuracy") for names, setting in settings.items()}
    for (optimizer, word), accuracy in mean.items():
        if word.startswith("ticket:"):
            source = "the other half of the data" if "half" in word else word.split("=")[1].split(":")[0]
            label = f"ticket of {source}, trained by {optimizer}"
            best = max(CONTROLS.split(","), key=lambda control: mean[optimizer, control].mean())
            native = interval(accuracy - mean[optimizer, "lottery"])
            findings.append(above(f"{label}, minus the native one, above -1", native, least=-CLOSE))
            findings.append(
                above(f"{label}, minus its best control, {best}", interval(accuracy - mean[optimizer, best]))
            )
    return verdict(settings.values(), *findings)
