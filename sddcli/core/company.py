"""Company: do models that are trained side by side have the bits that each has alone, and what gives them if not."""

from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from sddcli.core import engine, inits
from sddcli.core.lessons import Split, parameters
from sddcli.core.seeds import stream
from sddcli.core.types import Model, State

Company = Literal["together", "one by one", "not promised"]
"""How M models have the bits that each has alone: computed at once, or one by one, which is slower, or not at all."""

BATCHES = 2
"""Full batches of the trial; the last, short one of an epoch comes on top."""


def company(
    plan: engine.Plan, model: Model, x: Tensor, classes: int, models: int, split: Split = parameters
) -> Company:
    """How so many models trained by `plan` on inputs like x, (N, *features), have the bits of one that is alone.

    A trial trains copies of one network, all on the same random data in the same order, for a few batches of the sizes
    that training has. Without weight decay, the optimizer's memory holds gradients alone. If the copies differ from
    each other, or from one that is trained alone, it comes from where their numbers lie in memory and from what is
    computed beside them. No masks: zeros would hide in which order sums are taken. split: which of the weights the
    plan's lesson learns, and which are fixed.
    """
    if models == 1:
        return "together"
    alone = _trial(plan, model, x, classes, 1, split)
    if _same(_trial(plan, model, x, classes, models, split), alone):
        return "together"
    return "one by one" if _same(_trial(separate(plan), model, x, classes, models, split), alone) else "not promised"


def separate(plan: engine.Plan) -> engine.Plan:
    """The same training, each model computed by itself, from copies that lie in memory as a single model's do."""
    return replace(plan, one_by_one=True, aligned=True)


def _trial(plan: engine.Plan, model: Model, x: Tensor, classes: int, models: int, split: Split) -> list[Tensor]:
    """Weights and optimizer's memory of so many copies of one network after the trial, each (M, *shape)."""
    n = min(len(x), BATCHES * plan.batch_size + len(x) % plan.batch_size)
    inputs, labels = _random(x, n), torch.from_numpy(stream(0, "company", "labels").integers(classes, size=(1, n)))
    start = inits.fresh(model, "kaiming:bias=uniform", 0)
    half = {name: start[name].numel() // 2 for name in model.prunable}
    learned, fixed = (
        {name: w.expand(models, *w.shape) for name, w in part.items()}
        for part in split(
            {name: start[name] for name in model.weights}, model.prunable, half, partial(stream, 0, "company")
        )
    )
    masks = {name: torch.ones_like(learned[name], dtype=torch.bool) for name in model.prunable}

    def order(epoch: int) -> Tensor:
        return torch.arange(n).expand(models, n)

    def chance(step: int) -> Tensor:
        number = plan.chance(step).shape[1] if plan.chance else 0
        numbers = stream(0, "company", "chance", step).random(number, dtype="float32")
        return torch.from_numpy(numbers).expand(models, number)

    steps = -(-n // plan.batch_size)
    trial = replace(plan, order=order, lr=[0.1] * steps, weight_decay=0.0, draws=None, augment=None)
    trial = replace(trial, chance=chance if plan.chance else None)
    *_, last = engine.train(State(learned, fixed, masks, {}), inputs, labels.expand(models, n), trial)
    memory = [w for kept in last.state.memory.values() for w in kept.values()]
    return [*last.state.learned.values(), *last.state.fixed.values(), *memory]


def _random(x: Tensor, n: int) -> Tensor:
    """n inputs of the shape and type of those in x, (N, *features)."""
    draw, shape = stream(0, "company", "inputs"), (n, *x.shape[1:])
    if x.dtype == torch.uint8:
        return torch.from_numpy(draw.integers(256, size=shape, dtype="uint8"))
    return torch.from_numpy(draw.standard_normal(shape, dtype="float32"))


def _same(together: list[Tensor], alone: list[Tensor]) -> bool:
    """Whether each of M models has the bits of the one that was alone; NaNs of equal bits are equal."""
    pairs = zip(together, alone, strict=True)
    return all(torch.equal(w.view(torch.int32), one.expand_as(w).contiguous().view(torch.int32)) for w, one in pairs)
