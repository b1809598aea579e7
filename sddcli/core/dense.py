"""Dense: fully connected ReLU layers of M networks at once, forward and backward as batched products.

Each layer has `LAYER.weight` (M, out, in) and `LAYER.bias` (M, out). Autograd would spend more time on such small
products than on multiplying; the backward written out puts every gradient right where the optimizer reads it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sddcli.core.types import Tensors, Write


def forward(layers: Sequence[str], weights: Tensors, x: Tensor, training: bool) -> Tensor:
    """x: (M, B, *features). Returns (M, B, classes), what the last layer gives without ReLU."""
    h = x.flatten(2)
    for layer in layers:
        weight, bias = weights[f"{layer}.weight"], weights[f"{layer}.bias"]
        h = torch.baddbmm(bias.unsqueeze(1), h, weight.transpose(1, 2))  # (M, B, out)
        h = h if layer == layers[-1] else h.relu()
    return h


def slopes(layers: Sequence[str], weights: Tensors, into: Tensors) -> Write:
    """The gradient of the mean cross-entropy in all weights; see Slopes. In float32, whatever the autocast."""
    ws, bs = ([weights[f"{layer}.{part}"] for layer in layers] for part in ("weight", "bias"))
    dws, dbs = ([into[f"{layer}.{part}"] for layer in layers] for part in ("weight", "bias"))
    minus = torch.tensor(-1.0, device=ws[0].device)

    def write(x: Tensor, y: Tensor) -> None:
        hs = [x.flatten(2)]  # what each layer is given, (M, B, in)
        for w, b in zip(ws[:-1], bs[:-1], strict=True):
            hs.append(torch.bmm(hs[-1], w.transpose(1, 2)).add_(b.unsqueeze(1)).relu_())
        # Examples last: a softmax along rows of ten takes ten times as long as one across them.
        d = torch.softmax(torch.baddbmm(bs[-1].unsqueeze(2), ws[-1], hs[-1].transpose(1, 2)), 1)
        target = y.unsqueeze(1)
        d = d.scatter_add_(1, target, minus.expand_as(target)).div_(y.shape[1]).transpose(1, 2)
        for w, h, dw, db in zip(ws[::-1], hs[::-1], dws[::-1], dbs[::-1], strict=True):
            torch.bmm(d.transpose(1, 2), h, out=dw)
            torch.sum(d, 1, out=db)
            if h is not hs[0]:
                d = torch.ops.aten.threshold_backward(torch.bmm(d, w), h, 0)  # (M, B, in)

    return write
