"""Maskings: what becomes of the masks that a run takes from another. Words too: no torch before one is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sddcli.core.types import Draw, Tensors

Prune = Callable[["Tensors"], "Tensors"]
"""Masks (*shape) -> those of the weights in them that the run's criterion keeps, (*shape)."""


class Masking(NamedTuple):
    """make(masks of the other run (*shape), prune, draw) -> the run's own masks (*shape).

    follows(own, other): whether a run's masks can have been made so from the other's; `otherwise` says what is wrong
    where not, with {other} for the folder of the other run. moves: whether what is kept goes to random places: of a
    unit other than the weight that says how, whole units do.
    """

    make: Callable[[Tensors, Prune, Draw], Tensors]
    follows: Callable[[Tensors, Tensors], bool]
    otherwise: str = ""
    moves: bool = False


def prune(masks: Tensors, prune: Prune, draw: Draw) -> Tensors:
    """Pruned further by the run's criterion, within the masks of the other run."""
    return prune(masks)


def same(masks: Tensors, prune: Prune, draw: Draw) -> Tensors:
    """As they are."""
    return masks


def opened(masks: Tensors, prune: Prune, draw: Draw) -> Tensors:
    """All weights are kept."""
    return {name: mask | True for name, mask in masks.items()}


def shuffle(masks: Tensors, prune: Prune, draw: Draw) -> Tensors:
    """As many weights in each layer, at random places: the control for where a ticket's weights lie."""
    orders = {name: draw("shuffle", name).permutation(mask.numel()) for name, mask in masks.items()}
    return {name: mask.flatten()[orders[name]].view_as(mask) for name, mask in masks.items()}


def permute(masks: Tensors, prune: Prune, draw: Draw) -> Tensors:
    """As many weights in all, at random among all layers: the control for how many weights each layer keeps."""
    import torch

    sizes = [mask.numel() for mask in masks.values()]
    order = torch.from_numpy(draw("permute").permutation(sum(sizes)))
    flat = torch.cat([mask.flatten() for mask in masks.values()])
    moved = dict(zip(masks, flat[order.to(flat.device)].split(sizes), strict=True))
    return {name: moved[name].view_as(mask) for name, mask in masks.items()}


def _within(own: Tensors, other: Tensors) -> bool:
    return not any(bool((own[name] & ~other[name]).any()) for name in own)


def _equal(own: Tensors, other: Tensors) -> bool:
    """Of layers of one shape: of other data the output layer may have another, and is not pruned then."""
    alike = {name: other[name].shape == mask.shape for name, mask in own.items()}
    return all(bool((mask == other[name] if alike[name] else mask).all()) for name, mask in own.items())


def _as_many(own: Tensors, other: Tensors) -> bool:
    return all(int(own[name].sum()) == int(other[name].sum()) for name in own)


def _as_many_in_all(own: Tensors, other: Tensors) -> bool:
    return sum(int(mask.sum()) for mask in own.values()) == sum(int(mask.sum()) for mask in other.values())


MASKINGS: dict[str, Masking] = {
    "prune": Masking(prune, _within, "it keeps weights that {other} had lost"),
    "same": Masking(same, _equal, "its masks are not those of {other}"),
    "open": Masking(opened, lambda own, other: True),
    "shuffle": Masking(shuffle, _as_many, "it does not keep as many weights in each layer as {other}", moves=True),
    "permute": Masking(permute, _as_many_in_all, "it does not keep as many weights as {other}", moves=True),
}
