"""Engine: trains M masked models side by side.

Storage is stacked, not kernels: parameters, gradients and momentum lie in one flat buffer each, in which
every name owns one contiguous block (M, *shape). The optimizer is then a handful of operations on whole
buffers, whatever M and the number of layers. On a CPU each model's bits are those it would have alone:
blocks start at cache lines, nothing is summed across models, and every product is one matrix per model.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from sddcli.core.types import Epoch, Forward, State, Tensors

ALIGNMENT = 16  # floats in a 64-byte cache line


@dataclass(frozen=True)
class Plan:
    """How to train: pure functions and numbers, the same for all M models.

    order(epoch) -> (M, N) int64, each model's own order of the N examples in epoch 0, 1, ...;
    lr: one learning rate for each step from 0 on, all epochs one after another.
    """

    forward: Forward
    order: Callable[[int], Tensor]
    batch_size: int
    lr: Sequence[float]
    momentum: float = 0.0
    weight_decay: float = 0.0


def train(state: State, x: Tensor, y: Tensor, plan: Plan) -> Iterator[Epoch]:
    """Stochastic gradient descent with momentum and weight decay (as torch.optim.SGD), cross-entropy loss.

    state: M models, `velocity` empty for a fresh start, `step` the one to go on from; x: (N, *features)
    shared; y: (M, N) each model its own labels. The last batch of an epoch may be short. Yields after each
    epoch, and where the learning rates are used up, if that is within one. Pruned weights are exactly 0
    after every step, their gradients and momentum too. The given state is not written to.
    """
    models, n = y.shape
    batches = range(0, n, plan.batch_size)
    weights, parameters = _stack(state.parameters)
    slopes, gradients = _stack({name: torch.zeros_like(w) for name, w in parameters.items()})
    velocity, momenta = _stack(state.velocity or gradients)
    scratch = torch.empty_like(weights)
    keep, _ = _stack({name: state.masks.get(name, torch.ones_like(w)) for name, w in parameters.items()})
    weights.mul_(keep)
    velocity.mul_(keep)
    leaves = {name: w.requires_grad_() for name, w in parameters.items()}
    now = State({name: w.detach() for name, w in leaves.items()}, state.masks, momenta, state.step)

    rows = torch.arange(models, device=y.device).unsqueeze(1)
    while now.step < len(plan.lr):
        epoch, first = divmod(now.step, len(batches))
        order = plan.order(epoch)
        labels = y[rows, order]
        for start in batches[first : first + len(plan.lr) - now.step]:
            chosen = order[:, start : start + plan.batch_size]  # (M, B)
            inputs = x.index_select(0, chosen.reshape(-1)).view(*chosen.shape, *x.shape[1:])
            loss = _loss(plan.forward(leaves, inputs), labels[:, start : start + plan.batch_size])
            grads = torch.autograd.grad(loss, list(leaves.values()))
            for block, grad in zip(gradients.values(), grads, strict=True):
                block.copy_(grad)
            _step(weights, slopes, velocity, keep, scratch, plan, plan.lr[now.step])
            now.step += 1
        yield Epoch(epoch + 1, now)


def _loss(logits: Tensor, y: Tensor) -> Tensor:
    """logits: (M, B, classes); y: (M, B). The sum over models of each one's mean cross-entropy."""
    return F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum") / y.shape[1]


@torch.no_grad()
def _step(
    weights: Tensor, slopes: Tensor, velocity: Tensor, keep: Tensor, scratch: Tensor, plan: Plan, lr: float
) -> None:
    # Product and sum apart: whether torch's add(alpha=) rounds once or twice may depend on an element's
    # place in the buffer, and so on M. Into scratch: a fresh buffer's page faults cost a third of a step.
    if plan.weight_decay:
        slopes.add_(torch.mul(weights, plan.weight_decay, out=scratch))
    slopes.mul_(keep)
    velocity.mul_(plan.momentum).add_(slopes)
    weights.sub_(torch.mul(velocity, lr, out=scratch))


def _stack(tensors: Tensors) -> tuple[Tensor, Tensors]:
    """A flat copy of `tensors` as floats, each from a cache line on, and the views of it under their names."""
    starts, end = {}, 0
    for name, tensor in tensors.items():
        starts[name] = end
        end += -(-tensor.numel() // ALIGNMENT) * ALIGNMENT
    flat = torch.zeros(end, device=next(iter(tensors.values())).device)
    views = {name: flat[starts[name] :][: prod(t.shape)].view(t.shape) for name, t in tensors.items()}
    for name, view in views.items():
        view.copy_(tensors[name])
    return flat, views
