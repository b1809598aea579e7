"""Notebook: one finished run as objects: its network, weights, masks, history. `sddcli.load`."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from math import isqrt
from pathlib import Path

import pandas as pd
from torch import Tensor, nn

from sddcli.core.types import STATISTICS, Data, Forward, Tensors
from sddcli.core.words import UsageError
from sddcli.data import outline
from sddcli.datasets.reading.tensors import outlined
from sddcli.recipes import measuring
from sddcli.spec import Run
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
            place: nn.Module = self
            for part in parts:
                if part not in dict(place.named_children()):
                    place.add_module(part, nn.Module())
                place = place.get_submodule(part)
            if name.endswith(STATISTICS):
                place.register_buffer(last, weight.clone())
            else:
                place.register_parameter(last, nn.Parameter(weight.clone()))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, *features). Returns (B, classes)."""
        weights = {name: w.unsqueeze(0) for name, w in (*self.named_parameters(), *self.named_buffers())}
        return self._of_many(weights, x.unsqueeze(0), self.training).squeeze(0)


@dataclass(frozen=True)
class Loaded:
    """A finished run. weights, masks: name -> (*shape), pruned weights 0; history: a row for each evaluation."""

    run: Run
    manifest: Manifest = field(repr=False)
    history: pd.DataFrame = field(repr=False)
    weights: Tensors = field(repr=False)
    masks: Tensors = field(repr=False)
    read: Callable[[], Data] = field(repr=False)

    @cached_property
    def network(self) -> Network:
        """The trained network, in evaluation mode."""
        shape = _shape(self.run, self.manifest, self.weights)
        model = setting.model_of(self.run, shape)
        ordered = {name: self.weights[name] for name in model.weights}
        return Network(setting.forward_of(model, shape), ordered).eval()

    @cached_property
    def data(self) -> Data:
        """What it was trained and tested on. Raises StoreError where that has changed since."""
        return self.read()

    @cached_property
    def labels(self) -> Tensor:
        """(N,) the labels it was trained on; the wrong ones are where they differ from data.train.y."""
        return setting.noisy_labels(self.run, self.data)


SIDES = (32, 64, 28, 224, 16, 8, 48, 96, 128, 256)  # of square images, the usual first


def _shape(run: Run, manifest: Manifest, weights: Tensors) -> Data:
    """The shape of the data of a run: as its manifest has it, so that no images are needed.

    Where an older sdd wrote none and the images are gone, the first square shape that these weights fit. Raises
    OSError where there is none.
    """
    facts = manifest["data"]
    if "shape" in facts:
        return outlined(1, tuple(facts["shape"]), facts["classes"])
    try:
        return outline(run.dataset)
    except OSError:
        shapes = {name: tuple(w.shape) for name, w in weights.items() if not name.endswith(STATISTICS)}
        flat = {isqrt(size[1] // 3) for size in shapes.values() if len(size) == 2}
        for side in (*SIDES, *sorted(flat - {0})):
            with suppress(UsageError):  # too small for this network
                shape = outlined(1, (3, side, side), shapes["output.bias"][0])
                if {name: tuple(size) for name, size in setting.model_of(run, shape).shapes.items()} == shapes:
                    return shape
        raise


def load(path: str | Path) -> Loaded:
    """The finished run of a folder, runs/RUN or runs/RUN/level-07.

    Raises StoreError where it is none, is not finished, or is damaged.
    """
    store, run = Store.holding(Path(path))
    manifest = store.manifest(run)
    if manifest is None or manifest["stage"] != "trained":
        raise StoreError(f"{path} is not trained yet: sdd retrain {path}")
    history = pd.DataFrame(store.history(run, manifest)).apply(pd.to_numeric)
    return Loaded(run, manifest, history, *store.weights(run), lambda: measuring.data_of(store, run))
