"""Engine: trains M masked models side by side.

Storage is stacked, not kernels: parameters, gradients and the optimizer's memory lie in one flat buffer each,
in which every name owns one contiguous block (M, *shape). The optimizer is then a handful of operations on
whole buffers, whatever M and the number of layers. On a CPU each model's bits are those it would have alone:
blocks start at cache lines, nothing is summed across models, and every product is one matrix per model.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from sddcli.core.losses import Loss, cross_entropy
from sddcli.core.optimizers import Rule, Step, sgd
from sddcli.core.types import STATISTICS, Epoch, Forward, Slopes, State, Tensors, Write

ALIGNMENT = 16  # floats in a 64-byte cache line
Augment = Callable[[Tensor, Tensor], Tensor]
"""(inputs (B, *features), the draws of each (B, K)) -> augmented inputs."""


@dataclass(frozen=True)
class Plan:
    """How to train: pure functions and numbers, the same for all M models.

    order(epoch) -> (M, N) int64, each model's own order of the N examples in epoch 0, 1, ...;
    lr: one learning rate for each step from 0 on, all epochs one after another. rule: the optimizer, and
    `memory` the names of what it keeps. draws(epoch) -> (M, N, K): what `augment` makes of each example in
    that epoch. apart: models are computed one after the other. computing(): what passes are computed within.
    slopes: the gradient of `loss` written out, where that is faster than autograd through `forward`.
    """

    forward: Forward
    order: Callable[[int], Tensor]
    batch_size: int
    lr: Sequence[float]
    momentum: float = 0.0
    weight_decay: float = 0.0
    rule: Rule = sgd
    memory: Sequence[str] = ("velocity",)
    loss: Loss = cross_entropy
    draws: Callable[[int], Tensor] | None = None
    augment: Augment | None = None
    apart: bool = False
    computing: Callable[[], AbstractContextManager[None]] = nullcontext
    slopes: Slopes | None = None


def train(state: State, x: Tensor, y: Tensor, plan: Plan) -> Iterator[Epoch]:
    """Trains M models by the plan's optimizer on minibatches, under their masks.

    state: `memory` empty for a fresh start, `step` the one to go on from; x: (N, *features) shared; y: (M, N)
    each model its own labels. The last batch of an epoch may be short. Yields after each epoch, and where the
    learning rates are used up, if that is within one. Pruned weights are exactly 0 after every step, their
    gradients and the optimizer's memory of them too. The given state is not written to.
    """
    models, n = y.shape
    batches = range(0, n, plan.batch_size)
    parameters = {name: w for name, w in state.weights.items() if not name.endswith(STATISTICS)}
    weights, views = _stack(parameters)
    slopes, gradients = _stack({name: torch.zeros_like(w) for name, w in views.items()})
    stacks = {name: _stack(state.memory.get(name) or gradients) for name in plan.memory}
    memory = {name: flat for name, (flat, _) in stacks.items()}
    scratch = torch.empty_like(weights)
    keep, _ = _stack({name: state.masks.get(name, torch.ones_like(w)) for name, w in views.items()})
    for buffer in (weights, *memory.values()):
        buffer.mul_(keep)
    statistics = {name: w.clone() for name, w in state.weights.items() if name.endswith(STATISTICS)}
    together = [slice(m, m + 1) for m in range(models)] if plan.apart else [slice(models)]
    groups = [(rows, _write(plan, *(_of(rows, each) for each in (views, gradients, statistics)))) for rows in together]
    since = state.since if state.memory else state.step
    kept = {name: blocks for name, (_, blocks) in stacks.items()}
    named = views | statistics
    now = State({name: named[name] for name in state.weights}, state.masks, kept, state.step, since)

    while now.step < len(plan.lr):
        epoch, first = divmod(now.step, len(batches))
        order = plan.order(epoch)
        draws = plan.draws(epoch) if plan.draws else None
        labels = y.gather(1, order)
        for start in batches[first : first + len(plan.lr) - now.step]:
            end = start + plan.batch_size
            for rows, write in groups:
                chosen = order[rows, start:end]  # (models of the group, B)
                inputs = x.index_select(0, chosen.reshape(-1))
                if plan.augment and draws is not None:
                    own = draws[rows].gather(1, chosen.unsqueeze(2).expand(-1, -1, draws.shape[2]))
                    inputs = plan.augment(inputs, own.flatten(0, 1))
                with plan.computing():
                    write(inputs.view(*chosen.shape, *inputs.shape[1:]), labels[rows, start:end])
            with torch.no_grad():
                slopes.mul_(keep)
                number = now.step - since + 1
                step = Step(plan.lr[now.step], plan.weight_decay, plan.momentum, number)
                plan.rule(weights, slopes, memory, scratch, step)
            now.step += 1
        yield Epoch(epoch + 1, now)


def _of(rows: slice, tensors: Tensors) -> Tensors:
    return {name: tensor[rows] for name, tensor in tensors.items()}


def _write(plan: Plan, weights: Tensors, gradients: Tensors, statistics: Tensors) -> Write:
    """What writes the gradients of the models that are computed together: the plan's own slopes, or autograd's."""
    if plan.slopes:
        return plan.slopes(weights, gradients)
    leaves = {name: w.detach().requires_grad_() for name, w in weights.items()}

    def write(inputs: Tensor, labels: Tensor) -> None:
        logits = plan.forward(leaves | statistics, inputs, True)
        loss = plan.loss(logits.float(), labels, leaves)
        found = torch.autograd.grad(loss, list(leaves.values()))
        for gradient, each in zip(gradients.values(), found, strict=True):
            gradient.copy_(each)

    return write


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
