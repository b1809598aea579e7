"""Regression: theory against simulation, against closed forms, and what cannot be studied."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from sddcli.core.words import UsageError
from sddcli.studies.regression import (
    FEATURES,
    NOISE,
    RULES,
    SIGNAL,
    Study,
    World,
    dense_risk,
    estimate,
    from_words,
    isotropic,
    kept,
    power_law,
    risk,
    rows,
    spiked,
)

LABELS = np.random.default_rng(1).standard_normal(SIGNAL) / np.sqrt(SIGNAL)


def means(**words: Any) -> pd.DataFrame:
    """Mean risks over the seeds of a study, simulated and by theory."""
    frame = pd.DataFrame(rows(Study(**words)))
    keys = ["dataset", "parameters", "level", "criterion", "retraining"]
    return frame.groupby(keys)[["risk", "theory_risk"]].mean()


@pytest.mark.parametrize("features", ["isotropic", "spiked", "power-law"])
def test_theory_is_within_five_percent_of_two_hundred_simulations(features: str) -> None:
    both = means(features=(features,), rule=("magnitude", "hessian"), seed=(0, 1, 2, 3, 4), repetitions=40)
    known = both.dropna()
    assert len(known) == 5 * (2 + 4), "dense, under four chains, and both rules without refitting, at five ratios"
    assert (known["theory_risk"] / known["risk"] - 1).abs().max() < 0.05


@pytest.mark.parametrize("features", ["relu", "fourier"])
def test_random_features_diverge_where_there_are_as_many_as_examples(features: str) -> None:
    both = means(features=(features,), ratio=(0.5, 0.9, 1.1, 3.0), rule=("hessian",), seed=(0, 1), repetitions=30)
    whole = both.xs((0, "hessian", "none"), level=("level", "criterion", "retraining")).droplevel(0)
    assert whole["risk"][180] > 2 * whole["risk"][100] and whole["risk"][220] > 2 * whole["risk"][600]
    far = both.dropna()[~both.dropna().index.get_level_values("parameters").isin([180, 220])]
    assert (far["theory_risk"] / far["risk"] - 1).abs().max() < 0.05
    near = both.dropna().drop(far.index)
    assert (near["theory_risk"] / near["risk"] - 1).abs().max() < 0.15, "few simulations of a wide distribution"


@pytest.mark.slow
@pytest.mark.parametrize("features", FEATURES)
def test_a_world_is_what_it_says(features: str) -> None:
    world = FEATURES[features](30, LABELS, 0)
    x, y = world.examples(np.random.default_rng(0), 300_000)
    scale = np.sqrt(np.diag(world.covariance))
    assert np.abs(x.mean(0) / scale).max() < 0.01
    assert np.abs(np.cov(x.T) - world.covariance).max() < 0.03 * world.covariance.max()
    rest = y - x @ world.signal
    assert np.abs(x.T @ rest / len(y) / scale).max() < 0.01, "no line explains more"
    assert rest.var() == pytest.approx(world.noise, rel=0.01)


def test_below_the_threshold_it_is_ordinary_least_squares() -> None:
    risk_of, *_ = dense_risk(isotropic(100, LABELS, 0), 200)
    assert risk_of == pytest.approx(NOISE * 199 / 99)
    unseen = NOISE + float((LABELS[40:] ** 2).sum())
    assert dense_risk(isotropic(40, LABELS, 0), 200)[0] == pytest.approx(unseen * 199 / 159)


def test_above_it_isotropic_features_have_the_closed_form() -> None:
    """Hastie et al. 2022: |signal|² (1 - n/p) + noise (1 + n/(p - n))."""
    p, n = 500, 200
    expected = float((LABELS**2).sum()) * (1 - n / p) + NOISE * (1 + n / (p - n))
    assert dense_risk(isotropic(p, LABELS, 0), n)[0] == pytest.approx(expected, rel=1e-9)


def test_the_root_is_that_of_its_equation() -> None:
    world = power_law(400, LABELS, 0)
    _, values, _, temperature = dense_risk(world, 200)
    assert (1 / (1 + temperature / values)).sum() == pytest.approx(200)


def test_the_estimate_is_the_smallest_one_of_least_squares() -> None:
    generator = np.random.default_rng(0)
    for p in (5, 20):
        x, y = generator.standard_normal((10, p)), generator.standard_normal(10)
        assert estimate(x, y) == pytest.approx(np.linalg.pinv(x) @ y)


def test_rules_keep_what_they_score_highest() -> None:
    world = World(np.diag([4.0, 1.0, 1.0]), np.array([0.0, 0.0, 5.0]), 0.25, spiked(60, LABELS, 0).examples)
    weights = np.array([0.6, 1.0, -0.9])
    left = {name: kept(weights, rule(weights, world), 1).tolist() for name, rule in RULES.items()}
    assert left == {"magnitude": [0, 1, 0], "hessian": [0.6, 0, 0], "oracle": [0, 0, -0.9]}
    assert kept(np.ones((1, 3)), np.ones((1, 3)), 2).tolist() == [[1, 1, 0]], "of equal scores the first"
    assert float(risk(world.signal, world)) == 0.25


def test_a_table_has_the_columns_of_results_and_each_dense_row_under_its_chains() -> None:
    frame = pd.DataFrame(rows(Study(features=("spiked",), ratio=(2.0,), seed=(0, 1), repetitions=1)))
    assert len(frame) == 2 * 5 * 2 and frame["chain"].nunique() == 2 * 5
    assert frame[frame["level"] == 0]["run"].nunique() == 2 and frame[frame["level"] == 1]["weights"].eq(40).all()
    assert (frame[frame["level"] == 1]["sparsity"] == 0.9).all()
    again = pd.DataFrame(rows(Study(features=("spiked",), ratio=(2.0,), seed=(0, 1), repetitions=1)))
    pd.testing.assert_frame_equal(frame, again)


def test_where_the_risk_is_infinite_there_is_no_number() -> None:
    frame = pd.DataFrame(rows(Study(features=("spiked",), ratio=(1.0,), seed=(0,), repetitions=1)))
    assert frame["risk"].isna().all() and frame["theory_risk"].isna().all()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"ratio": "0.1"}, "40 weights cannot be kept of 20: ratio 0.1 of 200 examples"),
        ({"features": "spikd"}, "did you mean 'spiked'?"),
        ({"rule": "random"}, "unknown pruning rule 'random'"),
        ({"kept": "10", "sparsity": "0.9"}, "both say how many weights stay: give one"),
        ({"kept": "0"}, "keep at least one weight"),
        ({"sparsity": "1"}, "keep at least one weight"),
        ({"ratio": "two"}, "ratio cannot be read: 'two'; it is 0.3,0.5,1.5,2.0,4.0, say"),
        ({"examples": "3"}, "at least 10 examples"),
        ({"widths": "3"}, "unknown option of a study 'widths'"),
        ({"seed": "a-b"}, "seed cannot be read"),
    ],
)
def test_what_cannot_be_studied_is_one_line(words: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError) as error:
        from_words(words)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_words_are_read_as_lists_and_ranges() -> None:
    study = from_words({"seed": "0-2,5", "sparsity": "0.8", "ratio": "1.5, 2", "features": "relu"})
    assert study == Study(("relu",), (1.5, 2.0), sparsity=0.8, kept=0, seed=(0, 1, 2, 5))
    assert study.sizes(1.5) == (300, 60)
