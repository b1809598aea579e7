"""Movement: how far single weights went, those that are kept against those that are pruned."""

from math import nan

from torch import Tensor

from sddcli.core.types import Found, Subject, Tensors


def measure(subject: Subject) -> Found:
    """Mean |final - initial| of prunable weights: do winning tickets move more (Zhou et al. 2019, section 3)?

    Outside its own mask a network has moved to 0 and no further, so the masks of a level are laid over the network
    that it was pruned from: of the weights that live there, `movement_kept` is how far those went that this level
    keeps, `movement_pruned` those that it removes. `movement` is that of this level's own living weights, all
    three from the dense initialization; `own_movement` the same from where its own training started. What there
    is none of, such as a pruning event of a dense network, is no number. Rows: the same for each prunable layer.
    """
    net, parent = subject.net, subject.parent()
    moved = _moved(net.final, net.initial, net.masks)
    parts = {
        "movement": (moved, net.masks),
        "own_movement": (_moved(net.final, subject.start(), net.masks), net.masks),
    }
    before = _moved(parent.final, parent.initial, net.masks) if parent else moved
    living = parent.masks if parent else {name: mask & False for name, mask in net.masks.items()}
    parts["movement_kept"] = (before, {name: living[name] & mask for name, mask in net.masks.items()})
    parts["movement_pruned"] = (before, {name: living[name] & ~mask for name, mask in net.masks.items()})
    rows = [
        {"layer": name} | {said: _mean([move[name]], [where[name]]) for said, (move, where) in parts.items()}
        for name in net.masks
    ]
    # Names are sorted because a file does not keep their order, and a sum's last bits depend on it.
    names = sorted(net.masks)
    values = {
        said: _mean([move[name] for name in names], [where[name] for name in names])
        for said, (move, where) in parts.items()
    }
    return Found(values, rows)


def _moved(final: Tensors, initial: Tensors, names: Tensors) -> Tensors:
    return {name: (final[name] - initial[name]).abs().double() for name in names}


def _mean(moved: list[Tensor], where: list[Tensor]) -> float:
    count = sum(int(mask.sum()) for mask in where)
    return sum(float(move[mask].sum()) for move, mask in zip(moved, where, strict=True)) / count if count else nan
