"""Antidotes: marks stand where the table says."""

import pandas as pd

from sddcli.plots import antidotes

SPARSITY = [0.0, 0.5, 0.9, 0.99, 0.999]
CURVES = {"cross-entropy": [0.7, 0.7, 0.6, 0.86, 0.8], "distill": [0.7, 0.75, 0.78, 0.8, 0.5]}


def summary() -> pd.DataFrame:
    """Means of three seeds: one remedy with a dip of ten points, one without a valley, whose best accuracy is 80 %."""
    rows = []
    for loss, curve in CURVES.items():
        for level, accuracy in enumerate(curve):
            row = {"loss": loss, "level": level, "sparsity": SPARSITY[level], "n": 3, "test_accuracy": accuracy}
            dips = loss == "cross-entropy"
            at_valley = level == (2 if dips else 0)
            sizes = dict(
                zip(("dip", "dip_low", "dip_high"), (0.1, 0.05, 0.15) if dips else (0.0, 0.0, 0.0), strict=True)
            )
            row |= sizes if at_valley else dict.fromkeys(sizes)
            rows.append(row | {"smoothed": accuracy if dips else None})
    return pd.DataFrame(rows)


def test_rows_are_in_the_order_of_dips_and_hollow_without_double_descent() -> None:
    depth, _ = antidotes.draw(summary(), ["loss"], "digits").axes
    assert [label.get_text() for label in depth.get_yticklabels()] == ["loss cross-entropy", "loss distill"]
    marks = {line.get_ydata()[0]: line for line in depth.get_lines() if line.get_marker() == "o"}
    assert [round(float(marks[row].get_xdata()[0]), 9) for row in (0, 1)] == [10, 0]
    assert [marks[row].get_markerfacecolor() == "white" for row in (0, 1)] == [False, True]
    bars = [line.get_xdata() for line in depth.get_lines() if len(line.get_xdata()) == 2]
    assert any(abs(low - 5) < 1e-9 and abs(high - 15) < 1e-9 for low, high in bars)


def test_equal_accuracy_is_that_which_all_reach_and_the_last_level_with_it_counts() -> None:
    _, reach = antidotes.draw(summary(), ["loss"], "digits").axes
    assert "80.0% test accuracy" in reach.get_xlabel()
    assert [text.get_text() for text in reach.texts] == ["99.90%", "99.00%"]
