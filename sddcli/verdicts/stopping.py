"""Stopping: which level of a chain would be taken without a look at the test set, and what that costs.

Three signals choose, each by itself. Validation accuracy: where it is highest. The entropy of activations (Quetu &
Tartaglione 2024) and the learning distance (He et al. 2022) rise while labels are still fitted, fall fastest where
that ends, and level off towards the peak of the sweet phase: where they fall half as fast as they did at most. All
curves are smoothed as those of the test for double descent are; each seed chooses for itself. The rule was made by
curves of digits with 40 % label noise, so that others judge it.
"""

from collections.abc import Iterator, Mapping
from statistics import median_low
from typing import Any

import numpy as np

from sddcli.verdicts.reading.curves import Floats, interval_of, smoothed

SIGNALS = {
    "validation_accuracy": "sdd sweep --validation 0.1",
    "activation_entropy": "sdd analyze complexity",
    "learning_distance": "sdd analyze learning-distance",
}
"""The columns that choose, and the command that makes each where it is not known."""
INDICES = ("best", *(f"by_{name}" for name in SIGNALS))
"""Which of the values that `judge` returns are indices of levels."""
QUESTION = "Where would a chain be stopped without the test set?"
NOTE = "Each seed chooses for itself; levels are medians, and in brackets are 95% confidence intervals over seeds."


def judge(
    test: Floats, train: Floats, density: Floats, signals: Mapping[str, Floats], *, share: float = 0.5
) -> dict[str, Any]:
    """What each of `signals`, name -> (S, K) values as those of test and train accuracy, would choose.

    density: (K,) share of weights kept. Returns indices of levels, `best`, that of the highest smoothed mean of test
    accuracy, and the median `by_NAME` of each signal; `lost_NAME`, how much lower test accuracy is there, with its 95 %
    t-interval over seeds; None of a signal that is not known. share: of the steepest fall, at which it has levelled
    off.
    """
    best = int(smoothed(test.mean(0), density).argmax())
    values: dict[str, Any] = {"n": len(test), "best": best, "share": share}
    for name in SIGNALS:
        if name not in signals:
            values |= {f"by_{name}": None, f"lost_{name}": None, f"lost_{name}_low": None, f"lost_{name}_high": None}
            continue
        chosen = [chosen_by(name, curve, density, share) for curve in signals[name]]
        lost = test[:, best] - test[np.arange(len(test)), chosen]
        values |= {f"by_{name}": median_low(chosen), **interval_of(f"lost_{name}", lost)}
    return values


def chosen_by(name: str, curve: Floats, density: Floats, share: float = 0.5) -> int:
    """The index of the level that one chain's curve (K,) of a signal chooses; see above."""
    smooth = smoothed(curve, density)
    if name == "validation_accuracy":
        return int(smooth.argmax())
    return levelled_off(smooth, density, share)


def steepest(smooth: Floats, density: Floats) -> int:
    """The index of the level from which a curve (K,) falls fastest to the next, after its highest; K - 1 if nowhere."""
    falls = _falls(smooth, density)
    highest = int(smooth.argmax())
    return highest + int(falls[highest:].argmax()) if (falls[highest:] > 0).any() else len(smooth) - 1


def levelled_off(smooth: Floats, density: Floats, share: float) -> int:
    """The index of the first level after that which falls at most `share` as fast; the last one if there is none."""
    falls, start = _falls(smooth, density), steepest(smooth, density)
    if not len(falls):  # a curve of one level
        return start
    slow = np.flatnonzero(falls[start:] <= share * falls[min(start, len(falls) - 1)])
    return start + int(slow[0]) if len(slow) else len(smooth) - 1


def _falls(smooth: Floats, density: Floats) -> Floats:
    """(K - 1,) how much a curve falls from each level to the next, per unit of ln(density)."""
    falls: Floats = np.diff(smooth) / np.diff(np.log(density))
    return falls


def sentences(row: Mapping[Any, Any]) -> Iterator[str]:
    """What is said of one setting, sentence by sentence; row: one of `judging.judged`."""
    along = row.get("along") or "level"
    yield f"test accuracy is highest at {along} {row['best']:.10g}"
    for name, command in SIGNALS.items():
        label, level = name.replace("_", " "), row[f"by_{name}"]
        if level is None or level != level:
            yield f"by {label}: not known; first: {command}"
            continue
        value, low, high = (row[f"lost_{name}{end}"] for end in ("", "_low", "_high"))
        interval = f" [{100 * low:.1f}, {100 * high:.1f}]" if low is not None and low == low else ""
        yield f"by {label}: {along} {level:.10g}, {100 * value:.1f} points{interval} of test accuracy below that"
