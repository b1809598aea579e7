"""Modules: a torch module as M networks, whose weights take the places of its own one after the other."""

from collections.abc import Callable, Sequence
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from sddcli.core import channels, memory
from sddcli.core.types import KEPT, STATISTICS, Forward, Model, Shape, Tensors
from sddcli.core.words import UsageError, unknown


def of_module(build: Callable[[], nn.Module], features: Shape, spared: Sequence[str] = ()) -> Model:
    """The network that a module is: its weights by their names in it, prunable those with a fan-in.

    spared: names that are not. Raises UsageError where the module cannot take an example of shape `features`.
    """
    with torch.device("meta"):  # the weights of M models stand in for its own
        module = build().eval()
        try:
            module(torch.empty(1, *features))
        except (RuntimeError, ValueError):
            raise UsageError(f"this network cannot take inputs of shape {tuple(features)}") from None
        takes_one = _takes_one(module, features)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.num_batches_tracked = None  # counts steps for an average over all of them, which nobody asks for
    shapes, statistics = _shapes(module)
    prunable = tuple(name for name, shape in shapes.items() if len(shape) > 1 and name not in spared)
    layout, inputs = cache(lambda: channels.of_module(module, prunable)), _with_factors(module)
    _with_strides_taken_first(module)
    forward = _one_after_the_other(module, memory.channels_last)
    return Model(
        shapes, prunable, forward, statistics, one_by_one=True, takes_one=takes_one, channels=layout, inputs=inputs
    )


def _with_factors(module: nn.Module) -> dict[str, int]:
    """Has each linear layer but a network's first multiply what it is given by factors, where there are any.

    Returns how many inputs each has, by its name.
    """

    def multiplied(layer: nn.Module, given: tuple[Tensor, ...]) -> Tensor | None:
        kept, x = layer.get_buffer(name), given[0]
        return None if kept is None else x * kept.view(len(kept), *(1,) * (x.dim() - 2), -1)

    name = KEPT.removeprefix(".")
    layers = [(each, part) for each, part in module.named_modules() if isinstance(part, (nn.Linear, nn.Conv2d))]
    linear = {each: part for each, part in layers[1:] if isinstance(part, nn.Linear)}
    for part in linear.values():
        part.register_buffer(name, None)
        part.register_forward_pre_hook(multiplied)
    return {each: part.in_features for each, part in linear.items()}


FEW_CHANNELS = 16
"""A convolution on a CPU takes so many channels at a time (AVX-512), or half as many (AVX2)."""


def _with_strides_taken_first(module: nn.Module) -> None:
    """Has each 1x1 convolution of few channels take only the pixels that its stride leaves; what it gives is the same.

    Where channels come last, oneDNN writes beyond its memory in the gradient of such a convolution with a stride:
    it is wrong then, or the process crashes (its issue 6035; seen with torch 2.15 on AVX2).
    """

    def kept(layer: nn.Module, given: tuple[Tensor, ...]) -> Tensor:
        down, across = strides[layer]
        return given[0][..., ::down, ::across]

    strides = dict[nn.Module, tuple[int, ...]]()
    for part in module.modules():
        if not isinstance(part, nn.Conv2d) or part.in_channels // part.groups >= FEW_CHANNELS:
            continue
        if set(part.kernel_size) == {1} and set(part.padding) == {0} and set(part.stride) != {1}:
            strides[part], part.stride = part.stride, (1, 1)
            part.register_forward_pre_hook(kept)


def _shapes(module: nn.Module) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """The shapes of a module's parameters, and of its BatchNorm statistics."""
    parameters = {name: tuple(p.shape) for name, p in module.named_parameters()}
    return parameters, {name: tuple(b.shape) for name, b in module.named_buffers() if name.endswith(STATISTICS)}


def _one_after_the_other(module: nn.Module, laid: Callable[[Tensor], Tensor]) -> Forward:
    """The forward pass of M networks, whose weights take the places of the module's own; laid: how inputs shall lie."""
    holders = _holders(module)

    def answer(own: Tensors, x: Tensor) -> Tensor:
        # As torch.func.functional_call, which looks for all of them anew: a twentieth of a small network's step.
        taken = [(*holder, w) for name, w in own.items() for holder in holders.get(name, ())]
        before = [tensors[key] for tensors, key, _ in taken]
        try:
            for tensors, key, w in taken:
                tensors[key] = w
            logits: Tensor = module(laid(x))
            return logits
        finally:
            for (tensors, key, _), w in zip(taken, before, strict=True):
                tensors[key] = w

    def forward(weights: Tensors, x: Tensor, training: bool) -> Tensor:
        if module.training != training:
            module.train(training)
        if len(x) == 1:  # views whose gradients are views too, while those of w[0] are copies
            return answer({name: w.squeeze(0) for name, w in weights.items()}, x.squeeze(0)).unsqueeze(0)
        return torch.stack([answer({name: w[m] for name, w in weights.items()}, x[m]) for m in range(len(x))])

    return forward


def _holders(module: nn.Module) -> dict[str, list[tuple[dict[str, Any], str]]]:
    """Which parts' tables hold each parameter and buffer of a module, by its name, and under which key.

    Several do where parts share it.
    """
    named: dict[str, list[tuple[dict[str, Any], str]]] = {}
    first: dict[int, str] = {}
    for path, part in module.named_modules():
        for tensors in (part._parameters, part._buffers):
            for key, tensor in tensors.items():
                name = f"{path}.{key}" if path else key
                named.setdefault(name if tensor is None else first.setdefault(id(tensor), name), []).append(
                    (tensors, key)
                )
    return named


def of_own(build: Callable[[Shape, int], nn.Module], features: Shape, classes: int) -> Model:
    """The network that code of the user's own builds of an example's shape and the number of classes.

    Prunable are the parameters that its `prunable` names or, where it has none, those with a fan-in: of two dimensions
    or more, with more than one row and more than one weight in a row. Raises UsageError where it is no network for such
    inputs and classes, or has nothing to prune.
    """
    with torch.random.fork_rng(devices=[]):
        module = build(features, classes)
    if not isinstance(module, nn.Module):
        raise UsageError(f"a network is a torch.nn.Module, and this is {type(module).__name__}")
    _must_answer(module, features, classes)
    takes_one = _takes_one(module, features, "cpu")
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.num_batches_tracked = None
    shapes, statistics = _shapes(module)
    with_fan_in = [name for name, shape in shapes.items() if len(shape) > 1 and shape[0] > 1 and prod(shape[1:]) > 1]
    prunable = tuple(getattr(module, "prunable", with_fan_in))
    if not prunable or not set(prunable) <= set(shapes):
        strange = [name for name in prunable if name not in shapes]
        raise (
            unknown("prunable parameter", strange[0], shapes) if strange else UsageError("nothing in it can be pruned")
        )
    ours = {*with_fan_in, *(name.removesuffix("weight") + "bias" for name in with_fan_in if name.endswith("weight"))}

    def given(seed: int) -> Tensors:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            fresh = build(features, classes)
        return {name: p.detach().clone() for name, p in fresh.named_parameters() if name not in ours}

    layout, inputs = cache(lambda: channels.of_module(module, prunable)), _with_factors(module)
    # Code of others may take views of its images, which are another thing where channels come last.
    pure, moved = _one_after_the_other(module, lambda x: x), list[torch.device]()

    def forward(weights: Tensors, x: Tensor, training: bool) -> Tensor:
        if moved[-1:] != [x.device]:  # what it keeps beside its parameters lies where it was built
            module.to(x.device)
            moved.append(x.device)
        return pure(weights, x, training)

    return Model(shapes, prunable, forward, statistics, True, None, takes_one, layout, given, inputs)


def _must_answer(module: nn.Module, features: Shape, classes: int) -> None:
    """Raises UsageError unless a module takes two examples of this shape and answers with a number for each class."""
    with torch.no_grad():
        answer = module.eval()(torch.zeros(2, *features))
    if not isinstance(answer, Tensor) or tuple(answer.shape) != (2, classes):
        shape = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise UsageError(
            f"of 2 examples of shape {features} it gives {shape}, and not {(2, classes)}, a number a class"
        )


def _takes_one(module: nn.Module, features: Shape, device: str = "meta") -> bool:
    try:
        module.train()(torch.zeros(1, *features, device=device))
    except ValueError:  # torch refuses to normalize over a single value
        return False
    return True
