"""Stacking: several models as one, and one of them again; to another device and back."""

from collections.abc import Sequence

import torch

from sddcli.core.types import Tensors


def stacked(tensors: Sequence[Tensors], names: Sequence[str]) -> Tensors:
    """M single models (*shape) as (M, *shape), in the order of `names`."""
    return {name: torch.stack([each[name] for each in tensors]) for name in names}


def single(tensors: Tensors, m: int) -> Tensors:
    """Model m of (M, *shape) tensors, as (*shape) copies."""
    return {name: tensor[m].detach().clone() for name, tensor in tensors.items()}


def on_device(tensors: Tensors, device: torch.device) -> Tensors:
    """The same tensors, of any shape, on `device`."""
    return {name: tensor.to(device) for name, tensor in tensors.items()}
