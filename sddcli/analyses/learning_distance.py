"""Learning distance: how far training has moved a network from where it was initialized."""

import torch

from sddcli.core.types import Measurement, Subject, Tensors, learned


def measure(subject: Subject) -> Measurement:
    """L2 norm of (weights now, pruned ones 0) minus (dense initialization) (He et al. 2022, section 5).

    `learning_distance` counts the prunable weights, `learning_distance_all` all parameters, and
    `masking_distance` is the part of the first due to masking alone: the norm of the initial weights
    that are pruned now. The rest, the square root of the difference of their squares, is what
    surviving weights moved.
    `own_distance` is from where this level's own training started, before its masks: not the dense
    initialization where weights are drawn anew, rewound or kept. Rows: the same for each prunable layer.
    """
    net = subject.net
    moved, own = _minus(net.final, net.initial), _minus(net.final, subject.start())
    lost = {name: net.initial[name][~mask] for name, mask in net.masks.items()}
    values = {
        "learning_distance": _norm({name: moved[name] for name in net.masks}),
        "learning_distance_all": _norm(learned(moved)),
        "masking_distance": _norm(lost),
        "own_distance": _norm({name: own[name] for name in net.masks}),
    }
    parts = {"learning_distance": moved, "masking_distance": lost, "own_distance": own}
    rows = [{"layer": name} | {kind: _norm({name: part[name]}) for kind, part in parts.items()} for name in net.masks]
    return Measurement(values, rows)


def _minus(a: Tensors, b: Tensors) -> Tensors:
    return {name: a[name] - b[name] for name in a}


def _norm(tensors: Tensors) -> float:
    # Names are sorted because a file does not keep their order, and a sum's last bits depend on it.
    squares = [tensors[name].double().square().sum() for name in sorted(tensors)]
    return float(torch.stack(squares).sum().sqrt())
