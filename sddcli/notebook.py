"""Notebook: one finished run as objects: its network, weights, masks, history. `sddcli.load`."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd
from torch import Tensor, nn

from sddcli import sources
from sddcli.core.types import STATISTICS, Data, Forward, Tensors
from sddcli.core.words import UsageError
from sddcli.data import outline
from sddcli.datasets.reading.tensors import outlined
from sddcli.recipes import measuring, starting
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
        """(N,) the labels it was trained on; the wrong ones are where they differ from data.train.y.

        Raises StoreError where the data, or the number of their classes, have changed since.
        """
        starting.must_fit(self.run, setting.model_of(self.run, self.data), self.weights)
        return setting.noisy_labels(self.run, self.data)


SIDES = (32, *range(8, 257))
"""Of square images, that of CIFAR first: networks with a pool over the whole image have the same weights for all."""


def _shape(run: Run, manifest: Manifest, weights: Tensors) -> Data:
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


def load(path: str | Path, trust: bool = False) -> Loaded:
    """The finished run of a folder, runs/RUN or runs/RUN/level-07.

    trust: whether code that the runs of its folder were made with, runs/code, may run in this process. Raises
    StoreError where it is none, is not finished, or is damaged.
    """
    store, run = Store.holding(Path(path))
    if trust:
        sources.trust(store)
    manifest = store.manifest(run)
    if manifest is None or manifest["stage"] != "trained":
        raise StoreError(f"{path} is not trained yet: sdd retrain {path}")
    history = pd.DataFrame(store.history(run, manifest)).apply(pd.to_numeric)
    return Loaded(run, manifest, history, *store.weights(run), lambda: measuring.data_of(store, run))
