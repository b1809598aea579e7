"""Dense: fully connected ReLU layers of M networks at once, forward and backward as batched products.

Each layer has `LAYER.weight` (M, out, in) and `LAYER.bias` (M, out). Autograd takes as long about such small
products as multiplying does; written out, every gradient lands where the optimizer reads it.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

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
    """The gradient of the mean cross-entropy in all weights; see Slopes.

    Within torch's autocast, products and what lies between layers are of its type, as autograd would have them; the
    loss, the gradients that are written and sums over a batch stay float32.
    """
    ws, dws = ([tensors[f"{layer}.weight"] for layer in layers] for tensors in (weights, into))
    bs, dbs = ([tensors[f"{layer}.bias"] for layer in layers] for tensors in (weights, into))
    minus = torch.tensor(-1.0, device=ws[0].device)
    relu_backward = torch.ops.aten.threshold_backward.grad_input

    @cache  # batches have two sizes at most, and fresh memory would cost a tenth of a step
    def rooms(batch: int, dtype: torch.dtype) -> _Rooms:
        zs, ds = ([b.new_empty(len(b), batch, b.shape[1], dtype=dtype) for b in bs] for _ in range(2))
        if dtype == ws[0].dtype:
            return _Rooms(ws, dws, zs, ds, ds[-1])
        factors, products = ([torch.empty_like(w, dtype=dtype) for w in ws] for _ in range(2))
        return _Rooms(factors, products, zs, ds, torch.empty_like(ds[-1], dtype=ws[0].dtype))

    def write(x: Tensor, y: Tensor) -> None:
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else ws[0].dtype
        factors, products, zs, ds, top = rooms(y.shape[1], dtype)
        if factors is not ws:
            torch._foreach_copy_(factors, ws)
        hs = [x.flatten(2).to(dtype), *zs[:-1]]  # what each layer is given
        for w, b, h, z in zip(factors, bs, hs, zs, strict=True):
            torch.bmm(h, w.transpose(1, 2), out=z).add_(b.unsqueeze(1))
            if z is not zs[-1]:
                z.relu_()
        # A softmax along rows of ten takes ten times as long as one across them. Copied into rows all the same:
        # of a transposed batch of one, products have other bits when M > 1.
        top.copy_(torch.softmax(zs[-1].transpose(1, 2).to(top.dtype), 1).transpose(1, 2))
        label = y.unsqueeze(2)
        top.scatter_add_(2, label, minus.expand_as(label)).div_(y.shape[1])
        if top is not ds[-1]:
            ds[-1].copy_(top)
        for i in reversed(range(len(ws))):
            torch.bmm(ds[i].transpose(1, 2), hs[i], out=products[i])
            torch.sum(ds[i], 1, dtype=dbs[i].dtype, out=dbs[i])
            if i:
                relu_backward(torch.bmm(ds[i], factors[i], out=ds[i - 1]), hs[i], 0, grad_input=ds[i - 1])
        if products is not dws:
            torch._foreach_copy_(dws, products)

    return write


class _Rooms(NamedTuple):
    """Memory in which a batch is computed, in the type of its products.

    factors, products: the weights and their gradients; in float32 those of training themselves. outputs: what each
    layer gives, (M, B, out). slopes: the gradients of the loss in these. top: the last of them, in float32.
    """

    factors: list[Tensor]
    products: list[Tensor]
    outputs: list[Tensor]
    slopes: list[Tensor]
    top: Tensor
