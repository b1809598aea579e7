"""Masks: how many weights stay, which ones, and what that makes of a model."""

from collections.abc import Mapping
from math import floor

import torch
from torch import Tensor

from sddcli.core.types import Tensors
from sddcli.core.words import UsageError


def kept(size: int, rate: float, level: int, spared: int = 0) -> int:
    """Weights left of `size` after `level` rounds that each remove the fraction `rate`: nearest whole number.

    Counted from the start and not from the round before, so that one-shot and iterative pruning agree.
    spared: weights that the rate counts but that stay, so that the others go faster, down to 0.
    """
    return max(0, floor((size + spared) * (1 - rate) ** level + 0.5) - spared)


def full(weights: Tensors) -> Tensors:
    """Masks that keep everything, bool, in the shape of `weights`: of one model or of M."""
    return {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}


def keep(scores: Tensors, masks: Tensors, count: int, ties: Tensors | None = None) -> Tensors:
    """The `count` highest-scored weights among those still alive, ranked globally across all layers.

    scores, masks: (*shape) of one model. ties: (*shape), of equal scores the one with more of it is kept; without it,
    the one that comes first. Returns masks nested in the old ones.
    Raises UsageError where a score is NaN: the network has diverged; ValueError where fewer than `count` are alive.
    """
    alive = torch.cat([masks[name].flatten() for name in scores])
    flat = torch.cat([score.flatten() for score in scores.values()]).double()
    if flat.isnan().any():
        raise UsageError("the criterion's scores are not numbers: the network it ranks has diverged")
    if count > alive.sum():
        raise ValueError(f"cannot keep {count} weights of {int(alive.sum())}")
    # Only the living are ranked, and ties go to the lower index, so the count is exact.
    candidates, chosen = alive.nonzero().squeeze(1), torch.zeros_like(alive)
    if count:
        living = flat[candidates]
        last = living.kthvalue(len(living) - count + 1).values  # by far faster than to sort them all
        above, equal = candidates[living > last], candidates[living == last]
        if ties is not None:
            drawn = torch.cat([ties[name].flatten() for name in scores]).to(flat.device)
            equal = equal[drawn[equal].sort(descending=True, stable=True).indices]
        chosen[above] = True
        chosen[equal[: count - len(above)]] = True
    pieces = chosen.split([score.numel() for score in scores.values()])
    return {name: piece.view_as(masks[name]) for name, piece in zip(scores, pieces, strict=True)}


def allocated(scores: Tensors, masks: Tensors, counts: Mapping[str, int], ties: Tensors | None = None) -> Tensors:
    """`keep` group by group: counts says how many of each, of all layers together under "". Raises as `keep`."""
    kept: Tensors = {}
    for group, count in counts.items():
        kept |= keep({group: scores[group]} if group else scores, masks, count, ties)
    return kept


def top(scores: Tensor, counts: Tensor) -> Tensor:
    """The `counts` (M,) largest scores of each of M models, (M, *shape); bool. Of equal ones the first are kept.

    Nothing is brought to the CPU where the scores are not, so that a CUDA graph holds it.
    """
    flat = scores.flatten(1)
    if flat.is_cuda:
        last = flat.sort(1, descending=True).values.gather(1, counts.unsqueeze(1).clamp_min(1) - 1)
    else:  # by far faster than to sort them all
        each = zip(flat, counts.clamp_min(1).tolist(), strict=True)
        last = torch.stack([row.kthvalue(len(row) - count + 1).values for row, count in each]).unsqueeze(1)
    above, equal = flat > last, flat == last
    room = counts.unsqueeze(1) - above.sum(1, keepdim=True)
    return (above | (equal & (equal.cumsum(1, dtype=torch.int32) <= room))).view_as(scores)


def apply(masks: Tensors, weights: Tensors) -> Tensors:
    """The weights with every pruned one exactly 0, parameters without a mask as they are: of one model or of M."""
    return {name: torch.where(masks[name], w, 0.0) if name in masks else w for name, w in weights.items()}


def density(masks: Tensors) -> float:
    """Share of the prunable weights that are kept, of one model, (*shape)."""
    return sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())
