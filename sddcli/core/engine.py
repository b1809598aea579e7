"""Engine: trains M masked models side by side.

Storage is stacked, not kernels: parameters, gradients and the optimizer's memory lie in one flat buffer each,
in which every name owns one contiguous block (M, *shape). The optimizer is then a handful of operations on
whole buffers, whatever M and the number of layers. On a CPU each model's bits are those it would have alone:
blocks start at cache lines, nothing is summed across models, and every product is one matrix per model.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from sddcli.core import capture
from sddcli.core.alignment import aligned
from sddcli.core.optimizers import OPTIMIZERS, Optimizer, Update
from sddcli.core.types import Epoch, Lesson, State, Tensors, Write

ALIGNMENT = 16  # floats in a 64-byte cache line
Augment = Callable[[Tensor, Tensor], Tensor]
"""(inputs (B, *features), the draws of each (B, K)) -> augmented inputs."""


@dataclass(frozen=True)
class Plan:
    """How to train: pure functions and numbers, the same for all M models.

    lesson: makes what writes the gradients of a batch.
    order(epoch) -> (M, N) int64: each model's own order of the N examples in epoch 0, 1, ...
    lr: the learning rate of each step, from step 0 to the last of all epochs.
    optimizer: how gradients change weights, see core/optimizers.
    draws(epoch) -> (M, N, K): the random numbers by which `augment` changes each example in that epoch.
    one_by_one: models are computed one after the other. aligned: and each from copies, see core/alignment.
    computing(): the context in which forward and backward passes run, see core/precisions.
    chance(step) -> (M, K): the uniform numbers of a lesson that draws, at that step; None for other lessons.
    cuda: do what is fast on CUDA: steps are CUDA graphs, models computed one by one have a stream each, and the
    weights of convolutions are stored channels last.
    streamed: the examples stay where they are, in memory or in a file that is mapped there, and those of each batch are
    picked there and moved to the device.
    """

    lesson: Lesson
    order: Callable[[int], Tensor]
    batch_size: int
    lr: Sequence[float]
    momentum: float = 0.0
    weight_decay: float = 0.0
    optimizer: Optimizer = OPTIMIZERS["sgd"]
    draws: Callable[[int], Tensor] | None = None
    augment: Augment | None = None
    one_by_one: bool = False
    aligned: bool = False
    computing: Callable[[], AbstractContextManager[None]] = nullcontext
    chance: Callable[[int], Tensor] | None = None
    cuda: bool = False
    streamed: bool = False


def train(state: State, x: Tensor, y: Tensor, plan: Plan) -> Iterator[Epoch]:
    """Trains M models by the plan's optimizer on minibatches, under their masks.

    state: `memory` empty for a fresh start, `step` the one to go on from; x: (N, *features) shared; y: (M, N)
    each model its own labels. The last batch of an epoch may be short. Yields after each epoch, and where the
    learning rates are used up, if that is within one. Pruned weights are exactly 0 after every step, their
    gradients and the optimizer's memory of them too. The given state is not written to.
    """
    steps = -(-y.shape[1] // plan.batch_size)
    buffers = _buffers(state, plan)
    since = state.since if state.memory else state.step
    now = State(buffers.learned, buffers.fixed, state.masks, buffers.kept, state.step, since, state.aside)
    step = _step(plan, buffers, x, y.shape[0])
    take = capture.replayed(step) if plan.cuda else step
    ahead: list[Sequence[Tensor]] = []
    while now.step < len(plan.lr):
        epoch, first = divmod(now.step, steps)
        batches = ahead or _batches(plan, y, epoch)
        for batch in batches[first : first + len(plan.lr) - now.step]:
            chance = [plan.chance(now.step)] if plan.chance else []
            chosen = _picked(x, batch[0], y.device) if plan.streamed else batch[0]
            take(plan.lr[now.step], now.step - since + 1, chosen, *batch[1:], *chance)
            now.step += 1
        if plan.cuda and now.step < len(plan.lr):  # now, while the GPU still computes this epoch
            ahead = _batches(plan, y, epoch + 1)
        yield Epoch(epoch + 1, now)


class _Buffers(NamedTuple):
    """The memory that training writes to.

    Flat, all of one size: weights, which are learned; slopes, their gradients; keep, 1 of a kept weight and 0 of a
    pruned one (None where no model is pruned); memory, the optimizer's; scratch. Views of these by name, (M, *shape):
    learned, gradients, kept (of memory). fixed: (M, *shape), copies, since training writes BatchNorm statistics.
    """

    weights: Tensor
    slopes: Tensor
    keep: Tensor | None
    memory: dict[str, Tensor]
    scratch: Tensor
    learned: Tensors
    gradients: Tensors
    kept: dict[str, Tensors]
    fixed: Tensors


def _buffers(state: State, plan: Plan) -> _Buffers:
    weights, views = _stack(state.learned, plan.cuda)
    slopes, gradients = _stack({name: torch.zeros_like(w) for name, w in views.items()}, plan.cuda)
    stacks = {name: _stack(state.memory.get(name) or gradients, plan.cuda) for name in plan.optimizer.memory}
    memory = {name: flat for name, (flat, _) in stacks.items()}
    keep = None
    if _pruned(state.masks):
        keep, _ = _stack({name: state.masks.get(name, torch.ones_like(w)) for name, w in views.items()}, plan.cuda)
        for buffer in (weights, *memory.values()):
            buffer.mul_(keep)
    fixed = {name: w.clone() for name, w in state.fixed.items()}
    kept = {name: blocks for name, (_, blocks) in stacks.items()}
    return _Buffers(weights, slopes, keep, memory, torch.empty_like(weights), views, gradients, kept, fixed)


def _pruned(masks: Tensors) -> bool:
    return not all(bool(mask.all()) for mask in masks.values())


def _step(plan: Plan, buffers: _Buffers, x: Tensor, models: int) -> capture.Step:
    """A function that trains one step: of the learning rate, the number of the update, the indices of the examples
    (M, B), or themselves (M, B, *features) where they are streamed, their labels (M, B) and, where the plan has them,
    draws (M, B, K) and chance (M, K).
    """
    together = [slice(m, m + 1) for m in range(models)] if plan.one_by_one else [slice(models)]
    lesson = aligned(plan.lesson) if plan.aligned else plan.lesson
    writes = [
        lesson(*(_of(rows, tensors) for tensors in (buffers.learned, buffers.fixed, buffers.gradients)))
        for rows in together
    ]
    streams = [torch.cuda.Stream() for _ in together] if plan.cuda and len(together) > 1 else []

    def learn(rows: slice, write: Write, chosen: Tensor, labels: Tensor, more: Sequence[Tensor]) -> None:
        mine = chosen[rows]  # (models of the group, B), and *features where they are streamed
        inputs = mine.flatten(0, 1) if plan.streamed else x.index_select(0, mine.reshape(-1))
        if plan.draws and plan.augment:
            inputs = plan.augment(inputs, more[0][rows].flatten(0, 1))
        chance = [more[-1][rows]] if plan.chance else []
        with plan.computing():
            write(inputs.view(*mine.shape[:2], *inputs.shape[1:]), labels[rows], *chance)

    def step(lr: float | Tensor, number: float | Tensor, chosen: Tensor, labels: Tensor, *more: Tensor) -> None:
        jobs = [partial(learn, rows, write, chosen, labels, more) for rows, write in zip(together, writes, strict=True)]
        capture.at_once(jobs, streams)
        with torch.no_grad():
            if buffers.keep is not None:
                buffers.slopes.mul_(buffers.keep)
            update = Update(lr, plan.weight_decay, plan.momentum, number)
            if plan.optimizer.alone:
                _one_by_one(plan.optimizer, buffers, update)
            else:
                plan.optimizer.rule(buffers.weights, buffers.slopes, buffers.memory, buffers.scratch, update)

    return step


def _one_by_one(optimizer: Optimizer, buffers: _Buffers, update: Update) -> None:
    """An update of each tensor of each model from copies, which lie in memory as those of a model that is alone do."""
    for name, weights in buffers.learned.items():
        for m in range(len(weights)):
            of_model = [weights, buffers.gradients[name], *(kept[name] for kept in buffers.kept.values())]
            w, g, *remembered = (each[m].clone() for each in of_model)
            memory = dict(zip(buffers.kept, remembered, strict=True))
            optimizer.rule(w, g, memory, torch.empty_like(w), update)
            for key, value in memory.items():
                buffers.kept[key][name][m] = value
            weights[m] = w
    if buffers.keep is not None:  # what a user's own rule does to a pruned weight does not count
        for buffer in (buffers.weights, *buffers.memory.values()):
            buffer.mul_(buffers.keep)


def _batches(plan: Plan, y: Tensor, epoch: int) -> list[Sequence[Tensor]]:
    """The batches of an epoch: indices of examples (M, B), their labels (M, B), draws (M, B, K) if there are any."""
    order = plan.order(epoch)
    shuffled = [order, y.gather(1, order)]
    if plan.draws:
        draws = plan.draws(epoch)
        shuffled.append(draws.gather(1, order.unsqueeze(2).expand_as(draws)))
    return list(zip(*(each.split(plan.batch_size, 1) for each in shuffled), strict=True))


def _picked(x: Tensor, chosen: Tensor, device: torch.device) -> Tensor:
    """The examples (M, B, *features) of these indices (M, B), on a device."""
    return x.index_select(0, chosen.reshape(-1).to(x.device)).to(device).view(*chosen.shape, *x.shape[1:])


def _of(rows: slice, tensors: Tensors) -> Tensors:
    return {name: tensor[rows] for name, tensor in tensors.items()}


def _stack(tensors: Tensors, last: bool) -> tuple[Tensor, Tensors]:
    """A flat copy of `tensors` as floats, each from a cache line on, and the views of it under their names.

    last: the channels of convolutions lie last, as a GPU's matrix units read them.
    """
    starts, end = {}, 0
    for name, tensor in tensors.items():
        starts[name] = end
        end += -(-tensor.numel() // ALIGNMENT) * ALIGNMENT
    flat = torch.zeros(end, device=next(iter(tensors.values())).device)
    views = {name: _shaped(flat[starts[name] :][: prod(t.shape)], t.shape, last) for name, t in tensors.items()}
    for name, view in views.items():
        view.copy_(tensors[name])
    return flat, views


def _shaped(block: Tensor, shape: torch.Size, last: bool) -> Tensor:
    if not last or len(shape) != 5:
        return block.view(shape)
    models, n_out, n_in, height, width = shape
    return block.view(models, n_out, height, width, n_in).permute(0, 1, 4, 2, 3)
