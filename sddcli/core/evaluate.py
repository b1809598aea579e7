"""Evaluate: how well M models fit and generalize."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sddcli.core.types import Examples, Forward, Tensors

CHUNK = 2048


@torch.no_grad()
def answers(forward: Forward, parameters: Tensors, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """x: (N, *features) shared; y: (M, N) labels. Returns (M, N) predicted classes and (M,) mean loss per example.

    One model after the other, in chunks of a fixed size, so that the sums do not depend on M.
    """
    predicted, losses = [], []
    for m in range(y.shape[0]):
        alone = {name: p[m : m + 1] for name, p in parameters.items()}
        logits = torch.cat([forward(alone, piece.unsqueeze(0)).squeeze(0) for piece in x.split(CHUNK)])
        predicted.append(logits.argmax(1))
        losses.append(F.cross_entropy(logits, y[m], reduction="none").double().mean())
    return torch.stack(predicted), torch.stack(losses)


def evaluate(
    forward: Forward, parameters: Tensors, train: Examples, noisy: Tensor, test: Examples
) -> dict[str, Tensor]:
    """All accuracies and losses of M models, each (M,) float64; noisy: (M, N) the labels they were trained on.

    `train_accuracy` counts against the noisy labels, `clean_accuracy` is that on the truly labelled examples,
    `memorized` the share of wrong labels that are fitted (NaN without wrong labels), `test_accuracy` counts
    against true labels. Losses are mean cross-entropies, `train_loss` against the noisy labels.
    """
    said, train_loss = answers(forward, parameters, train.x, noisy)
    fitted, wrong = said == noisy, noisy != train.y
    truth = test.y.expand(len(noisy), -1)
    told, test_loss = answers(forward, parameters, test.x, truth)
    return {
        "train_accuracy": fitted.double().mean(1),
        "clean_accuracy": (fitted & ~wrong).double().sum(1) / (~wrong).sum(1),
        "memorized": (fitted & wrong).double().sum(1) / wrong.sum(1),
        "test_accuracy": (told == truth).double().mean(1),
        "train_loss": train_loss,
        "test_loss": test_loss,
    }
