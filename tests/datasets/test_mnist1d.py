"""MNIST-1D: an example as its definition gives it, point by point; the same bits on every machine; the split."""

from math import exp

import numpy as np
import pytest

from sddcli.core.seeds import stream
from sddcli.data import silent
from sddcli.datasets import mnist1d

TWO = (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5)


def between(points: list[float], at: float) -> float:
    """The value between two points of a curve, on the line from one to the other."""
    low = min(int(at), len(points) - 2)
    return points[low] + (at - low) * (points[low + 1] - points[low])


def smoothed(noise: list[float]) -> list[float]:
    """A Gaussian average of deviation 2 over 17 points; beyond its ends the curve is its mirror image."""
    weights = {step: exp(-(step**2) / 8) for step in range(-8, 9)}
    mirrored = [*noise[::-1], *noise, *noise[::-1]]
    n, total = len(noise), sum(weights.values())
    return [sum(w * mirrored[n + k + step] for step, w in weights.items()) / total for k in range(n)]


def test_an_example_is_what_its_definition_gives_by_hand() -> None:
    draw = stream(5, "a test")
    mean = sum(TWO) / 12
    deviation = (sum((point - mean) ** 2 for point in TWO) / 12) ** 0.5
    stroke = [(point - TWO[0]) / deviation / 6 for point in TWO]
    padded = stroke + [0.0] * (36 + int(25 * draw.random()))
    stretch = 0.8 + 0.4 * draw.random()
    places = [k * (len(padded) - 1) / 71 for k in range(72)]
    long = [stretch * between(padded, at) for at in places]
    shift = int(draw.integers(48))
    shifted = [long[(k - shift) % 72] for k in range(72)]
    within = [places[(k - shift) % 72] < 12 for k in range(72)]
    beside = smoothed([0.25 * float(z) for z in draw.standard_normal(72)])
    rough = [0.02 * float(z) for z in draw.standard_normal(72)]
    slope = 0.75 * (draw.random() - 0.5)
    sheared = [(shifted[k] if within[k] else beside[k]) + rough[k] - slope * (k / 71 - 0.5) for k in range(72)]
    by_hand = [between(sheared, k * 71 / 39) for k in range(40)]
    assert mnist1d.curve(2, stream(5, "a test")) == pytest.approx(by_hand, abs=1e-12)


def test_the_split_is_the_papers_and_the_bits_are_the_same_everywhere() -> None:
    data = mnist1d.read(silent)
    assert data.train.x.shape == (4000, 40) and data.test.x.shape == (1000, 40)
    both = np.concatenate([data.train.y, data.test.y])
    assert np.bincount(both).tolist() == [500] * 10
    whole = np.concatenate([data.train.x, data.test.x])
    assert whole.mean() == pytest.approx(0, abs=1e-4) and whole.std() == pytest.approx(1, abs=1e-4)
    assert data.sha256 == "0fbdb452aa53b701a2c06d7e1effcace09ae307b827f4b15220ef52b31919b85"
