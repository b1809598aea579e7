"""Similarity: how alike two networks are: in their answers, inside, and in which weights they keep."""

from math import isnan, nan

import torch
from torch import Tensor

from sddcli.core.activity import Watch
from sddcli.core.evaluate import chunk, logits
from sddcli.core.types import Measurement, Subject, Tensors
from sddcli.core.words import UsageError

UNITS = {"disagreement": "share", "mask_overlap": "share", "agreeing_signs": "share"}


def measure(a: Subject, b: Subject, *, examples: int = 1000) -> Measurement:
    """Of the final weights, on test examples in evaluation mode.

    `disagreement` is the share of them that the two classify differently (Fort et al. 2019). `cka` is the mean over
    layers of linear centered kernel alignment (Kornblith et al. 2019, equation 7) of what their ReLUs put out, and
    their logits, on the first so many test examples: 1 of the same features up to rotation and scale, NaN where a
    layer puts out the same whatever comes in. `mask_overlap`: the share of weights kept by one that both keep;
    `agreeing_signs`: the share of those that both keep with the same sign. Rows: the alignment of each layer. Raises
    UsageError for networks of different data or layers, or fewer than two examples.
    """
    if examples < 2:
        raise UsageError(f"similarity takes at least 2 examples, got {examples}")
    if a.data.sha256 != b.data.sha256:
        raise UsageError("networks of different data cannot be compared on one test set")
    if (shapes := [{name: w.shape for name, w in each.net.final.items()} for each in (a, b)])[0] != shapes[1]:
        raise UsageError("networks of different layers cannot be compared layer by layer")
    x = a.data.test.x[:examples]
    of_a, of_b = (_outputs(each, x) for each in (a, b))
    layers = {name: alignment(of_a[name], of_b[name]) for name in of_a if name in of_b}
    known = [value for value in layers.values() if not isnan(value)]
    predicted, others = (
        logits(each.forward, {name: w.unsqueeze(0) for name, w in each.net.final.items()}, a.data.test.x).argmax(1)
        for each in (a, b)
    )
    return Measurement(
        {
            "disagreement": float((predicted != others).double().mean()),
            "cka": sum(known) / len(known) if known else nan,
            **_weights(a, b),
        },
        [{"layer": name, "cka": value} for name, value in layers.items()],
    )


def alignment(x: Tensor, y: Tensor) -> float:
    """Linear CKA of features x: (N, p) and y: (N, q) of the same N examples; NaN where one of them does not vary."""
    kernels = [(each - each.mean(0)) @ (each - each.mean(0)).T for each in (x.double(), y.double())]
    size = kernels[0].norm() * kernels[1].norm()
    return float((kernels[0] * kernels[1]).sum() / size) if size > 0 else nan


def _weights(a: Subject, b: Subject) -> dict[str, float]:
    """What masks and signs of two networks have in common."""
    kept, common, agreeing = 0, 0, 0
    for name, mask in a.net.masks.items():
        both = mask & b.net.masks[name]
        kept += int((mask | b.net.masks[name]).sum())
        common += int(both.sum())
        agreeing += int((both & (a.net.final[name].sign() == b.net.final[name].sign())).sum())
    return {"mask_overlap": common / kept if kept else nan, "agreeing_signs": agreeing / common if common else nan}


@torch.no_grad()
def _outputs(subject: Subject, x: Tensor) -> Tensors:
    """Layer -> what its ReLUs put out, (N, features), and the logits as "output"."""
    weights = {name: w.unsqueeze(0) for name, w in subject.net.final.items()}
    pieces = dict[str, list[Tensor]]()

    def keep(name: str, outputs: Tensor) -> None:
        pieces.setdefault(name, []).append(outputs.flatten(1))

    for piece in x.split(chunk(x)):
        with Watch({w.data_ptr(): name for name, w in weights.items() if w.dim() > 2}, keep):
            keep("output", subject.forward(weights, piece.unsqueeze(0), False)[0].float())
    return {name: torch.cat(each) for name, each in pieces.items()}
