"""Units: which weights are kept or removed together."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from sddcli.core.types import Tensors
from sddcli.core.words import UsageError

Unit = Callable[..., Tensor | None]
"""(shape of a layer's weights, outputs first) -> the unit that each weight is in, (*shape) int64 from 0 on; None where
each weight is one of its own. Raises UsageError for parameters out of range."""


def weight(shape: tuple[int, ...]) -> None:
    """Each weight by itself (unstructured pruning)."""


def block(shape: tuple[int, ...], *, size: int = 4) -> Tensor:
    """So many neighbours along the inputs of a neuron or filter; what is left over at the end is a smaller block.

    Raises UsageError for a size below 2.
    """
    if size < 2:
        raise UsageError(f"unit block takes a size of 2 or more, got {size}")
    inputs = torch.Size(shape[1:]).numel()
    blocks = -(-inputs // size)
    return (torch.arange(shape[0]).unsqueeze(1) * blocks + torch.arange(inputs) // size).view(shape)


UNITS: Mapping[str, Unit] = {"weight": weight, "block": block}


def averaged(scores: Tensors, masks: Tensors, unit: Unit) -> Tensors:
    """The scores (*shape) of one model, each the mean over those weights of its unit that are left."""
    return {name: _averaged(score.double(), masks[name], unit(tuple(score.shape))) for name, score in scores.items()}


def whole(kept: Tensors, masks: Tensors, unit: Unit) -> Tensors:
    """Of the weights that are kept, (*shape), those in units none of whose weights left in `masks` is removed."""
    share = {name: mask.double() for name, mask in kept.items()}
    return {name: kept[name] & (mean == 1) for name, mean in averaged(share, masks, unit).items()}


def largest(shapes: Mapping[str, tuple[int, ...]], unit: Unit) -> int:
    """The number of weights in the largest unit."""
    members = [unit(shape) for shape in shapes.values()]
    return max(1 if each is None else int(each.flatten().bincount().max()) for each in members)


def _averaged(score: Tensor, mask: Tensor, members: Tensor | None) -> Tensor:
    if members is None:
        return score
    members = members.to(score.device).flatten()
    totals = torch.zeros(2, int(members.max()) + 1, dtype=torch.float64, device=score.device)
    totals.index_add_(1, members, torch.stack([torch.where(mask, score, 0.0).flatten(), mask.flatten().double()]))
    return (totals[0] / totals[1].clamp_min(1))[members].view_as(score)
