"""Masks that move or stay random show double descent along their density too, and sooner than the lottery chain."""

import pandas as pd

from sddcli import figures
from sddcli.claims.deciding.terms import Verdict, above, by, difference, shows, verdict

SOURCE = "nobody has published it; SET by Mocanu et al. 2018, RigL by Evci et al. 2020, gradual by Zhu & Gupta 2017"
RANKED, RANDOM = {"retraining": "lottery,gradual"}, {"retraining": "rigl,set,static", "scope": "erk"}
EVEN = {"noise": "0.2,0.4", "level": ",".join(map(str, range(0, 33, 2)))}
SWEEPS = {
    "laptop": (figures.digits(**EVEN, **RANKED), figures.digits(**EVEN, **RANDOM)),
    "standard": (figures.mnist(**RANKED), figures.mnist(**RANDOM)),
}
FIGURE, PANELS = "double-descent", "noise"


def decide(results: pd.DataFrame) -> Verdict:
    """Each kind of training by itself, at each share of label noise; then where its valley lies.

    All trainings of a level are equally long and start from the same weights. Only the lottery's masks cost trainings
    of the levels before; masks of `gradual` are pruned in the first half of the one training, those of `rigl` and `set`
    move in its first three quarters, at random `static` ones stay.
    """
    settings = by(results, "noise", "retraining")
    findings = [shows(f"noise {noise:g}, {name}", setting) for (noise, name), setting in settings.items()]
    for (noise, name), setting in settings.items():
        if name != "lottery":
            ticket = settings[noise, "lottery"].level_of("valley")
            text = f"noise {noise:g}, valley, lottery minus {name}"
            findings.append(above(text, difference(ticket, setting.level_of("valley")), "levels"))
    return verdict(settings.values(), *findings)
