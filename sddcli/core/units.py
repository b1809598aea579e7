"""Units: which weights are kept or removed together."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf, prod
from typing import NamedTuple

import torch
from torch import Tensor

from sddcli.core import channels as parts
from sddcli.core import masks as ranking
from sddcli.core.types import Channels, Counts, Draw, Tensors
from sddcli.core.words import UsageError, pick


class Layout(NamedTuple):
    """The weights that units are made of.

    shapes: of the prunable weights, outputs first; channels: the neurons and filters that can be removed.
    """

    shapes: Mapping[str, tuple[int, ...]]
    channels: Sequence[Channels] = ()


Move = Callable[[Tensors, Draw], Tensors]
"""(masks (*shape), generators) -> masks of whole units at random places, (*shape)."""


class Unit(NamedTuple):
    """A way to keep or remove weights together, in the layers of one network.

    keep(scores, masks, counts, ties): (*shape) of one model, those of the weights in masks that are kept, by the mean
    score of each unit's weights, so many as come nearest to the counts or, of blocks, as many as fit; ties as in
    `masks.keep`, which it raises as. unable(counts): why that cannot be, nothing would be left of a group, "" where it
    can. channels: those that are removed as a whole, their biases and BatchNorm parameters with them. moves: how the
    maskings of these names, controls that move what is kept to random places, move whole units; None: weight by weight.
    """

    keep: Callable[[Tensors, Tensors, Counts, Tensors | None], Tensors]
    unable: Callable[[Counts], str]
    channels: Sequence[Channels] = ()
    moves: Mapping[str, Move] | None = None


def weight(layout: Layout) -> Unit:
    """Each weight by itself (unstructured pruning)."""
    return Unit(ranking.allocated, partial(_none_left, layout, 1))


def block(layout: Layout, *, size: int = 4) -> Unit:
    """So many neighbours along the inputs of a neuron or filter; what is left over at the end is a smaller block.

    Raises UsageError for a size below 2.
    """
    if size < 2:
        raise UsageError(f"unit block takes a size of 2 or more, got {size}")

    largest = max(min(size, prod(shape[1:])) for shape in layout.shapes.values())
    return grouped(layout, lambda shape: blocks_of(shape, size), largest)


def grouped(layout: Layout, members: Callable[[tuple[int, ...]], Tensor], largest: int) -> Unit:
    """The unit of whole groups of weights, as many as fit; members(shape): the group that each weight of such a shape
    is in, (*shape) int64 from 0 on; largest: how many weights a group has at most."""

    def keep(scores: Tensors, masks: Tensors, counts: Counts, ties: Tensors | None) -> Tensors:
        within = {name: members(shape) for name, shape in layout.shapes.items()}
        drawn = ties and averaged(ties, masks, within)
        return whole(ranking.allocated(averaged(scores, masks, within), masks, counts, drawn), masks, within)

    moves = {word: partial(_moved, layout, members, word) for word in ("shuffle", "permute")}
    return Unit(keep, partial(_none_left, layout, largest), moves=moves)


def _moved(
    layout: Layout, members_of: Callable[[tuple[int, ...]], Tensor], word: str, masks: Tensors, draw: Draw
) -> Tensors:
    """Masks whose units change places with others of their size: within each layer, or to permute among all layers."""
    members, moved = {name: members_of(shape) for name, shape in layout.shapes.items()}, Tensors()
    for names in [list(masks)] if word == "permute" else [[name] for name in masks]:
        sizes = torch.cat([members[name].flatten().bincount() for name in names])
        alive = torch.cat([_of_units(masks[name], members[name]) for name in names])
        for size in sizes.unique().tolist():
            those = (sizes == size).nonzero().squeeze(1)
            order = torch.from_numpy(draw(word, *names[: word == "shuffle"], size).permutation(len(those)))
            alive[those] = alive[those[order]]
        parts = alive.split([int(members[name].max()) + 1 for name in names])
        moved |= {name: part[members[name]].to(masks[name].device) for name, part in zip(names, parts, strict=True)}
    return moved


def _of_units(mask: Tensor, members: Tensor) -> Tensor:
    """(units,) bool: of which units any weight is left."""
    return members.flatten().bincount(mask.flatten().cpu().double()) > 0


def _none_left(layout: Layout, largest: int, counts: Counts) -> str:
    empty = [group for group, count in counts.items() if count < largest]
    size = sum(map(prod, layout.shapes.values()))
    return f"leaves none of {empty[0] or f'{size} weights'}" if empty else ""


def blocks_of(shape: tuple[int, ...], size: int) -> Tensor:
    """The block that each weight of such a shape is in, (*shape) int64 from 0 on."""
    inputs = prod(shape[1:])
    blocks = -(-inputs // size)
    return (torch.arange(shape[0]).unsqueeze(1) * blocks + torch.arange(inputs) // size).view(shape)


def averaged(scores: Tensors, masks: Tensors, members: Tensors) -> Tensors:
    """The scores (*shape) of one model, each the mean over those weights of its unit that are left."""
    return {name: _averaged(score.double(), masks[name], members[name]) for name, score in scores.items()}


def whole(kept: Tensors, masks: Tensors, members: Tensors) -> Tensors:
    """Of the weights that are kept, (*shape), those in units none of whose weights left in `masks` is removed."""
    share = {name: mask.double() for name, mask in kept.items()}
    return {name: kept[name] & (mean == 1) for name, mean in averaged(share, masks, members).items()}


def _averaged(score: Tensor, mask: Tensor, members: Tensor) -> Tensor:
    members = members.to(score.device).flatten()
    totals = torch.zeros(2, int(members.max()) + 1, dtype=torch.float64, device=score.device)
    totals.index_add_(1, members, torch.stack([torch.where(mask, score, 0.0).flatten(), mask.flatten().double()]))
    return (totals[0] / totals[1].clamp_min(1))[members].view_as(score)


def neuron(layout: Layout) -> Unit:
    """Whole neurons of hidden linear layers: see `channel`. Raises UsageError for a network without any."""
    return _structured(layout, "neuron", "hidden linear layer that can be pruned", lambda dims: dims == 2)


def filter_(layout: Layout) -> Unit:
    """Whole filters of convolutions: see `channel`. Raises UsageError for a network without any."""
    return _structured(layout, "filter", "convolution", lambda dims: dims > 2)


def channel(layout: Layout) -> Unit:
    """Whole neurons and filters, with all that is theirs, so that a smaller dense network is left (Li et al. 2017).

    Theirs are the weights that make them and those that read them, biases and BatchNorm parameters; filters whose
    outputs a shortcut adds go together. A score is the mean over the weights that make them. Those with the lowest
    scores go until the weights left, in all layers together, are as near to the level's as whole ones allow; the best
    one of each layer always stays. Where layers have counts of their own, they lose neurons and filters in the
    proportion of these. Raises UsageError for a network that has no such layer.
    """
    return _structured(layout, "channel", "hidden layer that can be pruned", lambda dims: True)


def _structured(layout: Layout, word: str, kind: str, of: Callable[[int], bool]) -> Unit:
    chosen = [each for each in layout.channels if all(of(len(layout.shapes[name])) for name in each.outputs)]
    if not chosen:
        raise UsageError(f"unit {word} needs a {kind}, and this network has none")

    def keep(scores: Tensors, masks: Tensors, counts: Counts, ties: Tensors | None) -> Tensors:
        alive = {str(i): parts.living(masks, each) for i, each in enumerate(chosen)}
        means = {str(i): row_means(scores, masks, each) for i, each in enumerate(chosen)}
        drawn = ties and {str(i): row_means(ties, masks, each) for i, each in enumerate(chosen)}
        if "" not in counts:
            shares = [_share(counts, layout.shapes, each) for each in chosen]
            means = {str(i): _in_turn(means[str(i)], alive[str(i)], share) for i, share in enumerate(shares)}
        for name, mean in means.items():
            mean[_best(mean, alive[name], drawn[name] if drawn else None)] = inf

        def left(number: int) -> Tensors:
            kept, stay = masks, ranking.keep(means, alive, number, drawn)
            for i, each in enumerate(chosen):
                kept = parts.cut(kept, each, stay[str(i)])
            return kept

        return _nearest(left, len(chosen), sum(int(each.sum()) for each in alive.values()), sum(counts.values()))

    def unable(counts: Counts) -> str:
        smallest = parts.narrowed(layout.shapes, chosen, [1] * len(chosen))
        least, count = sum(map(prod, smallest.values())), sum(counts.values())
        return f"keeps {count} weights, and one {word} of each layer leaves {least}" if count < least else ""

    def shuffled(masks: Tensors, draw: Draw) -> Tensors:
        """As many in each layer, others; so as many weights as well."""
        kept = ranking.full(masks)
        for each in chosen:
            order = torch.from_numpy(draw("shuffle", each.outputs[0]).permutation(each.size))
            alive = parts.living(masks, each)
            kept = parts.cut(kept, each, alive[order.to(alive.device)])
        return kept

    return Unit(keep, unable, chosen, {"shuffle": shuffled})


def row_means(scores: Tensors, masks: Tensors, channels: Channels) -> Tensor:
    """(size,) the mean score of the weights left in each channel's rows."""
    totals = torch.zeros(2, channels.size, dtype=torch.float64, device=masks[channels.outputs[0]].device)
    for name in channels.outputs:
        mask = masks[name].flatten(1)
        totals[0] += scores[name].flatten(1).double().where(mask, 0.0).sum(1)
        totals[1] += mask.sum(1)
    return totals[0] / totals[1].clamp_min(1)


def _share(counts: Counts, shapes: Mapping[str, tuple[int, ...]], channels: Channels) -> float:
    """The share of the weights that make channels that is to be kept."""
    return sum(counts[name] for name in channels.outputs) / sum(prod(shapes[name]) for name in channels.outputs)


def _in_turn(scores: Tensor, alive: Tensor, share: float) -> Tensor:
    """Scores (size,) by which all layers, ranked together, keep channels in proportion to their shares."""
    above = torch.where(alive, scores, -inf).argsort(descending=True, stable=True).argsort()
    return torch.where(scores.isnan(), scores, -(above + 0.5) / (len(scores) * max(share, 1e-9)))


def _best(scores: Tensor, alive: Tensor, ties: Tensor | None) -> int:
    """The number of the living channel with the highest score."""
    living = torch.where(alive, scores.nan_to_num(-inf), -inf)
    among = (alive & (living == living.max())).nonzero().squeeze(1)
    return int(among[0] if ties is None else among[ties[among].argmax()])


def _nearest(left: Callable[[int], Tensors], least: int, most: int, count: int) -> Tensors:
    """Of the masks left(number), least <= number <= most, those whose weights are nearest to `count`; ties: fewer."""

    def weights(number: int) -> int:
        return sum(int(mask.sum()) for mask in left(number).values())

    low, high = least, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if weights(middle) <= count else (low, middle)
    return left(min((low, high), key=lambda number: abs(weights(number) - count)))


def n_of_m(layout: Layout, n: int, m: int) -> Unit:
    """Of each m neighbours along the input channels as many are kept, down to n at the last level (N:M, 2:4).

    How many: what brings the weights that a level keeps nearest to its number. Input channels left over where m does
    not divide them stay. Raises UsageError unless 0 < n < m, and for a network none of whose layers has m of them.
    """
    if not 0 < n < m:
        raise UsageError(f"unit {n}:{m} keeps {n} of each {m} weights: N:M takes an N from 1 to M - 1, such as 2:4")
    grouped = {name: shape[1] // m * m * prod(shape) // shape[1] for name, shape in layout.shapes.items()}
    if not any(grouped.values()):
        raise UsageError(f"unit {n}:{m} needs a layer of {m} inputs or more, and this network has none")

    def of_each(counts: Counts) -> dict[str, int]:
        """Layer -> how many of each m it keeps."""
        numbers: dict[str, int] = {}
        for group, count in counts.items():
            names = [group] if group else list(layout.shapes)
            groups = sum(grouped[name] for name in names) // m
            rest = sum(prod(layout.shapes[name]) for name in names) - groups * m
            numbers |= dict.fromkeys(names, (2 * (count - rest) + groups) // (2 * groups) if groups else m)
        return numbers

    def keep(scores: Tensors, masks: Tensors, counts: Counts, ties: Tensors | None) -> Tensors:
        kept = {}
        for name, number in of_each(counts).items():
            kept[name] = _of_each(scores[name], masks[name], min(max(number, n), m), m, ties[name] if ties else None)
        return kept

    def unable(counts: Counts) -> str:
        fewest = min(of_each(counts).values())
        return f"keeps {max(0, fewest)} of each {m} weights, and unit {n}:{m} at least {n}" if fewest < n else ""

    return Unit(keep, unable, moves={})


def _of_each(scores: Tensor, mask: Tensor, number: int, m: int, ties: Tensor | None) -> Tensor:
    """The `number` highest-scored of each m weights along dimension 1 that the mask leaves, and those left over."""

    def side_by_side(x: Tensor) -> Tensor:
        """x as (..., groups, m)."""
        groups: Tensor = x[:, : x.shape[1] // m * m].transpose(1, -1).unflatten(-1, (-1, m))
        return groups

    if scores[mask].isnan().any():
        raise UsageError("the criterion's scores are not numbers: the network it ranks has diverged")
    ranked = torch.where(mask, scores.double(), -inf)
    by = side_by_side(ranked)
    order = by.argsort(dim=-1, descending=True, stable=True)
    if ties is not None:
        drawn = side_by_side(ties.to(scores.device)).argsort(dim=-1, descending=True, stable=True)
        order = drawn.gather(-1, by.gather(-1, drawn).argsort(dim=-1, descending=True, stable=True))
    best = (order.argsort(dim=-1) < number).flatten(-2).transpose(1, -1)
    kept = mask.clone()
    kept[:, : best.shape[1]] &= best
    return kept


UNITS: Mapping[str, Callable[..., Unit]] = {
    "weight": weight,
    "block": block,
    "neuron": neuron,
    "filter": filter_,
    "channel": channel,
    "2:4": partial(n_of_m, n=2, m=4),
}
"""2:4 stands for any N:M."""


def unit(word: str, layout: Layout) -> Unit:
    """The unit that a word means, in a network of such a layout. Raises UsageError for a word that means none, and
    where the network has no such unit."""
    if pattern := re.fullmatch(r"(\d{1,6}):(\d{1,6})", word):
        return n_of_m(layout, int(pattern[1]), int(pattern[2]))
    return pick("unit", word, UNITS)(layout)
