"""Stopping: which level each signal chooses, by hand, and what is said of one that is not known."""

import numpy as np
import pytest

from sddcli.verdicts.stopping import SIGNALS, chosen_by, judge, levelled_off, sentences, steepest

LEVELS = 24
DENSITY = 0.8 ** np.arange(LEVELS)
TEST = np.interp(np.arange(LEVELS), [0, 8, 12, 18, 23], [0.7, 0.7, 0.6, 0.85, 0.6])
"""Highest at level 18; its smoothed curve too."""


def sigmoid(middle: float, width: float) -> np.ndarray:
    """Falls fastest at `middle`, half as fast at middle + 1.763 * width, where its derivative is half the highest."""
    return 1 / (1 + np.exp((np.arange(LEVELS) - middle) / width))


def test_a_falling_curve_is_left_where_it_falls_half_as_fast() -> None:
    smooth = sigmoid(10.5, 2.0)
    assert steepest(smooth, DENSITY) == 10
    assert levelled_off(smooth, DENSITY, 0.5) == 14  # falls between levels 14 and 15, so at 14.5 > 10.5 + 3.526
    assert levelled_off(smooth, DENSITY, 0.9) == 12 and levelled_off(smooth, DENSITY, 0.0) == LEVELS - 1


def test_falls_before_the_highest_value_do_not_count_and_a_rising_curve_is_never_left() -> None:
    """As of the learning distance, which falls at first where there are few labels that are hard to fit."""
    early = np.where(np.arange(LEVELS) < 3, 0.9 - 0.3 * np.arange(LEVELS), sigmoid(10.5, 2.0))
    assert steepest(early, DENSITY) == 10
    rising = np.linspace(0, 1, LEVELS)
    assert steepest(rising, DENSITY) == levelled_off(rising, DENSITY, 0.5) == LEVELS - 1


def test_slopes_are_by_density_so_that_missing_levels_move_nothing() -> None:
    smooth, some = sigmoid(10.5, 2.0), np.r_[0:7, 10:LEVELS]
    assert smooth[6] - smooth[10] > smooth[10] - smooth[11], "the longer step falls more, in all"
    assert some[steepest(smooth[some], DENSITY[some])] == 10


def test_what_is_lost_is_measured_seed_by_seed() -> None:
    test = np.stack([TEST, TEST - 0.02])
    validation = np.stack([np.roll(TEST, -2), TEST])  # the first seed would take level 16
    entropy = np.stack([sigmoid(12, 2), sigmoid(12, 2)])
    said = judge(test, np.ones_like(test), DENSITY, {"validation_accuracy": validation, "activation_entropy": entropy})
    assert said["best"] == 18 and said["n"] == 2
    assert said["lost_validation_accuracy"] == pytest.approx((TEST[18] - TEST[16]) / 2)
    assert said["by_validation_accuracy"] == 16, "the lower of two medians"
    stop = chosen_by("activation_entropy", entropy[0], DENSITY)
    assert said["by_activation_entropy"] == stop and 14 <= stop <= 18
    assert said["lost_activation_entropy"] == pytest.approx(TEST[18] - TEST[stop])
    assert said["by_learning_distance"] is None and said["lost_learning_distance"] is None
    lines = list(sentences(said))
    assert lines[0] == "test accuracy is highest at level 18"
    assert [line for line in lines if "not known" in line] == [
        f"by learning distance: not known; first: {SIGNALS['learning_distance']}"
    ]


def test_a_curve_of_one_level_levels_off_there() -> None:
    one = np.array([0.5])
    assert levelled_off(one, np.array([0.8]), 0.5) == steepest(one, np.array([0.8])) == 0
