"""Criteria: how much each weight matters. High score = keep. Words too: no torch before one is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

from sddcli.core.words import pick

if TYPE_CHECKING:
    from sddcli.core.types import Net, Tensors


class Criterion(NamedTuple):
    """A score for each weight, and what a criterion needs.

    moment: which weights are ranked: the trained ones ("final"), or those before any training ("initial"), for which
    no network has to be trained. ties: which of two equal scores is kept: the one with the lower index, or one drawn
    at "random", as a score needs it that many weights share.
    """

    score: Callable[..., Tensors]
    moment: Literal["final", "initial"] = "final"
    ties: Literal["index", "random"] = "index"


def magnitude(net: Net) -> Tensors:
    """|w|: large weights matter (Han et al. 2015)."""
    return {name: w.abs() for name, w in net.final.items()}


def gradient(net: Net, *, batches: str = "1") -> Tensors:
    """|w * dL/dw| on random training batches, by default one as in He et al. (2022); batches=all is exact."""
    slopes = net.gradients(None if batches == "all" else int(batches))
    return {name: (w * slopes[name]).abs() for name, w in net.final.items()}


def snip(net: Net, *, batches: str = "1") -> Tensors:
    """|w * dL/dw| before any training: how much the loss would miss the weight (SNIP, Lee et al. 2019).

    Iterative pruning scores what is left again at every level (de Jorge et al. 2021); one-shot is the original.
    """
    return gradient(net, batches=batches)


def random(net: Net) -> Tensors:
    """U(0, 1), independent of the weights: the naive benchmark (He et al. 2022)."""
    import torch

    draws = {name: torch.from_numpy(net.stream(name).random(tuple(w.shape))) for name, w in net.final.items()}
    return {name: draw.to(net.final[name].device) for name, draw in draws.items()}


def same_sign(net: Net) -> Tensors:
    """|w| where it has the sign it was initialized with, 0 elsewhere: large_final_same_sign (Zhou et al. 2019)."""
    return {name: (w * net.initial[name].sign()).clamp_min(0) for name, w in net.final.items()}


CRITERIA: dict[str, Criterion] = {
    "magnitude": Criterion(magnitude),
    "gradient": Criterion(gradient),
    "random": Criterion(random),
    "snip": Criterion(snip, moment="initial"),
    "same-sign": Criterion(same_sign, ties="random"),
}


def criterion(word: str) -> Criterion:
    """The criterion that a word means, its parameters bound. Raises UsageError for an unknown one."""
    return pick("criterion", word, CRITERIA)
