"""Types: what the rooms of the core hand to each other."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

Shape = tuple[int, ...]
Tensors = dict[str, Tensor]
"""Name -> (M, *shape): M models, always there, also when M = 1. One stored or pruned model's are (*shape)."""

Counts = Mapping[str, int]
"""Group of layers that are ranked together, "" for all -> a number of weights."""
Draw = Callable[..., np.random.Generator]
"""(*names) -> the random generator for what `names` names."""

Forward = Callable[[Tensors, Tensor, bool], Tensor]
"""(weights of M models, inputs (M, B, *features), in training?) -> logits (M, B, classes).

Weights are parameters and, of a network with BatchNorm, its running statistics: those are used in evaluation,
and written to in training.
"""
Write = Callable[..., None]
"""(inputs (M, B, *features), labels (M, B)) -> None: writes the gradients of M models where they belong.

A lesson that draws takes uniform numbers, (M, K) in [0, 1), as a third argument.
"""

Slopes = Callable[[Tensors, Tensors], Write]
"""(weights of M models, tensors for their gradients) -> what writes those of each model's mean cross-entropy.

Weights are looked at anew with each batch: both are views of what training goes on with.
"""

Lesson = Callable[[Tensors, Tensors, Tensors], Write]
"""(what M models learn, what is fixed, tensors for the gradients of the first) -> what writes them. As Slopes."""
KEPT = ".kept_inputs"
"""How names end, after that of a layer, by which a forward pass is given factors (M, B, inputs) of what the layer is
given: 0 for what dropout leaves out."""
STATISTICS = ("running_mean", "running_var")
"""How the names of such statistics end: weights that training measures instead of learning them."""


class Examples(NamedTuple):
    """Inputs x: (N, *features), float32 or bytes as they were stored; true labels y: (N,) int64."""

    x: Tensor
    y: Tensor


class Data(NamedTuple):
    """A data set: its splits, its number of classes, the sha256 of its raw content.

    similar: (classes,) the class that each one is mistaken for, itself if none; () where nobody says.
    mean, deviation: of each channel, in units of a byte, for inputs that are bytes (N, channels, height, width).
    held: training examples that are held out for choices that must not look at the test set. large: the training
    images, (N, channels, height, width) bytes, as they were before they were brought to the size of train.x, where
    augmentations may want them so. notes: sentences on what else was done with files than reading all as they are.
    rows, held_rows: of a part, the numbers (N,) of train and held in the whole training set; None: all, in its order.
    names: of the examples of that whole set, where they have names; () where they have none.
    """

    train: Examples
    test: Examples
    classes: int
    sha256: str
    similar: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    held: Examples | None = None
    large: Tensor | None = None
    notes: tuple[str, ...] = ()
    rows: Tensor | None = None
    held_rows: Tensor | None = None
    names: tuple[str, ...] = ()


class Channels(NamedTuple):
    """So many neurons of a layer, or filters; in a network with shortcuts of all layers whose outputs are added.

    outputs: the weights whose rows they are; vectors: what has one number for each, biases and BatchNorm parameters;
    inputs: the weights that read them, the columns of each side by side, as many for each channel as for any other.
    """

    size: int
    outputs: tuple[str, ...]
    vectors: tuple[str, ...]
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """An architecture: `shapes` of one model's parameters in order, the `prunable` ones, and `forward`.

    statistics: the shapes of its BatchNorm statistics. one_by_one: M models are computed one after the other, since it
    is not faster to hold the inner values of all of them at once. slopes: the gradient of the mean cross-entropy,
    written out, for a network that is faster without autograd. takes_one: whether it can be trained on a batch of one
    example; BatchNorm cannot where that leaves one value of a channel. channels(): its neurons and filters that can be
    removed, not those of the output. given(seed): the values (*shape) that a network of the user's own
    starts with where no initialization of ours says how: all but weights with a fan-in, and their biases. inputs: how
    many each fully connected layer has, but for a network's first: what dropout acts on, see KEPT.
    """

    shapes: dict[str, Shape]
    prunable: tuple[str, ...]
    forward: Forward
    statistics: dict[str, Shape] = field(default_factory=dict)
    one_by_one: bool = False
    slopes: Slopes | None = None
    takes_one: bool = True
    channels: Callable[[], tuple[Channels, ...]] = lambda: ()
    given: Callable[[int], Tensors] = lambda seed: {}
    inputs: Mapping[str, int] = field(default_factory=dict)

    @property
    def weights(self) -> tuple[str, ...]:
        """The names of all weights, parameters first."""
        return (*self.shapes, *self.statistics)

    @property
    def output(self) -> str:
        """The name of the output layer's weights, prunable or not: the last that have a fan-in."""
        return [name for name, shape in self.shapes.items() if len(shape) > 1][-1]

    @property
    def size(self) -> int:
        """Number of prunable weights."""
        return sum(prod(self.shapes[name]) for name in self.prunable)

    @property
    def parameters(self) -> int:
        """Number of all weights that are learned, biases too."""
        return sum(prod(shape) for shape in self.shapes.values())

    @property
    def width(self) -> int:
        """Units or channels of the first layer that can be pruned."""
        return self.shapes[self.prunable[0]][0]

    @property
    def spared(self) -> int:
        """Number of weights of the prunable kind that are never pruned: those of an output layer, no biases."""
        return sum(prod(shape) for name, shape in self.shapes.items() if len(shape) > 1) - self.size


@dataclass(frozen=True)
class Net:
    """One model as a criterion sees it: its prunable weights only, name -> (*shape), and what can be asked about it.

    initial: before its training; final: those that are ranked. `stream(*names)` gives the random generator of this
    pruning step for what `names` names; `gradients(batches)` the gradient, with respect to the final weights, of the
    mean loss on so many random training batches, or on all examples for None; training labels, evaluation mode.

    counts: how many weights are to be kept of each group that is ranked together, "" for all; `keep(scores, masks,
    counts)` the masks of those that pruning by these scores would keep within masks. others: the weights that are
    never pruned. `forward(weights, inputs)`: logits (B, classes), evaluation mode, of all weights, `others` too, and
    `loss(logits, labels)` their mean loss (). `batches(number, each)`: random training batches, inputs as networks
    take them and training labels, so many of them or all for None; of the first `each` examples of every class alone
    where that is a number. `channels()`: the network's neurons and filters. Nothing is read before it is asked for.
    """

    initial: Tensors
    final: Tensors
    masks: Tensors
    stream: Callable[..., np.random.Generator]
    gradients: Callable[[int | None], Tensors]
    counts: Mapping[str, int]
    keep: Callable[[Tensors, Tensors, Mapping[str, int]], Tensors]
    others: Tensors
    forward: Callable[[Tensors, Tensor], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    batches: Callable[[int | None, int | None], Iterator[Examples]]
    channels: Callable[[], Sequence[Channels]] = lambda: ()


class Trained(NamedTuple):
    """One trained model as an analysis sees it: all weights before and after training, name -> (*shape)."""

    initial: Tensors
    final: Tensors
    masks: Tensors


class Record(NamedTuple):
    """What a model answered during its training. fitted: (E, N) bool, did it give example n the label it was
    trained on; epochs: (E,) those after which it was asked.
    """

    epochs: Tensor
    fitted: Tensor


class Subject(NamedTuple):
    """One finished run as an analysis sees it; tensors (*shape) unless said otherwise.

    forward: of M models, on inputs as `data` holds them. labels: (N,) those it was trained on; the wrong ones are
    where they differ from the true. stream(*names): its random generator for what `names` names. start(): the
    weights that its own training started from, before its masks; parent(): the network that it was pruned from,
    None of a dense run. Both are made when asked for, and raise StoreError where files are gone. record(): what
    was recorded of its training, None where nothing was; dense(): the same of the dense run that it grew from.
    history(): a row for each evaluation of its training, its epoch, its step and its metrics by their names;
    dense_history(): the same of the dense run.
    channels(): the network's neurons and filters that can be removed.
    """

    net: Trained
    forward: Forward
    data: Data
    labels: Tensor
    stream: Callable[..., np.random.Generator]
    start: Callable[[], Tensors]
    parent: Callable[[], Trained | None]
    record: Callable[[], Record | None] = lambda: None
    dense: Callable[[], Record | None] = lambda: None
    history: Callable[[], Sequence[Mapping[str, float]]] = lambda: ()
    dense_history: Callable[[], Sequence[Mapping[str, float]]] = lambda: ()
    channels: Callable[[], Sequence[Channels]] = lambda: ()


class Measurement(NamedTuple):
    """What an analysis measured: `values`, a number each, and `rows` of details, all with the same names."""

    values: Mapping[str, float]
    rows: Sequence[Mapping[str, Any]] = ()


@dataclass
class State:
    """M models in training, every tensor (M, *shape); masks are bool, for prunable weights only.

    learned: what gradients change; fixed: what a lesson computes with beside it: BatchNorm statistics, which training
    measures, and weights that it leaves as they are. memory: what the optimizer keeps, by its own names, {} at its
    start, which was before step `since`. aside: what events took from `learned` and `fixed`, to give it back later.
    """

    learned: Tensors
    fixed: Tensors
    masks: Tensors
    memory: dict[str, Tensors]
    step: int = 0
    since: int = 0
    aside: Tensors = field(default_factory=dict)


class Begun(NamedTuple):
    """One model in the middle of its training, tensors (*shape): what is needed to go on to the bit. See State.

    fitted: (E, ceil(N / 8)) uint8, at each evaluation so far the examples it fitted, a bit each; None where that is
    not recorded.
    """

    learned: Tensors
    fixed: Tensors
    masks: Tensors
    memory: dict[str, Tensors]
    step: int
    since: int
    fitted: Tensor | None = None
    aside: Mapping[str, Tensor] = MappingProxyType({})


class Epoch(NamedTuple):
    """The epoch that ended (1, 2, ...), and the state then: views that the next epoch overwrites."""

    number: int
    state: State


def learned(weights: Tensors) -> Tensors:
    """The parameters among `weights`, of one model or of M: all but BatchNorm statistics."""
    return {name: w for name, w in weights.items() if not name.endswith(STATISTICS)}
