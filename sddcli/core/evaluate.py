"""Evaluate: how well M models fit and generalize."""

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from sddcli.core.types import Data, Forward, Tensors

CHUNK, ROOM = 2048, 2**21
"""The most examples that are computed at once, and the most numbers in them."""


def chunk(x: Tensor) -> int:
    """How many examples of x, (N, *features), are computed at once: fixed, so that sums do not depend on M."""
    return min(CHUNK, max(1, ROOM // prod(x.shape[1:])))


@torch.no_grad()
def logits(forward: Forward, weights: Tensors, x: Tensor) -> Tensor:
    """The logits (N, classes), float32, of one model, weights (1, *shape), in evaluation mode; x: (N, *features)."""
    return torch.cat([forward(weights, piece.unsqueeze(0), False).squeeze(0).float() for piece in x.split(chunk(x))])


@torch.no_grad()
def answers(forward: Forward, weights: Tensors, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(M, N) predicted classes and (M,) mean cross-entropy of M models, weights (M, *shape).

    x: (N, *features) inputs, the same for all models; y: (M, N) labels.

    One model after the other, in evaluation mode, from copies: where a model's weights lie, and so perhaps its last
    bits, would depend on how many lie before them.
    """
    predicted, losses = [], []
    for m in range(y.shape[0]):
        scores = logits(forward, {name: w[m : m + 1].clone() for name, w in weights.items()}, x)
        predicted.append(scores.max(1).indices)  # which takes half as long as argmax does
        # A softmax along rows of ten takes six times as long as one across them.
        across, labels = scores.t().unsqueeze(0), y[m].unsqueeze(0)
        losses.append(F.cross_entropy(across, labels, reduction="none").double().mean())
    return torch.stack(predicted), torch.stack(losses)


def evaluate(
    forward: Forward, weights: Tensors, data: Data, noisy: Tensor, held: Tensor | None = None
) -> tuple[dict[str, Tensor], Tensor]:
    """All accuracies and losses of M models, weights (M, *shape): each (M,) float64; and (M, N) bool, which of the
    labels they were trained on they fit. noisy: (M, N) these labels.

    `train_accuracy` counts against the noisy labels, `clean_accuracy` is that on the truly labelled examples,
    `memorized` the share of wrong labels that are fitted (NaN without wrong labels), `test_accuracy` counts
    against true labels. Losses are mean cross-entropies, `train_loss` against the noisy labels. held: (M, H)
    the labels of the examples held out, noisy as those of training: `validation_accuracy`, `validation_loss`.
    """
    predicted, train_loss = answers(forward, weights, data.train.x, noisy)
    fitted, wrong = predicted == noisy, noisy != data.train.y
    truth = data.test.y.expand(len(noisy), -1)
    predicted_test, test_loss = answers(forward, weights, data.test.x, truth)
    metrics = {
        "train_accuracy": fitted.double().mean(1),
        "clean_accuracy": (fitted & ~wrong).double().sum(1) / (~wrong).sum(1),
        "memorized": (fitted & wrong).double().sum(1) / wrong.sum(1),
        "test_accuracy": (predicted_test == truth).double().mean(1),
        "train_loss": train_loss,
        "test_loss": test_loss,
    }
    if data.held is not None and held is not None:
        predicted_held, held_loss = answers(forward, weights, data.held.x, held)
        metrics |= {"validation_accuracy": (predicted_held == held).double().mean(1), "validation_loss": held_loss}
    return metrics, fitted
