"""Optimizers: one step of M models at once, on flat buffers. Each value is its own: nothing is summed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Update:
    """One update's settings: its learning rate, the run's weight decay and momentum, and its number 1, 2, ... since
    the optimizer started. Learning rate and number are tensors () within a CUDA graph."""

    lr: float | Tensor
    weight_decay: float
    momentum: float
    number: float | Tensor


Rule = Callable[[Tensor, Tensor, Mapping[str, Tensor], Tensor, Update], None]
"""(weights, gradients, memory, scratch, update) -> None: changes its buffers, each (size,), in place.

Gradients of pruned weights are 0, and so is what memory holds of them; the rule may write to scratch. A pruned weight
must stay exactly 0: gradient 0 and memory 0 must not move it, and weight decay must be a multiple of the weight.
"""


def sgd(w: Tensor, g: Tensor, memory: Mapping[str, Tensor], scratch: Tensor, update: Update) -> None:
    """Stochastic gradient descent with momentum (Polyak 1964) and L2 penalty: torch.optim.SGD(fused=True).

    Buffers are (size,), as of each Rule.
    """
    # One pass over the buffers instead of five. Their sizes are whole cache lines, so that every value is
    # computed in a vector and rounded alike, wherever it lies: bits would depend on M otherwise.
    torch._fused_sgd_(
        [w],
        [g],
        [memory["velocity"]] if update.momentum else [],
        weight_decay=update.weight_decay,
        momentum=update.momentum,
        lr=update.lr,
        dampening=0.0,
        nesterov=False,
        maximize=False,
        is_first_step=False,
    )


def adam(
    w: Tensor,
    g: Tensor,
    memory: Mapping[str, Tensor],
    scratch: Tensor,
    update: Update,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> None:
    """Adam (Kingma & Ba 2015) with L2 penalty in the gradient, as torch.optim.Adam. Buffers are (size,)."""
    # Product and sum apart: whether torch's add(alpha=) rounds once or twice may depend on an element's
    # position in the buffer, and so on M. Into scratch: a fresh buffer's page faults cost a third of a step.
    if update.weight_decay:
        g.add_(torch.mul(w, update.weight_decay, out=scratch))
    _adam(w, g, memory, scratch, update, beta1, beta2, eps)


def adamw(
    w: Tensor,
    g: Tensor,
    memory: Mapping[str, Tensor],
    scratch: Tensor,
    update: Update,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> None:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), as torch.optim.AdamW. Buffers are (size,)."""
    if update.weight_decay:
        w.mul_(1 - update.lr * update.weight_decay)
    _adam(w, g, memory, scratch, update, beta1, beta2, eps)


def _adam(
    w: Tensor,
    g: Tensor,
    memory: Mapping[str, Tensor],
    scratch: Tensor,
    update: Update,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    first, second = memory["first"], memory["second"]
    first.mul_(beta1).add_(torch.mul(g, 1 - beta1, out=scratch))
    second.mul_(beta2).add_(torch.mul(g.mul_(g), 1 - beta2, out=scratch))
    torch.sqrt(second, out=scratch)
    scratch.div_((1 - beta2**update.number) ** 0.5).add_(eps)
    torch.div(first, scratch, out=scratch)
    w.sub_(scratch.mul_(update.lr / (1 - beta1**update.number)))


class Optimizer(NamedTuple):
    """A rule, and the names of the buffers that it keeps from step to step, each as the weights and 0 at its start.

    alone: the rule is given one tensor of one model at a time, (*shape), for it may look at more than single values.
    """

    rule: Rule
    memory: Sequence[str] = ()
    alone: bool = False


OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": Optimizer(sgd, ("velocity",)),
    "adam": Optimizer(adam, ("first", "second")),
    "adamw": Optimizer(adamw, ("first", "second")),
}
