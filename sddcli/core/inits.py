"""Inits: the weights a network has before it is trained."""

from collections.abc import Callable, Mapping
from math import prod, sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sddcli.core.seeds import stream
from sddcli.core.types import Model, Shape, Tensors
from sddcli.core.words import pick, unknown

Draw = Callable[[str], np.random.Generator]
Init = Callable[[Mapping[str, Shape], Draw], Tensors]
"""(name -> shape of one model's parameters, the generator of each name) -> their values, (*shape)."""


def kaiming(shapes: Mapping[str, Shape], draw: Draw, *, bn: str = "one", bias: str = "zero") -> Tensors:
    """Normal weights of deviation sqrt(2 / fan-in) (He et al. 2015), biases 0; BatchNorm scales 1, shifts 0.

    All (*shape) of one model. Raises UsageError for a start of BatchNorm or of biases that there is not.

    The published code of He et al. (2022) has bn=uniform, scales from U(0, 1), and bias=uniform, biases of
    layers from U(-1, 1) / sqrt(fan-in), torch's own default.
    """
    for word, known in ((bn, ("one", "uniform")), (bias, ("zero", "uniform"))):
        if word not in known:
            raise unknown("start of init kaiming", word, known)
    weights = _usual(shapes, draw, lambda shape: sqrt(2 / prod(shape[1:])))
    for name, shape in shapes.items():
        layer = shapes.get(name.removesuffix("bias") + "weight", ())
        if name.endswith(".weight") and len(shape) == 1 and bn == "uniform":
            weights[name] = _of(draw(name).random(shape, dtype=np.float32))
        if name.endswith(".bias") and len(layer) > 1 and bias == "uniform":
            weights[name] = _of(draw(name).uniform(-1, 1, shape) / sqrt(prod(layer[1:])))
    return weights


def glorot(shapes: Mapping[str, Shape], draw: Draw) -> Tensors:
    """Normal weights of deviation sqrt(2 / (fan-in + fan-out)) (Glorot & Bengio 2010), the rest as kaiming."""
    return _usual(shapes, draw, lambda shape: sqrt(2 / ((shape[0] + shape[1]) * prod(shape[2:]))))


def _usual(shapes: Mapping[str, Shape], draw: Draw, deviation: Callable[[Shape], float]) -> Tensors:
    weights = {}
    for name, shape in shapes.items():
        if len(shape) > 1:
            normal = draw(name).standard_normal(shape, dtype=np.float32)
            weights[name] = _of(normal * np.float32(deviation(shape)))
        else:
            weights[name] = torch.zeros(shape) if name.endswith("bias") else torch.ones(shape)
    return weights


def _of(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32, copy=False))


INITS: dict[str, Init] = {"kaiming": kaiming, "glorot": glorot}


def fresh(model: Model, init: str, seed: int, *names: str | int) -> Tensors:
    """New weights of one model, (*shape); BatchNorm statistics are mean 0, variance 1.

    Each parameter has a stream of its own, named by `names` and its own name. Raises UsageError for an
    unknown init.
    """
    weights = pick("init", init, INITS)(model.shapes, lambda name: stream(seed, "init", *names, name))
    for name, shape in model.statistics.items():
        weights[name] = torch.zeros(shape) if name.endswith("mean") else torch.ones(shape)
    return weights
