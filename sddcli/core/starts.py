"""Starts: which values the weights that are left start from, given those of their retraining, and those pruned have."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from sddcli.core.types import Draw, Tensors
from sddcli.core.words import Positive, UsageError

Start = Callable[..., Tensors]
"""(prunable weights (*shape), pruned ones too, masks (*shape), the generator of names) -> those that training starts
from."""


class Sign(str):
    """A parameter: the signs are those that weights had ("kept"), or drawn ("random")."""

    words: tuple[str, ...] = ("kept", "random")

    def __new__(cls, word: str) -> "Sign":
        """Raises UsageError for another word."""
        if word not in cls.words:
            raise UsageError(f"it takes {', '.join(cls.words[:-1])} or {cls.words[-1]}")
        return super().__new__(cls, word)


class MovedSign(Sign):
    """The same of values that are moved: their signs may move with them ("moved")."""

    words = ("moved", "kept", "random")


KEPT, MOVED, ONCE = Sign("kept"), MovedSign("moved"), Positive(1)


def original(weights: Tensors, masks: Tensors, draw: Draw, *, sign: Sign = KEPT) -> Tensors:
    """As the retraining has them; sign=random gives each a random sign (Zhou et al. 2019, section 4.1)."""
    return _signed(weights, weights, sign, draw)


def permuted(weights: Tensors, masks: Tensors, draw: Draw, *, sign: MovedSign = MOVED) -> Tensors:
    """The values of each layer at other places, those of pruned weights among them (`reinit` of Zhou et al. 2019)."""
    orders = {name: torch.from_numpy(draw(name).permutation(w.numel())).to(w.device) for name, w in weights.items()}
    moved = {name: w.flatten()[orders[name]].view_as(w) for name, w in weights.items()}
    return _signed(moved, weights, sign, draw)


def reshuffled(weights: Tensors, masks: Tensors, draw: Draw, *, sign: MovedSign = MOVED) -> Tensors:
    """The values of each layer's remaining weights permuted among these (`reshuffle` of Zhou et al. 2019)."""
    moved = {name: w.clone() for name, w in weights.items()}
    for name, mask in masks.items():
        order = torch.from_numpy(draw("kept", name).permutation(int(mask.sum()))).to(mask.device)
        moved[name][mask] = weights[name][mask][order]
    return _signed(moved, weights, sign, draw)


def constant(weights: Tensors, masks: Tensors, draw: Draw, *, sign: Sign = KEPT, times: Positive = ONCE) -> Tensors:
    """The sign of each weight times its layer's standard deviation (`signed_constant` of Zhou et al. 2019), so many
    times."""
    sizes = {name: (w.double().std(correction=0) * times).to(w.dtype).expand_as(w) for name, w in weights.items()}
    return _signed(sizes, weights, sign, draw) if sign == "random" else {n: _sign(weights[n]) * sizes[n] for n in sizes}


def _signed(values: Tensors, weights: Tensors, sign: Sign, draw: Draw) -> Tensors:
    """The values with the signs of `weights`, with random ones, or as they are where neither is to be."""
    if sign == "random":
        return {name: value.abs() * _random_signs(value, draw("sign", name)) for name, value in values.items()}
    if sign == "kept" and values is not weights:
        return {name: value.abs() * _sign(weights[name]) for name, value in values.items()}
    return values


def _sign(weight: Tensor) -> Tensor:
    """1 or -1: a weight that was drawn as exactly 0, of a million there is one now and then, counts as positive."""
    return torch.where(weight < 0, -1.0, 1.0).to(weight.dtype)


def _random_signs(like: Tensor, stream: np.random.Generator) -> Tensor:
    positive = torch.from_numpy(stream.random(tuple(like.shape)) < 0.5).to(like.device)
    return torch.where(positive, 1.0, -1.0).to(like.dtype)


STARTS: Mapping[str, Start] = {
    "original": original,
    "permuted": permuted,
    "reshuffled": reshuffled,
    "constant": constant,
}

# What pruned weights are where they are frozen: the mask-0 actions of Zhou et al. (2019), section 3.

Freezing = Callable[[Tensors, Tensors, Tensors, Draw], Tensors]
"""(values that weights start from, those of the trained dense network, masks, the generator of names), all (*shape) ->
the values that kept weights start from, and that pruned ones keep."""


def at_start(start: Tensors, trained: Tensors, masks: Tensors, draw: Draw) -> Tensors:
    """All as they are (`freeze_init`)."""
    return start


def zero_fallen(start: Tensors, trained: Tensors, masks: Tensors, draw: Draw) -> Tensors:
    """Pruned weights that training had made smaller are 0 (`freeze_init_zero_mask`)."""
    return {name: torch.where(~masks[name] & _fell(w, trained[name]), 0.0, w) for name, w in start.items()}


def zero_all_fallen(start: Tensors, trained: Tensors, masks: Tensors, draw: Draw) -> Tensors:
    """All weights that training had made smaller are 0; kept ones go on from there (`freeze_init_zero_all`)."""
    return {name: torch.where(_fell(w, trained[name]), 0.0, w) for name, w in start.items()}


def zero_random(start: Tensors, trained: Tensors, masks: Tensors, draw: Draw) -> Tensors:
    """As many pruned weights of each layer as fell are 0, at random: a control (`freeze_init_zero_reshuffle`)."""
    values = {name: w.clone() for name, w in start.items()}
    for name, mask in masks.items():
        fell = _fell(start[name], trained[name])[~mask]
        chosen = fell[torch.from_numpy(draw("zero", name).permutation(len(fell))).to(fell.device)]
        values[name][~mask] = torch.where(chosen, 0.0, start[name][~mask])
    return values


def zero_grown(start: Tensors, trained: Tensors, masks: Tensors, draw: Draw) -> Tensors:
    """Pruned weights that training had not made smaller are 0: the other control (`freeze_init_zero_rev`)."""
    return {name: torch.where(~masks[name] & ~_fell(w, trained[name]), 0.0, w) for name, w in start.items()}


def _fell(before: Tensor, after: Tensor) -> Tensor:
    return after.abs() < before.abs()


FREEZINGS: Mapping[str, Freezing] = {
    "start": at_start,
    "zero-fallen": zero_fallen,
    "zero-all-fallen": zero_all_fallen,
    "zero-random": zero_random,
    "zero-grown": zero_grown,
}
