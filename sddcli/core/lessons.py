"""Lessons: what one step teaches: how the gradients of a batch come about, and which network they make."""

from collections.abc import Callable, Mapping, Sequence
from math import log
from typing import NamedTuple

import torch
from torch import Tensor

from sddcli.core import masks
from sddcli.core.losses import Loss
from sddcli.core.types import STATISTICS, Forward, Lesson, Slopes, Tensors, Write
from sddcli.core.words import UsageError

GATES = 10
"""Networks drawn at each evaluation of a lesson that draws; their metrics are averaged (Zhou et al. 2019)."""


Split = Callable[[Tensors, Sequence[str], float], tuple[Tensors, Tensors]]
"""(weights (*shape), names of the prunable ones, density) -> (learned, fixed) of one model before its first step."""


class Teaching(NamedTuple):
    """A kind of lesson, and what its learned tensors mean.


    lesson(forward, loss) -> what writes the gradients.
    network(learned, fixed, chance) -> the weights in effect, (M, *shape): by uniform numbers chance (M, K), or for
    None the most probable ones. chances: whether it draws; K is then the number of learned values of a model. whole:
    whether weights that masks keep from learning are in effect too.
    """

    split: Split
    lesson: Callable[[Forward, Loss], Lesson]
    network: Callable[[Tensors, Tensors, Tensor | None], Tensors]
    chances: bool = False
    whole: bool = False


def parameters(weights: Tensors, prunable: Sequence[str], density: float) -> tuple[Tensors, Tensors]:
    """All weights are learned but for BatchNorm statistics, which training measures."""
    fixed = {name: w for name, w in weights.items() if name.endswith(STATISTICS)}
    return {name: w for name, w in weights.items() if name not in fixed}, fixed


def supervised(forward: Forward, loss: Loss) -> Lesson:
    """The gradient of the loss in all that is learned, by autograd."""

    def lesson(learned: Tensors, fixed: Tensors, gradients: Tensors) -> Write:
        leaves = {name: w.detach().requires_grad_() for name, w in learned.items()}

        def write(inputs: Tensor, labels: Tensor) -> None:
            logits = forward(fixed | leaves, inputs, True)
            total = loss(logits.float(), labels, leaves)
            slopes = torch.autograd.grad(total, list(leaves.values()))
            with torch.no_grad():
                torch._foreach_copy_([gradients[name] for name in leaves], slopes)

        return write

    return lesson


def written_out(slopes: Slopes) -> Lesson:
    """The same where a network has its gradient written out, which is faster than autograd."""
    return lambda learned, fixed, gradients: slopes(learned | fixed, gradients)


FROZEN = "frozen/"
"""How the names begin, among what is fixed, of the values that prunable weights have beside what they learn."""


def beside_frozen(weights: Tensors, prunable: Sequence[str], density: float) -> tuple[Tensors, Tensors]:
    """As `parameters`, and beside each prunable weight its frozen value, 0 until it is given one."""
    learned, fixed = parameters(weights, prunable, density)
    return learned, fixed | {FROZEN + name: torch.zeros_like(weights[name]) for name in prunable}


def summed(learned: Tensors, fixed: Tensors, chance: Tensor | None = None) -> Tensors:
    """The weights in effect: what is learned, which is 0 where a mask removes it, and the frozen values."""
    whole = {name: w + fixed[FROZEN + name] if FROZEN + name in fixed else w for name, w in learned.items()}
    return whole | {name: w for name, w in fixed.items() if not name.startswith(FROZEN)}


def frozen(forward: Forward, loss: Loss) -> Lesson:
    """Pruned weights stay at values of their own, the others learn (Zhou et al. 2019, section 3: mask-0 actions)."""

    def lesson(learned: Tensors, fixed: Tensors, gradients: Tensors) -> Write:
        def write(inputs: Tensor, labels: Tensor) -> None:
            leaves = {name: w.detach().requires_grad_() for name, w in learned.items()}
            total = loss(forward(summed(leaves, fixed), inputs, True).float(), labels, leaves)
            slopes = torch.autograd.grad(total, list(leaves.values()))
            with torch.no_grad():
                torch._foreach_copy_([gradients[name] for name in leaves], slopes)

        return write

    return lesson


def scores(weights: Tensors, prunable: Sequence[str], density: float) -> tuple[Tensors, Tensors]:
    """Scores of the prunable weights are learned, (*shape), and all weights are fixed.

    At first each gate is open with probability `density`. Raises UsageError unless that is above 0 and below 1.
    """
    if not 0 < density < 1:
        raise UsageError(f"gates cannot be open with probability {density:g} at first: take a level that prunes more")
    start = log(density / (1 - density))
    return {name: torch.full_like(weights[name], start) for name in prunable}, weights


def gates(learned: Tensors, chance: Tensor | None) -> Tensors:
    """1 or 0 for each score, (M, *shape): open with probability sigmoid(score) where a uniform number is below it.

    chance: (M, K), a number for each score, one tensor after another; None for the more probable of both.
    """
    if chance is None:
        return {name: (score >= 0).to(score.dtype) for name, score in learned.items()}
    sizes = [score[0].numel() for score in learned.values()]
    parts = zip(learned.items(), chance.split(sizes, 1), strict=True)
    return {name: (part.view_as(score) < score.sigmoid()).to(score.dtype) for (name, score), part in parts}


def supermask(forward: Forward, loss: Loss) -> Lesson:
    """Frozen weights behind gates that are drawn at each step; only their scores learn (Zhou et al. 2019, section 4).

    The gradient passes a gate as if it were its probability (straight-through): dL/dscore = dL/dgate * p * (1 - p).
    """

    def lesson(learned: Tensors, fixed: Tensors, gradients: Tensors) -> Write:
        def write(inputs: Tensor, labels: Tensor, chance: Tensor) -> None:
            leaves = {name: gate.requires_grad_() for name, gate in gates(learned, chance).items()}
            logits = forward(fixed | {name: fixed[name] * gate for name, gate in leaves.items()}, inputs, True)
            total = loss(logits.float(), labels, leaves)
            slopes = torch.autograd.grad(total, list(leaves.values()))
            with torch.no_grad():
                for (name, score), slope in zip(learned.items(), slopes, strict=True):
                    open_ = score.sigmoid()
                    torch.mul(slope, open_ * (1 - open_), out=gradients[name])

        return write

    return lesson


def gated(learned: Tensors, fixed: Tensors, chance: Tensor | None) -> Tensors:
    """The weights behind open gates, 0 behind the others."""
    opened = {name: gate.bool() for name, gate in gates(learned, chance).items()}
    return masks.apply(opened, fixed)


LESSONS: Mapping[str, Teaching] = {
    "supervised": Teaching(parameters, supervised, lambda learned, fixed, chance: learned | fixed),
    "frozen": Teaching(beside_frozen, frozen, summed, whole=True),
    "supermask": Teaching(scores, supermask, gated, chances=True),
}
