"""Types: what the rooms of the core hand to each other."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

Tensors = dict[str, Tensor]
"""Name -> (M, *shape): M models, always there, also when M = 1. One stored or pruned model's are (*shape)."""

Forward = Callable[[Tensors, Tensor], Tensor]
"""(parameters of M models, inputs (M, B, *features)) -> logits (M, B, classes)."""


class Examples(NamedTuple):
    """Inputs x: (N, *features) float32, normalized; true labels y: (N,) int64."""

    x: Tensor
    y: Tensor


class Data(NamedTuple):
    """A data set: its two splits, its number of classes, the sha256 of its raw content.

    similar: (classes,) the class that each one is mistaken for, itself if none; () where nobody says.
    """

    train: Examples
    test: Examples
    classes: int
    sha256: str
    similar: tuple[int, ...] = ()


@dataclass(frozen=True)
class Net:
    """One trained model as a criterion sees it: its prunable weights only, name -> (*shape).

    `stream(*names)` gives the random generator of this pruning step for what `names` names;
    `gradients(batches)` the gradient, with respect to the final weights, of the mean loss on so many random
    training batches, or on all examples for None; training labels, evaluation mode.
    """

    initial: Tensors
    final: Tensors
    masks: Tensors
    stream: Callable[..., np.random.Generator]
    gradients: Callable[[int | None], Tensors]


class Trained(NamedTuple):
    """One trained model as an analysis sees it: all parameters before and after training, name -> (*shape)."""

    initial: Tensors
    final: Tensors
    masks: Tensors


@dataclass
class State:
    """M models in training, every tensor (M, *shape); masks are bool, for prunable parameters only."""

    parameters: Tensors
    masks: Tensors
    velocity: Tensors
    step: int = 0


class Epoch(NamedTuple):
    """The epoch that ended (1, 2, ...), and the state then: views that the next epoch overwrites."""

    number: int
    state: State
