"""Criteria: how much each weight matters. High score = keep."""

import torch

from sddcli.core.types import Net, Tensors


def magnitude(net: Net) -> Tensors:
    """|w|: large weights matter (Han et al. 2015)."""
    return {name: w.abs() for name, w in net.final.items()}


def gradient(net: Net, *, batches: str = "1") -> Tensors:
    """|w * dL/dw| on random training batches, by default one as in He et al. (2022); batches=all is exact."""
    slopes = net.gradients(None if batches == "all" else int(batches))
    return {name: (w * slopes[name]).abs() for name, w in net.final.items()}


def random(net: Net) -> Tensors:
    """U(0, 1), independent of the weights: the naive benchmark (He et al. 2022)."""
    draws = {name: torch.from_numpy(net.stream(name).random(tuple(w.shape))) for name, w in net.final.items()}
    return {name: draw.to(net.final[name].device) for name, draw in draws.items()}


CRITERIA = {"magnitude": magnitude, "gradient": gradient, "random": random}
