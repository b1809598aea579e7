"""Claims: the numbers that they are decided by, where a rule has one of its own."""

import numpy as np
import pandas as pd
import pytest

from sddcli.claims.c20c import _threshold
from sddcli.claims.c23 import unexplained
from sddcli.claims.deciding.terms import Finding, Setting

LEVELS = np.arange(1, 10)


def pruned(spread: float, power: float = 1.0) -> pd.DataFrame:
    """Three criteria whose accuracy is one function of n_eff; at equal weights n_eff differs by factors of e^spread."""
    parts = []
    for k, name in enumerate(("magnitude", "gradient", "random")):
        weights = 1000 * 0.5**LEVELS
        n_eff = weights * np.exp(spread * (k - 1))
        accuracy = 0.7 + 0.1 * np.sin(np.log(n_eff) / 2)
        parts.append(pd.DataFrame({"weights": weights, "n_eff": n_eff**power, "test_accuracy": accuracy}))
        parts[-1]["criterion"] = name
    return pd.concat(parts)


def test_curves_that_are_one_function_of_an_axis_leave_next_to_nothing_on_it() -> None:
    rows = pruned(spread=1.5)
    assert unexplained(rows, "n_eff") < 0.02 < 0.5 < unexplained(rows, "weights")
    assert unexplained(pruned(spread=1.5, power=0.3), "n_eff") == pytest.approx(unexplained(rows, "n_eff")), "of ranks"


def test_along_weights_it_is_how_far_criteria_are_from_the_others_at_their_level() -> None:
    rows = pruned(spread=0.7)
    tests = rows.pivot(index="criterion", columns="weights", values="test_accuracy").to_numpy()
    others = (tests.sum(axis=0) - tests) / 2
    assert unexplained(rows, "weights") == pytest.approx(((tests - others) ** 2).mean() / tests.var())
    alike = pruned(spread=0)
    assert unexplained(alike, "weights") == unexplained(alike, "n_eff") == pytest.approx(0)


def test_the_threshold_of_a_seed_lies_between_the_widths_where_it_comes_to_fit_its_labels() -> None:
    """In doublings: in the middle of those of 4 and 16, at 4 where that is enough, one beyond the widest at least."""
    rows = pd.DataFrame(
        [
            {"seed": seed, "width": width, "train_accuracy": rate}
            for seed, rates in enumerate(([0.98, 1.0, 1.0], [0.99, 1.0, 1.0], [0.5, 0.6, 0.7]))
            for width, rate in zip((4, 16, 64), rates, strict=True)
        ]
    )
    assert _threshold(Setting(rows, {}, "width")).tolist() == pytest.approx([3.0, 2.0, 7.0])


@pytest.mark.parametrize(
    ("finding", "shown"),
    [
        (Finding("", True, 0.084, 0.058, 0.11, "points"), ("8.4", "5.8", "11.0")),
        (Finding("", True, -0.00042, -0.0005, -0.00034, "points"), ("-0.04", "-0.05", "-0.03")),
        (Finding("", None, 0.0, -0.02, 0.02, "points"), ("0.0", "-2.0", "2.0")),
        (Finding("", True, 0.0, 0.0, 0.0, "points"), ("0.0", "0.0", "0.0")),
        (Finding("", None, 3.0, None, None, "levels"), ("3.0", "?", "?")),
        (Finding("", None, float("inf"), float("nan"), float("inf")), ("inf", "nan", "inf")),
    ],
)
def test_numbers_of_a_finding_are_written_with_digits_that_say_something(finding: Finding, shown: tuple[str]) -> None:
    assert finding.shown == shown
