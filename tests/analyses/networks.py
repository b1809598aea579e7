"""Small random networks as analyses see them."""

from functools import partial

import numpy as np
import torch

from sddcli.core import inits, masks, seeds
from sddcli.core.models import architecture
from sddcli.core.types import Data, Examples, Subject, Trained

MODELS = ("lenet-12-6", "convnet:width=2")


def subject(word: str = MODELS[0], seed: int = 1, kept: float = 0.5) -> Subject:
    """A network with so much of it kept, biases and statistics not those of a new one, 40 and 30 examples."""
    draw, model = np.random.default_rng(5), architecture(word, (1, 8, 8), 3)
    weights = inits.fresh(model, "kaiming", seed)
    prunable = {name: weights[name] for name in model.prunable}
    scores = {name: w.abs() for name, w in prunable.items()}
    chosen = masks.keep(scores, masks.full(prunable), round(model.size * kept))
    final = {name: w * chosen[name] if name in chosen else w + 0.1 * seed for name, w in weights.items()}
    train, test = (
        Examples(
            torch.from_numpy(draw.standard_normal((n, 1, 8, 8), dtype=np.float32)),
            torch.from_numpy(draw.integers(0, 3, n)),
        )
        for n in (40, 30)
    )
    return Subject(
        Trained(weights, final, chosen),
        model.forward,
        Data(train, test, 3, "the same"),
        train.y.roll(1),
        partial(seeds.stream, seed),
        lambda: weights,
        lambda: None,
    )
