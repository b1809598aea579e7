"""Channels: which rows, columns and parameters of a network belong to one neuron or filter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import add, iadd

import torch
import torch.nn.functional as F
from torch import fx, nn

from sddcli.core.types import STATISTICS, Channels, Tensors


def living(masks: Tensors, channels: Channels) -> torch.Tensor:
    """(size,) bool: the channels of which masks (*shape) leave any weight in a row."""
    rows = [masks[name].flatten(1).any(1) for name in channels.outputs]
    return torch.stack(rows).any(0)


def cut(masks: Tensors, channels: Channels, left: torch.Tensor) -> Tensors:
    """Masks (*shape) less the rows and columns of the channels that are not `left`, (size,) bool."""
    less = dict(masks)
    for name in channels.outputs:
        less[name] = less[name] & left.view(-1, *(1,) * (less[name].dim() - 1))
    for name in channels.inputs:
        if name in less:
            shape = less[name].shape
            less[name] = (less[name].view(shape[0], channels.size, -1) & left.view(1, -1, 1)).view(shape)
    return less


def completed(masks: Tensors, layout: Sequence[Channels]) -> Tensors:
    """Masks (*shape) of weights, and with them those of the biases and BatchNorm parameters of the same channels."""
    vectors = {name: living(masks, channels) for channels in layout for name in channels.vectors}
    return masks | vectors


def layered(sizes: Sequence[int], layers: Sequence[str]) -> tuple[Channels, ...]:
    """Those of fully connected layers, one after the other; sizes: inputs of the first, then outputs of each."""
    return tuple(
        Channels(size, (f"{layer}.weight",), (f"{layer}.bias",), (f"{after}.weight",))
        for size, layer, after in zip(sizes[1:], layers, layers[1:], strict=False)
    )


@dataclass
class _Stream:
    """What flows between layers. fixed: inputs, outputs, or what passes through an operation that is not known."""

    size: int = 0
    outputs: list[str] = field(default_factory=list)
    vectors: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    fixed: bool = False


KEEPING = (
    *(nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
    *(nn.Flatten, nn.Dropout, nn.Identity),
)
FUNCTIONS = (F.relu, torch.relu, torch.relu_, torch.flatten, F.max_pool2d, F.avg_pool2d)
"""What hands on the channels that it is given: modules, functions, and methods of tensors."""
METHODS = ("relu", "relu_", "mean", "flatten")


def of_module(module: nn.Module, prunable: Sequence[str]) -> tuple[Channels, ...]:
    """The channels of a network, those whose rows are all `prunable`, in the order of its layers.

    Read from the operations that torch.fx records of it. What passes through an operation that is not known here is
    left whole, and so is all of a network that cannot be recorded.
    """
    try:
        graph = fx.Tracer().trace(module)
    except Exception:  # whatever a network's own code does when it is given no numbers
        return ()
    parts, streams = dict(module.named_modules()), dict[fx.Node, _Stream]()
    for node in graph.nodes:
        given = [streams[each] for each in node.all_input_nodes]
        streams[node] = _after(node, given, parts, streams)
    unique = {id(stream): stream for stream in streams.values()}.values()
    removable = [s for s in unique if s.outputs and not s.fixed and set(s.outputs) <= set(prunable)]
    return tuple(
        Channels(s.size, *(tuple(dict.fromkeys(x)) for x in (s.outputs, s.vectors, s.inputs))) for s in removable
    )


def _after(
    node: fx.Node, given: Sequence[_Stream], parts: Mapping[str, nn.Module], streams: dict[fx.Node, _Stream]
) -> _Stream:
    """What flows out of a node into which the given streams flow."""
    part = parts.get(str(node.target)) if node.op == "call_module" else None
    names = [f"{node.target}.{name}" for name, _ in part.named_parameters()] if part else []
    if isinstance(part, nn.Linear) or (isinstance(part, nn.Conv2d) and part.groups == 1):
        given[0].inputs.append(names[0])
        return _Stream(part.weight.shape[0], names[:1], names[1:])
    if isinstance(part, nn.BatchNorm2d):
        given[0].vectors += names
        return given[0]
    if isinstance(part, KEEPING) or (node.op == "call_function" and node.target in FUNCTIONS):
        return given[0]
    if node.op == "call_method" and node.target in METHODS:
        return given[0]
    if node.op == "call_function" and node.target in (add, iadd, torch.add) and len(given) == 2:
        return _joined(given[0], given[1], streams)
    for stream in given:
        stream.fixed = True
    return _Stream(fixed=True)


def _joined(first: _Stream, second: _Stream, streams: dict[fx.Node, _Stream]) -> _Stream:
    """Both as one, since the outputs of their layers are added."""
    if first is not second:
        for name in ("outputs", "vectors", "inputs"):
            getattr(first, name).extend(getattr(second, name))
        first.fixed |= second.fixed or first.size != second.size
        streams.update({node: first for node, stream in streams.items() if stream is second})
    return first


def narrow(weights: Tensors, layout: Sequence[Channels]) -> Tensors:
    """The weights (*shape) of the smaller network that answers the same: without channels that change nothing.

    Those are the ones that are 0 whatever comes in, and those that nothing reads; removing some may leave more such
    behind. Of each part of the layout one channel stays, for a layer of none is no layer.
    """
    small, sizes = dict(weights), {id(part): part.size for part in layout}
    while True:
        before = sum(sizes.values())
        for part in layout:
            left = _useful(small, part, sizes[id(part)])
            small |= _taken(small, part, left)
            sizes[id(part)] = int(left.sum())
        if sum(sizes.values()) == before:
            return small


def _useful(weights: Tensors, part: Channels, size: int) -> torch.Tensor:
    """(size,) bool: which channels are neither always 0 nor read by nobody; the first one where none is."""
    rows = [weights[name].view(size, -1).any(1) for name in (*part.outputs, *part.vectors)]
    columns = [_columns(weights[name], size).flatten(2).any(2).any(0) for name in part.inputs]
    useful = torch.stack(rows).any(0)
    useful &= torch.stack(columns).any(0) if columns else True
    return useful if useful.any() else torch.arange(size) == 0


def _columns(weight: torch.Tensor, size: int) -> torch.Tensor:
    """(outputs, size, ...) of a weight whose columns of each channel lie side by side."""
    return weight.reshape(weight.shape[0], size, -1)


def _taken(weights: Tensors, part: Channels, left: torch.Tensor) -> Tensors:
    """The weights of the layers of a part, of the channels that are left."""
    statistics = [
        name[: -len("weight")] + end for name in part.vectors if name.endswith("weight") for end in STATISTICS
    ]
    taken = {name: weights[name][left] for name in (*part.outputs, *part.vectors, *statistics) if name in weights}
    for name in part.inputs:
        weight = taken.get(name, weights[name])
        columns = _columns(weight, len(left))[:, left]
        taken[name] = columns.reshape(weight.shape[0], -1, *weight.shape[2:])
    return taken


def narrowed(
    shapes: Mapping[str, tuple[int, ...]], layout: Sequence[Channels], widths: Sequence[int]
) -> dict[str, tuple[int, ...]]:
    """The shapes of the smaller network that has so many of the channels of each part of the layout."""
    sizes = {name: list(shape) for name, shape in shapes.items()}
    for channels, width in zip(layout, widths, strict=True):
        for name in {*channels.outputs, *channels.vectors} & set(sizes):
            sizes[name][0] = width
        for name in set(channels.inputs) & set(sizes):
            sizes[name][1] = sizes[name][1] // channels.size * width
    return {name: tuple(size) for name, size in sizes.items()}
