"""Dense: fully connected ReLU layers of M networks at once, forward and backward as batched products.

Each layer has `LAYER.weight` (M, out, in) and `LAYER.bias` (M, out). Autograd takes as long about such small
products as multiplying does; written out, every gradient lands where the optimizer reads it.
"""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from sddcli.core.types import KEPT, Tensors, Write


def forward(layers: Sequence[str], weights: Tensors, x: Tensor, training: bool) -> Tensor:
    """x: (M, B, *features). Returns (M, B, classes), what the last layer gives, without ReLU."""
    h = x.flatten(2)
    for layer in layers:
        weight, bias = weights[f"{layer}.weight"], weights[f"{layer}.bias"]
        h = h * weights[layer + KEPT] if layer + KEPT in weights else h
        h = torch.baddbmm(bias.unsqueeze(1), h, weight.transpose(1, 2))  # (M, B, out)
        h = h if layer == layers[-1] else h.relu_()
    return h


def slopes(layers: Sequence[str], weights: Tensors, into: Tensors) -> Write:
    """The gradient of the mean cross-entropy in all weights; see Slopes. In float32, also within autocast."""
    ws, dws = ([tensors[f"{layer}.weight"] for layer in layers] for tensors in (weights, into))
    bs, dbs = ([tensors[f"{layer}.bias"] for layer in layers] for tensors in (weights, into))
    minus = torch.tensor(-1.0, device=ws[0].device)
    relu_backward = torch.ops.aten.threshold_backward.grad_input

    @cache  # batches have two sizes at most, and fresh memory would cost a tenth of a step
    def rooms(batch: int) -> tuple[list[Tensor], list[Tensor]]:
        """For what each layer gives, (M, B, out), and for its slopes."""
        zs, ds = ([b.new_empty(len(b), batch, b.shape[1]) for b in bs] for _ in range(2))
        return zs, ds

    def write(x: Tensor, y: Tensor) -> None:
        zs, ds = rooms(y.shape[1])
        hs = [x.flatten(2), *zs[:-1]]  # what each layer is given
        for w, b, h, z in zip(ws, bs, hs, zs, strict=True):
            torch.bmm(h, w.transpose(1, 2), out=z).add_(b.unsqueeze(1))
            if w is not ws[-1]:
                z.relu_()
        # A softmax along rows of ten takes ten times as long as one across them. Copied into rows all the same:
        # of a transposed batch of one, products have other bits when M > 1.
        ds[-1].copy_(torch.softmax(zs[-1].transpose(1, 2), 1).transpose(1, 2))
        label = y.unsqueeze(2)
        ds[-1].scatter_add_(2, label, minus.expand_as(label)).div_(y.shape[1])
        for i in reversed(range(len(ws))):
            torch.bmm(ds[i].transpose(1, 2), hs[i], out=dws[i])
            torch.sum(ds[i], 1, out=dbs[i])
            if i:
                relu_backward(torch.bmm(ds[i], ws[i], out=ds[i - 1]), hs[i], 0, grad_input=ds[i - 1])

    return write
