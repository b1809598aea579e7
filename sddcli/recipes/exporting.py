"""Exporting: a finished run as a file that others read without sdd: its network, its weights, or its seed and masks."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from sddcli.core import channels
from sddcli.core.types import STATISTICS, Data, Forward, Model, Tensors
from sddcli.core.words import UsageError
from sddcli.data import outline
from sddcli.datasets.reading.tensors import outlined
from sddcli.packing import pack_masks, unpack_masks
from sddcli.spec import Run, from_dict, to_dict
from sddcli.stages import setting
from sddcli.store import Manifest, Store, StoreError


class Network(nn.Module):
    """One network: x, (B, *features) as its data set holds them, to logits (B, classes).

    Its parameters are called as in the run's files. They can be trained on; masks are then the caller's business.
    """

    def __init__(self, forward: Forward, weights: Tensors) -> None:
        super().__init__()
        self._of_many = forward
        for name, weight in weights.items():
            *parts, last = name.split(".")
            module: nn.Module = self
            for part in parts:
                if part not in dict(module.named_children()):
                    module.add_module(part, nn.Module())
                module = module.get_submodule(part)
            if name.endswith(STATISTICS):
                module.register_buffer(last, weight.clone())
            else:
                module.register_parameter(last, nn.Parameter(weight.clone()))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, *features). Returns (B, classes)."""
        weights = {name: w.unsqueeze(0) for name, w in (*self.named_parameters(), *self.named_buffers())}
        return self._of_many(weights, x.unsqueeze(0), self.training).squeeze(0)


SIDES = (32, *range(8, 257))
"""Of square images, that of CIFAR first: networks with a pool over the whole image have the same weights for all."""


def shape_of(run: Run, manifest: Manifest, weights: Tensors) -> Data:
    """The shape of the data of a run: as its manifest has it, so that no images are needed.

    Where an older sdd wrote none, the first that has these weights: of the images as they are now, of square ones, or
    of as many pixels as a fully connected network has inputs. Raises StoreError where there is none.
    """
    facts = manifest["data"]
    if "shape" in facts:
        return outlined(1, tuple(facts["shape"]), facts["classes"])
    reason, sizes = "they have changed", {name: w.shape for name, w in weights.items() if not name.endswith(STATISTICS)}
    shapes = [(3, side, side) for side in SIDES]
    if all(len(size) <= 2 for size in sizes.values()):  # fully connected: only the number of inputs matters
        shapes += [(3, 1, size[1] // 3) for size in sizes.values() if len(size) == 2 and size[1] % 3 == 0]
    candidates = [outlined(1, shape, 2) for shape in shapes]
    try:
        candidates.insert(0, outline(run.dataset))
    except OSError as error:
        reason = str(error)
    for data in candidates:
        with suppress(UsageError):  # too small for this network
            output = sizes[setting.model_of(run, data).output]
            data = data._replace(classes=output[0])
            if setting.model_of(run, data).shapes == sizes:
                return data
    raise StoreError(f"an older sdd did not record the size of the images of {run.dataset}, and {reason}")


class Exported(NamedTuple):
    """A run as the bytes of a file, and a line about it."""

    content: bytes
    about: str


def exported(store: Store, run: Run, form: str) -> Exported:
    """A finished run in one of FORMS. Raises StoreError where its files are gone, UsageError where it cannot be."""
    manifest = store.manifest(run)
    if manifest is None or manifest["stage"] != "trained":
        raise StoreError(f"{store.folder(run)} is not trained yet: sdd retrain {store.folder(run)}")
    if form == "seed+mask":
        return _seed_and_masks(store, run)
    weights, kept = store.weights(run)
    shape = shape_of(run, manifest, weights)
    model = setting.model_of(run, shape)
    weights = {name: weights[name] for name in model.weights}
    small = weights if form == "safetensors" else channels.narrow(weights, model.channels())
    before, after = (sum(w.numel() for w in each.values()) for each in (weights, small))
    about = f"{sum(int(mask.sum()) for mask in kept.values())} of {model.size} prunable weights are not 0"
    about += f"; without neurons and filters that do nothing {after} numbers of {before}" if after < before else ""
    return Exported(FORMS[form](run, model, shape, small), about)


def _facts(run: Run, shape: Data) -> dict[str, str]:
    """What a file says of itself, words alone."""
    facts = {"run": run.id, "settings": json.dumps(to_dict(run)), "classes": str(shape.classes)}
    inputs = {"inputs": json.dumps(list(shape.train.x.shape[1:])), "mean": json.dumps(list(shape.mean))}
    return {"made by": "sdd export", **facts, **inputs, "deviation": json.dumps(list(shape.deviation))}


def _safetensors(run: Run, model: Model, shape: Data, weights: Tensors) -> bytes:
    """The weights by their names in the network, pruned ones 0."""
    from safetensors.torch import save

    return save({name: w.contiguous() for name, w in weights.items()}, _facts(run, shape))


def _torch(run: Run, model: Model, shape: Data, weights: Tensors) -> bytes:
    """A program that torch.export.load reads: images as the data set holds them, (B, *inputs), to logits."""
    content = io.BytesIO()
    network, x = _traceable(model, shape, weights)
    with _quiet():
        batch = {"x": {0: torch.export.Dim("batch", min=1)}}
        program = torch.export.export(network, (x,), dynamic_shapes=batch)
        torch.export.save(program, content, extra_files=_facts(run, shape))
    return content.getvalue()


def _onnx(run: Run, model: Model, shape: Data, weights: Tensors) -> bytes:
    """The same as an ONNX model, inputs "x" and outputs "logits". Raises UsageError where onnx is not installed."""
    network, x = _traceable(model, shape, weights)
    try:
        with _quiet():
            program = torch.onnx.export(
                network, (x,), dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch", min=1)},), verbose=False,
                input_names=["x"], output_names=["logits"],
            )  # fmt: skip
            assert program is not None
            content: bytes = program.model_proto.SerializeToString()
    except ImportError:
        raise UsageError("onnx is not installed: pip install 'sddcli[onnx]'") from None
    return content


def _traceable(model: Model, shape: Data, weights: Tensors) -> tuple[nn.Module, Tensor]:
    """The network in evaluation mode, and three examples for it to be recorded with."""
    network = Network(setting.forward_of(model, shape), weights).eval()
    kind = torch.uint8 if shape.mean else torch.float32
    return network.requires_grad_(False), torch.zeros(3, *shape.train.x.shape[1:], dtype=kind)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says while it records a network."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _seed_and_masks(store: Store, run: Run) -> Exported:
    """A ticket: its settings, from which its initial weights are drawn, and its masks, a bit for each weight."""
    kept = store.masks(run)
    left, size = (sum(int(n) for n in ns) for ns in zip(*((m.sum(), m.numel()) for m in kept.values()), strict=True))
    content = pack_masks(kept, {"settings": json.dumps(to_dict(run)), "made by": "sdd export"})
    return Exported(content, f"masks that keep {left} of {size} weights; sddcli.ticket(FILE) draws them again")


def ticket_of(content: bytes, name: str) -> tuple[Run, Tensors]:
    """The run and masks of a file of seed and masks. Raises UsageError where it is none."""
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        settings = json.loads(header["__metadata__"]["settings"])
        return from_dict(settings), unpack_masks(content)
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise UsageError(f"{name} is no file of sdd export --to seed+mask ({error})") from None


FORMS: Mapping[str, Callable[[Run, Model, Data, Tensors], bytes]] = {
    "torch": _torch,
    "safetensors": _safetensors,
    "onnx": _onnx,
}
