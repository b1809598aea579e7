"""Losses: what training makes small."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from sddcli.core.types import Tensors

Loss = Callable[[Tensor, Tensor, Tensors], Tensor]
"""(logits (M, B, classes), labels (M, B), parameters of M models) -> the sum over models of each one's loss ()."""


def cross_entropy(logits: Tensor, y: Tensor, parameters: Tensors, *, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of the batch; smoothing=0.1 mixes the label with all classes (Szegedy et al. 2016)."""
    total = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum", label_smoothing=smoothing)
    return total / y.shape[1]


def mse(logits: Tensor, y: Tensor, parameters: Tensors) -> Tensor:
    """Squared error to the label as a unit vector, summed over classes, mean over the batch (Hui & Belkin 2021)."""
    target = F.one_hot(y, logits.shape[2]).to(logits.dtype)
    return (logits - target).square().sum() / y.shape[1]


LOSSES: dict[str, Loss] = {"cross-entropy": cross_entropy, "mse": mse}
