"""Lessons: what one step teaches: how the gradients of a batch come about, and which network they make."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import log, prod, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from sddcli.core import masks
from sddcli.core.losses import Loss
from sddcli.core.regularization import INITIAL, without
from sddcli.core.types import KEPT, STATISTICS, Counts, Draw, Forward, Lesson, Slopes, State, Tensors, Write
from sddcli.core.words import UsageError

GATES = 10
"""Networks drawn at each evaluation of a lesson that draws; their metrics are averaged (Zhou et al. 2019)."""


Split = Callable[[Tensors, Sequence[str], Counts, Draw], tuple[Tensors, Tensors]]
"""(weights (*shape), names of the prunable ones, counts, generators) -> (learned, fixed) of one model before its first
step."""
Gates = Callable[[Tensors, Tensors, Tensor | None], Tensors]
"""(scores, what is fixed, chance) -> 1 or 0 for each score, (M, *shape): is its gate open. chance: as in Teaching."""


class Teaching(NamedTuple):
    """A kind of lesson, and what its learned tensors mean.


    lesson(forward, loss) -> what writes the gradients.
    network(learned, fixed, chance) -> the weights in effect, (M, *shape): by uniform numbers chance (M, K), or for
    None the most probable ones. chances: whether it draws; K is then the number of learned values of a model. whole:
    whether weights that masks keep from learning are in effect too. gates: which weights are in effect, where that is
    what is learned.
    """

    split: Split
    lesson: Callable[[Forward, Loss], Lesson]
    network: Callable[[Tensors, Tensors, Tensor | None], Tensors]
    chances: bool = False
    whole: bool = False
    gates: Gates | None = None


def parameters(weights: Tensors, prunable: Sequence[str], counts: Counts, draw: Draw) -> tuple[Tensors, Tensors]:
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


def thinned(
    lesson: Callable[[Forward, Loss], Lesson], inputs: Mapping[str, int], share: float, batch_size: int
) -> Callable[[Forward, Loss], Lesson]:
    """The same with dropout (Srivastava et al. 2014): each value that a layer is given is 0 with probability `share`,
    else larger by the factor 1 / (1 - share).

    inputs: layer -> how many it is given. Of the uniform numbers of a step, (M, K), the last batch_size * sum of inputs
    are for this, also where a batch is short; the others are for the lesson.
    """
    each = sum(inputs.values())

    def of_loss(forward: Forward, loss: Loss) -> Lesson:
        def of(learned: Tensors, fixed: Tensors, gradients: Tensors) -> Write:
            factors: Tensors = {}

            def thinner(weights: Tensors, x: Tensor, training: bool) -> Tensor:
                return forward(weights | factors if training else weights, x, training)

            write = lesson(thinner, loss)(learned, fixed, gradients)

            def dropping(x: Tensor, labels: Tensor, chance: Tensor) -> None:
                own, drawn = chance.split([chance.shape[1] - batch_size * each, batch_size * each], 1)
                kept = (drawn.view(-1, batch_size, each)[:, : x.shape[1]] >= share) / (1 - share)  # (M, B, each)
                parts = kept.split(list(inputs.values()), 2)
                factors.update({layer + KEPT: part for layer, part in zip(inputs, parts, strict=True)})
                write(x, labels, *([own] if own.shape[1] else []))

            return dropping

        return of

    return of_loss


FROZEN = "frozen/"
"""How the names begin, among what is fixed, of the values that prunable weights have beside what they learn."""


def beside_frozen(weights: Tensors, prunable: Sequence[str], counts: Counts, draw: Draw) -> tuple[Tensors, Tensors]:
    """As `parameters`, and beside each prunable weight its frozen value, 0 until it is given one."""
    learned, fixed = parameters(weights, prunable, counts, draw)
    return learned, fixed | {FROZEN + name: torch.zeros_like(weights[name]) for name in prunable}


def summed(learned: Tensors, fixed: Tensors, chance: Tensor | None = None) -> Tensors:
    """The weights in effect (M, *shape): what is learned, which is 0 where a mask removes it, and the frozen values.

    chance: not used, for nothing is drawn.
    """
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


def scores(weights: Tensors, prunable: Sequence[str], counts: Counts, draw: Draw) -> tuple[Tensors, Tensors]:
    """Scores of the prunable weights are learned, (*shape), and all weights are fixed.

    At first each gate is open with the probability that as many are open as `counts` says. Raises UsageError unless
    that is above 0 and below 1.
    """
    density = sum(counts.values()) / sum(weights[name].numel() for name in prunable)
    if not 0 < density < 1:
        raise UsageError(f"gates cannot be open with probability {density:g} at first: take a level that prunes more")
    start = log(density / (1 - density))
    return {name: torch.full_like(weights[name], start) for name in prunable}, weights


def gates(learned: Tensors, fixed: Tensors, chance: Tensor | None) -> Tensors:
    """1 or 0 for each score, (M, *shape): open with probability sigmoid(score) where a uniform number is below it.

    chance: (M, K), a number for each score, one tensor after another; None for the more probable of both.
    """
    if chance is None:
        return {name: (score >= 0).to(score.dtype) for name, score in learned.items()}
    sizes = [score[0].numel() for score in learned.values()]
    parts = zip(learned.items(), chance.split(sizes, 1), strict=True)
    return {name: (part.view_as(score) < score.sigmoid()).to(score.dtype) for (name, score), part in parts}


def by_probability(score: Tensor, slope: Tensor) -> Tensor:
    """The gradient passes a gate as if it were its probability: dL/dscore = dL/dgate * p * (1 - p)."""
    p = score.sigmoid()
    return slope * (p * (1 - p))


COUNT = "count/"
"""How the names begin, among what is fixed, of the numbers (1,) of weights that a layer keeps."""


def uniform_scores(weights: Tensors, prunable: Sequence[str], counts: Counts, draw: Draw) -> tuple[Tensors, Tensors]:
    """As `scores`, drawn from U(-1, 1) / sqrt(fan-in) as in Ramanujan et al. (2020), beside each layer's count."""
    learned = {}
    for name in prunable:
        shape = tuple(weights[name].shape)
        values = draw(name).uniform(-1, 1, shape) / sqrt(prod(shape[1:]))
        learned[name] = torch.from_numpy(values).to(weights[name])
    kept = {COUNT + name: torch.tensor([counts[name]], device=weights[name].device) for name in prunable}
    return learned, weights | kept


def top_gates(learned: Tensors, fixed: Tensors, chance: Tensor | None = None) -> Tensors:
    """Open are the gates of the largest |scores|, of each layer exactly as many as it keeps; 1 or 0, (M, *shape).

    chance: not used, for nothing is drawn.
    """
    return {
        name: masks.top(score.abs(), fixed[COUNT + name].squeeze(1)).to(score.dtype) for name, score in learned.items()
    }


def by_sign(score: Tensor, slope: Tensor) -> Tensor:
    """The gradient passes a gate as if it were |score|: dL/dscore = dL/dgate * sign(score)."""
    return slope * score.sign()


def behind(split: Split, gates: Gates, passed: Callable[[Tensor, Tensor], Tensor], rescale: bool = False) -> Teaching:
    """Frozen weights behind gates whose scores learn.

    passed(score (M, *shape), its gate's gradient) -> its own. rescale: the weights of each layer are multiplied by
    size / number of open gates, of those that were drawn (dynamic weight rescaling, Zhou et al. 2019); the gradient
    does not see it.
    """

    def factors(opened: Tensors) -> Tensors:
        return {name: _factor(gate) for name, gate in opened.items()} if rescale else {}

    def lesson(forward: Forward, loss: Loss) -> Lesson:
        def of(learned: Tensors, fixed: Tensors, gradients: Tensors) -> Write:
            def write(inputs: Tensor, labels: Tensor, chance: Tensor | None = None) -> None:
                leaves = {name: gate.requires_grad_() for name, gate in gates(learned, fixed, chance).items()}
                larger = factors({name: gate.detach() for name, gate in leaves.items()})
                seen = {name: fixed[name] * gate for name, gate in leaves.items()}
                seen |= {name: seen[name] * factor for name, factor in larger.items()}
                total = loss(forward(_plain(fixed) | seen, inputs, True).float(), labels, leaves)
                slopes = torch.autograd.grad(total, list(leaves.values()))
                with torch.no_grad():
                    for (name, score), slope in zip(learned.items(), slopes, strict=True):
                        gradients[name].copy_(passed(score, slope))

            return write

        return of

    def network(learned: Tensors, fixed: Tensors, chance: Tensor | None) -> Tensors:
        """The weights behind open gates, 0 behind the others."""
        opened = gates(learned, fixed, chance)
        weights = masks.apply({name: gate.bool() for name, gate in opened.items()}, _plain(fixed))
        return weights | {name: weights[name] * factor for name, factor in factors(opened).items()}

    return Teaching(split, lesson, network, chances=split is scores, gates=gates)


def _factor(gate: Tensor) -> Tensor:
    """size / number of open gates of each of M models, (M, 1, ...)."""
    opened = gate.flatten(1).sum(1, dtype=torch.float64).clamp_min(1)
    return (gate[0].numel() / opened).to(gate.dtype).view(-1, *(1,) * (gate.dim() - 1))


def _plain(fixed: Tensors) -> Tensors:
    """The weights among what is fixed."""
    return {name: w for name, w in fixed.items() if not name.startswith(COUNT)}


TEACHER = "teacher/"
"""How the names begin, among what is fixed, of a teacher's weights."""


def taught(teaching: Teaching) -> Teaching:
    """The same beside a teacher: its weights are fixed, and the loss sees what it answers to the same inputs.

    The teacher answers as it does in evaluation. Until it is given its weights it has those of its student.
    """

    def split(weights: Tensors, prunable: Sequence[str], counts: Counts, draw: Draw) -> tuple[Tensors, Tensors]:
        learned, fixed = teaching.split(weights, prunable, counts, draw)
        return learned, fixed | {TEACHER + name: w for name, w in weights.items()}

    def lesson(forward: Forward, loss: Loss) -> Lesson:
        def of(learned: Tensors, fixed: Tensors, gradients: Tensors) -> Write:
            own = without(TEACHER, fixed)
            teacher = {name.removeprefix(TEACHER): w for name, w in fixed.items() if name not in own}

            def both(weights: Tensors, inputs: Tensor, training: bool) -> Tensor:
                with torch.no_grad():
                    answers = forward(teacher, inputs, False)
                return torch.cat([forward(weights, inputs, training), answers], 2)

            def beside(logits: Tensor, labels: Tensor, parameters: Tensors) -> Tensor:
                student, answers = logits.chunk(2, 2)
                return loss(student, labels, parameters, answers)

            return teaching.lesson(both, beside)(learned, own, gradients)

        return of

    def network(learned: Tensors, fixed: Tensors, chance: Tensor | None) -> Tensors:
        return teaching.network(learned, without(TEACHER, fixed), chance)

    return teaching._replace(split=split, lesson=lesson, network=network)


def beside_initial(teaching: Teaching) -> Teaching:
    """The same with the weights of the initialization among what is fixed, which a regularization looks at.

    Until they are given, they are those that training starts from.
    """

    def split(weights: Tensors, prunable: Sequence[str], counts: Counts, draw: Draw) -> tuple[Tensors, Tensors]:
        learned, fixed = teaching.split(weights, prunable, counts, draw)
        return learned, fixed | {INITIAL + name: weights[name] for name in learned}

    def network(learned: Tensors, fixed: Tensors, chance: Tensor | None) -> Tensors:
        return teaching.network(learned, without(INITIAL, fixed), chance)

    return teaching._replace(split=split, network=network)


BEST = "best/"
"""How the names begin, among what is fixed, of copies of what training changes, as it was at the best evaluation; by
this alone is called (validation accuracy, epoch) of that evaluation, float64 of shape (2,)."""


def keeping_best(teaching: Teaching) -> Teaching:
    """The same with such copies beside it, of all that is learned and of BatchNorm statistics.

    Before any evaluation the accuracy is -1. Lessons do not look at them, and who evaluates writes to them.
    """

    def split(weights: Tensors, prunable: Sequence[str], counts: Counts, draw: Draw) -> tuple[Tensors, Tensors]:
        learned, fixed = teaching.split(weights, prunable, counts, draw)
        changing = learned | {name: w for name, w in fixed.items() if name in weights and name.endswith(STATISTICS)}
        never = torch.tensor([-1.0, 0.0], dtype=torch.float64, device=next(iter(weights.values())).device)
        return learned, fixed | {BEST + name: w for name, w in changing.items()} | {BEST: never}

    def network(learned: Tensors, fixed: Tensors, chance: Tensor | None) -> Tensors:
        return teaching.network(learned, without(BEST, fixed), chance)

    return teaching._replace(split=split, network=network)


def beside_best(lesson: Lesson) -> Lesson:
    """The same lesson where such copies are among what is fixed."""
    return lambda learned, fixed, gradients: lesson(learned, without(BEST, fixed), gradients)


def note_best(state: State, accuracy: Sequence[float], epoch: int) -> None:
    """Writes over the copies of those of M models whose validation accuracy is higher than at any evaluation before."""
    known, now = state.fixed[BEST], torch.tensor([[value, epoch] for value in accuracy], dtype=torch.float64)
    better = now.to(known.device)[:, 0] > known[:, 0]
    known[better] = now.to(known.device)[better]
    for name, w in (state.fixed | state.learned).items():  # scores of masks are called as the weights that are fixed
        if BEST + name in state.fixed:
            state.fixed[BEST + name][better] = w[better]


def best(state: State) -> State:
    """The state with what was learned, and the statistics, of the best evaluation in their place."""
    kept = {name.removeprefix(BEST): w for name, w in state.fixed.items() if name.startswith(BEST)}
    return replace(
        state,
        learned={name: kept[name] for name in state.learned},
        fixed={name: w if name in state.learned else kept.get(name, w) for name, w in state.fixed.items()},
    )


LESSONS: Mapping[str, Teaching] = {
    "supervised": Teaching(parameters, supervised, lambda learned, fixed, chance: learned | fixed),
    "frozen": Teaching(beside_frozen, frozen, summed, whole=True),
    # Zhou et al. (2019), section 4, and Ramanujan et al. (2020).
    "supermask": behind(scores, gates, by_probability),
    "rescaled-supermask": behind(scores, gates, by_probability, rescale=True),
    "edge-popup": behind(uniform_scores, top_gates, by_sign),
}
