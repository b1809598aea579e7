"""Signs: how many kept weights still have the sign that they were initialized with."""

from math import nan

from torch import Tensor

from sddcli.core.types import Measurement, Subject

UNITS = {"same_signs": "share", "own_same_signs": "share"}


def measure(subject: Subject) -> Measurement:
    """The share of kept prunable weights w with sign(w) = sign(w_i) (Zhou et al. 2019; Gadhikar & Burkholz 2024).

    `same_signs`: w_i is the dense initialization; `own_same_signs`: what this level's own training started from. NaN
    where no weight is kept. Rows: the same for each prunable layer.
    """
    net, start = subject.net, subject.start()
    before = {"same_signs": net.initial, "own_same_signs": start}
    agreeing = {
        kind: {name: (net.final[name].sign() == weights[name].sign())[mask] for name, mask in net.masks.items()}
        for kind, weights in before.items()
    }
    rows = [{"layer": name} | {kind: _share([same[name]]) for kind, same in agreeing.items()} for name in net.masks]
    return Measurement({kind: _share(list(same.values())) for kind, same in agreeing.items()}, rows)


def _share(agreeing: list[Tensor]) -> float:
    count = sum(len(each) for each in agreeing)
    return sum(int(each.sum()) for each in agreeing) / count if count else nan
