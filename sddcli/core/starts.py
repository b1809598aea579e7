"""Starts: which values the weights that are left start from, given those of their retraining."""

from collections.abc import Callable, Mapping

import numpy as np
import torch

from sddcli.core.types import Tensors

Start = Callable[[Tensors, Callable[[str], np.random.Generator]], Tensors]
"""(prunable weights (*shape), pruned ones too, the generator of each name) -> those that training starts from."""


def original(weights: Tensors, draw: Callable[[str], np.random.Generator]) -> Tensors:
    """As the retraining has them."""
    return weights


def permuted(weights: Tensors, draw: Callable[[str], np.random.Generator]) -> Tensors:
    """The values of each layer at other places, those of pruned weights among them (`reinit` of Zhou et al. 2019)."""
    orders = {name: torch.from_numpy(draw(name).permutation(w.numel())).to(w.device) for name, w in weights.items()}
    return {name: w.flatten()[orders[name]].view_as(w) for name, w in weights.items()}


def constant(weights: Tensors, draw: Callable[[str], np.random.Generator]) -> Tensors:
    """The sign of each weight times its layer's standard deviation (`signed_constant` of Zhou et al. 2019)."""
    return {name: w.sign() * w.double().std(correction=0).to(w.dtype) for name, w in weights.items()}


STARTS: Mapping[str, Start] = {"original": original, "permuted": permuted, "constant": constant}
