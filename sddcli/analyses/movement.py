"""Movement: how far single weights went, those that are kept against those that are pruned."""

from math import nan

from torch import Tensor

from sddcli.core.types import Measurement, Subject, Tensors


def measure(subject: Subject) -> Measurement:
    """Mean |final - initial| of prunable weights: do winning tickets move more (Zhou et al. 2019, section 3)?

    `movement` is that of the weights that this level keeps, `own_movement` the same from where its own training
    started, and `movement_largest` the furthest that any of them has gone. A pruned weight is 0, whatever it would have
    done, so kept and pruned weights are compared in the network that this level was pruned from: `movement_kept` is how
    far those of its weights had gone that this level keeps, `movement_pruned` those that it removes. All but
    `own_movement` are from the dense initialization. Where there are no such weights, as in a dense network, which is
    not pruned, it is NaN. Rows: the same for each prunable layer, but the furthest.
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
        {"layer": name} | {kind: _mean([move[name]], [where[name]]) for kind, (move, where) in parts.items()}
        for name in net.masks
    ]
    # Names are sorted because a file does not keep their order, and a sum's last bits depend on it.
    names = sorted(net.masks)
    values = {
        kind: _mean([move[name] for name in names], [where[name] for name in names])
        for kind, (move, where) in parts.items()
    }
    furthest = [float(moved[name][net.masks[name]].max()) for name in names if net.masks[name].any()]
    values["movement_largest"] = max(furthest, default=nan)
    return Measurement(values, rows)


def _moved(final: Tensors, initial: Tensors, names: Tensors) -> Tensors:
    return {name: (final[name] - initial[name]).abs().double() for name in names}


def _mean(moved: list[Tensor], where: list[Tensor]) -> float:
    count = sum(int(mask.sum()) for mask in where)
    return sum(float(move[mask].sum()) for move, mask in zip(moved, where, strict=True)) / count if count else nan
