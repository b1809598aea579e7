"""Models: parameter shapes, fresh weights, which weights are prunable, and the forward pass of M models at once."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod, sqrt

import numpy as np
import torch
from torch import Tensor

from sddcli.core.seeds import stream
from sddcli.core.types import Forward, Tensors

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Model:
    """An architecture: `shapes` of one model's parameters in order, the `prunable` ones, and `forward`."""

    shapes: dict[str, Shape]
    prunable: tuple[str, ...]
    forward: Forward

    @property
    def size(self) -> int:
        """Number of prunable weights."""
        return sum(prod(self.shapes[name]) for name in self.prunable)

    @property
    def spared(self) -> int:
        """Number of weights of the prunable kind that are never pruned: those of an output layer, no biases."""
        return sum(prod(shape) for name, shape in self.shapes.items() if len(shape) > 1) - self.size


def mlp(widths: tuple[int, ...], features: Shape, classes: int) -> Model:
    """Fully connected ReLU layers of the given hidden widths; the output layer is never pruned."""
    sizes = (prod(features), *widths, classes)
    layers = [f"hidden{i}" for i in range(1, len(widths) + 1)] + ["output"]
    shapes: dict[str, Shape] = {}
    for layer, n_in, n_out in zip(layers, sizes, sizes[1:], strict=False):
        shapes |= {f"{layer}.weight": (n_out, n_in), f"{layer}.bias": (n_out,)}

    def forward(parameters: Tensors, x: Tensor) -> Tensor:
        h = x.flatten(2)  # (M, B, features)
        for layer in layers:
            weight, bias = parameters[f"{layer}.weight"], parameters[f"{layer}.bias"]
            h = torch.baddbmm(bias.unsqueeze(1), h, weight.transpose(1, 2))  # (M, B, out)
            h = h if layer == "output" else h.relu()
        return h

    return Model(shapes, tuple(f"{layer}.weight" for layer in layers[:-1]), forward)


def lenet_300_100(features: Shape, classes: int) -> Model:
    """LeNet-300-100 (LeCun et al. 1998), as pruned by Frankle & Carbin (2019) and He et al. (2022)."""
    return mlp((300, 100), features, classes)


def fresh(model: Model, seed: int, *names: str | int) -> Tensors:
    """New parameters of one model, (*shape): Kaiming-normal weights (He et al. 2015), zero biases.

    Each tensor has a stream of its own, named by `names` and its own name.
    """
    parameters = {}
    for name, shape in model.shapes.items():
        if name.endswith(".bias"):
            parameters[name] = torch.zeros(shape)
            continue
        deviation = sqrt(2 / prod(shape[1:]))  # fan-in is all but the first, the output dimension
        draws = stream(seed, "init", *names, name).standard_normal(shape, dtype=np.float32)
        parameters[name] = torch.from_numpy(draws * np.float32(deviation))
    return parameters


MODELS: dict[str, Callable[[Shape, int], Model]] = {"lenet-300-100": lenet_300_100}
