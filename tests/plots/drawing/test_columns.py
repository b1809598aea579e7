"""Columns: a panel for each value of a field, with its phases where it has one curve."""

from itertools import pairwise

import pandas as pd
import pytest
from matplotlib.figure import Figure

from sddcli.plots import best_epoch, double_descent, learning_distance, movement
from tests.plots.test_style import summary

PHASES = ["light"] * 10 + ["critical"] * 8 + ["sweet"] * 10 + ["collapsed"] * 3


def crossed(criteria: int = 1) -> pd.DataFrame:
    """Three noises, each with so many criteria."""
    curves = [
        summary().assign(noise=noise / 10, criterion=f"c{k}", phase=PHASES)
        for noise in (2, 4, 8)
        for k in range(criteria)
    ]
    return pd.concat(curves, ignore_index=True)


@pytest.mark.parametrize("drawn", [double_descent, best_epoch, learning_distance, movement])
def test_a_panel_each_with_its_value_one_vertical_axis_and_its_phases(drawn: object) -> None:
    figure = drawn.draw(crossed(), ["noise"], "a title", panels="noise")  # type: ignore[attr-defined]
    top = figure.axes[:3]
    assert [ax.get_title() for ax in top] == ["noise 0.2", "noise 0.4", "noise 0.8"]
    assert len({ax.get_ylim() for ax in top}) == 1 and [bool(ax.get_ylabel()) for ax in top] == [True, False, False]
    for ax in top:
        assert [text.get_text() for text in ax.texts] == ["light", "critical", "sweet", "collapsed"]
    assert "a title" in figure.get_suptitle()


def test_curves_of_a_panel_have_colours_and_marks_and_no_phases() -> None:
    figure = double_descent.draw(crossed(2), ["noise", "criterion"], "a title", panels="noise")
    for ax in figure.axes:
        marks = {line.get_marker() for line in ax.lines} - {"None"}
        assert len(marks) == 2 and not ax.texts, "apart in print too"
    assert _entries(figure) == [
        "criterion c0",
        "criterion c1",
        "test, against true labels",
        "train, against noisy labels",
    ]


def test_without_label_noise_the_legend_speaks_of_none() -> None:
    clean = crossed(2).query("noise == 0.2").assign(memorized=float("nan"))
    figure = double_descent.draw(clean, ["criterion"], "a title")
    assert _entries(figure) == ["criterion c0", "criterion c1", "test", "train"]


def _entries(figure: Figure) -> list[str]:
    """What the legend says."""
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_names_of_narrow_phases_stand_apart() -> None:
    phases = ["light"] * 24 + ["critical"] * 4 + ["sweet"] * 2 + ["collapsed"]
    curve = pd.concat([summary().assign(noise=noise, phase=phases) for noise in (0.2, 0.4)])
    figure = double_descent.draw(curve, ["noise"], "a title", panels="noise")
    figure.draw_without_rendering()
    for ax in figure.axes:
        boxes = [text.get_window_extent() for text in ax.texts]
        assert all(a.x1 < b.x0 for a, b in pairwise(boxes))
