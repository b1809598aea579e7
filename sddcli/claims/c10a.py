"""Given their pruned weights back, networks leave the sparse solution and overfit, at small learning rates too."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, above, below, interval, redense, verdict

SOURCE = "He et al. 2022, figures 6, 37, 38 and 39"
SWEEPS = figures.redense("cifar100", "0.4", figures.FEW, lr="0.1", beside="lottery")
FIGURE = "double-descent"


def decide(results: pd.DataFrame) -> Verdict:
    """At the ticket's peak, seed by seed: accuracy lost and wrong labels fitted again, for each learning rate."""
    ticket, settings = redense(results)
    peak, findings = ticket.level("peak"), []
    for label, dense in settings.items():
        lost, fitted = (dense.at(peak, each) - ticket.at(peak, each) for each in ("test_accuracy", "memorized"))
        findings.append(below(f"{label}, test accuracy minus the ticket's", interval(lost)))
        findings.append(above(f"{label}, wrong labels fitted minus the ticket's", interval(fitted)))
    return verdict([ticket, *settings.values()], *findings)
