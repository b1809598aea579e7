"""Learning distance: how far training has moved a network from where it was initialized."""

import torch

from sddcli.core.types import Tensors, Trained, learned


def measure(net: Trained) -> dict[str, float]:
    """L2 norm of (weights now, pruned ones 0) minus (dense initialization) (He et al. 2022, section 5).

    `learning_distance` counts the prunable weights, `learning_distance_all` all parameters, and
    `masking_distance` is the part of the first due to masking alone: the norm of the initial weights
    that are pruned now. The rest, squared difference of the two, is what surviving weights moved.
    """
    moved = {name: net.final[name] - net.initial[name] for name in net.final}
    lost = {name: net.initial[name][~mask] for name, mask in net.masks.items()}
    return {
        "learning_distance": _norm({name: moved[name] for name in net.masks}),
        "learning_distance_all": _norm(learned(moved)),
        "masking_distance": _norm(lost),
    }


def _norm(tensors: Tensors) -> float:
    # Names are sorted because a file does not keep their order, and a sum's last bits depend on it.
    squares = [tensors[name].double().square().sum() for name in sorted(tensors)]
    return float(torch.stack(squares).sum().sqrt())
