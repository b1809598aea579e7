"""Alignment: gradients computed from copies that lie as they do where a model is alone, at the start of cache lines."""

import torch
from torch import Tensor

from sddcli.core.types import Slopes, Tensors, Write


def aligned(slopes: Slopes) -> Slopes:
    """The same gradients, with the bits of a model that is alone where those of products depend on their place.

    For one model at a time, weights (1, *shape): of several, only the first would lie as it does alone. It costs a copy
    of weights and gradients for each batch.
    """

    def of(weights: Tensors, into: Tensors) -> Write:
        copies = {name: torch.empty_like(w) for name, w in weights.items()}
        gradients = {name: torch.empty_like(w) for name, w in into.items()}
        measured = [name for name in weights if name not in into]  # BatchNorm statistics: a pass writes to them
        compute = slopes(copies, gradients)

        def write(x: Tensor, y: Tensor) -> None:
            with torch.no_grad():
                for name, copy in copies.items():
                    copy.copy_(weights[name])
            compute(x, y)
            with torch.no_grad():
                for name, gradient in gradients.items():
                    into[name].copy_(gradient)
                for name in measured:
                    weights[name].copy_(copies[name])

        return write

    return of
