"""Complexity: how much of a network is in use: the rank of its layers, its dead units, the entropy of the others."""

from math import prod

import torch
from torch import Tensor

from sddcli.core.activity import Watch
from sddcli.core.channels import living, narrowed
from sddcli.core.evaluate import chunk
from sddcli.core.types import Measurement, Subject, Tensors, learned
from sddcli.core.words import UsageError

UNKNOWN = float("nan")
UNITS = {"smaller_parameters": "count"}


def measure(subject: Subject) -> Measurement:
    """Of the final weights, and of every ReLU on all training examples in evaluation mode.

    `effective_rank` is the mean over prunable layers of exp(H(p)), p = singular values / their sum (Roy & Vetterli
    2007), 0 of an empty layer; convolutions as matrices (out, fan-in). `dead_units` is the share of units that no
    training example activates; a channel is one unit, wherever in the image. `activation_entropy` is the mean
    over units of the entropy, in bits, of being active, p = share of examples with a preactivation above 0
    (Quétu & Tartaglione 2024, DSD2); here each position of a channel counts as a unit, as there. Rows: each layer of
    weights, from `depth` 1, its density too; a ReLU belongs to the first layer since the ReLU before it, so that
    a shortcut and the output have none.
    `smaller_parameters` is how many parameters are left, 0 or not, when neurons and filters of which masks leave no
    weight are cut out, with all that belongs to them: zeros alone make no network faster. A row's `width` is what such
    a layer has then. Raises UsageError for a network without ReLUs.
    """
    net, active = subject.net, _active(subject)
    if not active:
        raise UsageError("complexity counts active ReLUs, and this network has none")
    layers = [name for name, w in subject.net.final.items() if w.dim() > 1]
    layers += [name for name in active if name not in layers]
    ranks = {name: effective_rank(net.final[name].flatten(1)) for name in layers if name in net.final}
    densities = {name: float(mask.double().mean()) for name, mask in net.masks.items()}
    dead = {name: (share == 0).all(1).double() for name, share in active.items()}  # (channels,)
    bits = {name: entropy(share.flatten()) for name, share in active.items()}
    smaller = _smaller(subject)
    values = {
        "smaller_parameters": float(sum(map(prod, smaller.values()))),
        "effective_rank": sum(ranks[name] for name in net.masks) / max(1, len(net.masks)),
        "dead_units": float(torch.cat(list(dead.values())).mean()),
        "activation_entropy": float(torch.cat(list(bits.values())).mean()),
    }
    rows = [
        {
            "layer": name,
            "depth": depth,
            "density": densities.get(name, 1.0 if name in ranks else UNKNOWN),
            "width": float(smaller[name][0]) if name in smaller else UNKNOWN,
            "effective_rank": ranks.get(name, UNKNOWN),
            "units": float(len(dead[name])) if name in dead else UNKNOWN,
            "dead_units": float(dead[name].mean()) if name in dead else UNKNOWN,
            "activation_entropy": float(bits[name].mean()) if name in bits else UNKNOWN,
        }
        for depth, name in enumerate(layers, 1)
    ]
    return Measurement(values, rows)


def _smaller(subject: Subject) -> dict[str, tuple[int, ...]]:
    """The shapes of the parameters without those of neurons and filters of which masks leave nothing."""
    shapes = {name: tuple(w.shape) for name, w in learned(subject.net.final).items()}
    layout = subject.channels()
    return narrowed(shapes, layout, [int(living(subject.net.masks, part).sum()) for part in layout])


def effective_rank(matrix: Tensor) -> float:
    """exp(-sum p log p), p = singular values / their sum, of a matrix (n, m); 0 where all of it is 0."""
    values = torch.linalg.svdvals(matrix.double())
    p = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    return float((-torch.xlogy(p, p).sum()).exp()) if values.any() else 0.0


def entropy(p: Tensor) -> Tensor:
    """-p log2 p - (1 - p) log2 (1 - p), elementwise, 0 at 0 and 1."""
    return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)) / torch.log(torch.tensor(2.0))


@torch.no_grad()
def _active(subject: Subject) -> Tensors:
    """Layer -> the share of training examples in which each position of its ReLU is active: (channels, positions)."""
    weights = {name: w.unsqueeze(0) for name, w in subject.net.final.items()}
    x, total = subject.data.train.x, Tensors()

    def count(name: str, outputs: Tensor) -> None:
        active = (outputs > 0).sum(0).reshape(outputs.shape[1], -1)
        total[name] = total[name] + active if name in total else active

    for piece in x.split(chunk(x)):
        with Watch({w.data_ptr(): name for name, w in weights.items() if w.dim() > 2}, count):
            subject.forward(weights, piece.unsqueeze(0), False)
    return {name: count.double() / len(x) for name, count in total.items()}
