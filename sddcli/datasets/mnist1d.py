"""MNIST-1D (Greydanus 2020): ten digits as curves of 40 points, stretched, shifted, sheared, with noise; made here."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from sddcli.core.seeds import stream
from sddcli.core.types import Data, Examples
from sddcli.datasets.reading.files import Tell, digest
from sddcli.datasets.reading.tensors import outlined

CLASSES, TRAIN, TEST, POINTS = 10, 4000, 1000, 40
STROKES = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)
"""Of each digit how far the pen stands to the side, at twelve heights from top to bottom."""
LONG, PADDING, SHIFT = 72, (36, 60), 48
STRETCH, SHEAR, SMOOTH, ROUGH, WIDTH = 0.4, 0.75, 0.25, 0.02, 2.0
"""The width of stretching and shearing, the deviations of smoothed noise beside the stroke and of that on every point,
the deviation of what smooths."""
DECIMALS = 5
"""Numbers are rounded, so that another machine's last bit makes no other data."""


def read(tell: Tell) -> Data:
    """4,000 curves to train on, 1,000 to test; classes are equally many in both together. x: (N, 40) float32.

    The same on every machine; not the numbers of the published file, which come of another generator.
    """
    generator = stream(0, "mnist1d")
    labels = np.repeat(np.arange(CLASSES), (TRAIN + TEST) // CLASSES)
    curves = np.stack([curve(int(label), generator) for label in labels])
    order = generator.permutation(len(labels))
    x = np.round((curves - curves.mean()) / curves.std(), DECIMALS).astype(np.float32)[order]
    y = labels.astype(np.int64)[order]
    splits = {"train.x": x[:TRAIN], "train.y": y[:TRAIN], "test.x": x[TRAIN:], "test.y": y[TRAIN:]}
    train, test = (
        Examples(*(torch.from_numpy(splits[f"{split}.{part}"]) for part in "xy")) for split in ("train", "test")
    )
    return Data(train, test, CLASSES, digest(splits))


def outline() -> Data:
    """What `read` gives, without its content."""
    return outlined(TRAIN, (POINTS,), CLASSES)


def curve(label: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """(40,) one example, before the whole set is normalized.

    The stroke of 12 points and 36 to 60 zeros become 72 points, are stretched by 0.8 to 1.2 and shifted in a ring by
    up to 47; beside the stroke there is smoothed noise, everywhere a little more; a slope of up to ±0.375 is added.
    """
    stroke = np.array(STROKES[label], float)
    stroke = (stroke - stroke.mean()) / stroke.std()
    stroke = (stroke - stroke[0]) / 6
    zeros = PADDING[0] + int(generator.random() * (PADDING[1] - PADDING[0] + 1))
    at = np.linspace(0, len(stroke) + zeros - 1, LONG)
    whole = np.interp(at, np.arange(len(stroke) + 1), [*stroke, 0.0]) * (1 + STRETCH * (generator.random() - 0.5))
    shift = int(generator.integers(SHIFT))
    whole, drawn = np.roll(whole, shift), np.roll(at < len(stroke), shift)
    beside = gaussian_filter1d(SMOOTH * generator.standard_normal(LONG), WIDTH)
    whole = np.where(drawn, whole, beside) + ROUGH * generator.standard_normal(LONG)
    whole = whole - SHEAR * (generator.random() - 0.5) * np.linspace(-0.5, 0.5, LONG)
    points: NDArray[np.float64] = np.interp(np.linspace(0, LONG - 1, POINTS), np.arange(LONG), whole)
    return points
