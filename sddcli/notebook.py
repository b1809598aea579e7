"""Notebook: one finished run as objects: its network, weights, masks, history. `sddcli.load`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd
from torch import Tensor

from sddcli import sources
from sddcli.core import masks
from sddcli.core.types import Data, Tensors
from sddcli.data import outline
from sddcli.recipes import measuring, starting
from sddcli.recipes.exporting import Network, shape_of, ticket_of
from sddcli.spec import Run
from sddcli.stages import setting
from sddcli.store import Manifest, Store, StoreError


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
        shape = shape_of(self.run, self.manifest, self.weights)
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


def ticket(path: str | Path) -> tuple[Run, Tensors, Tensors]:
    """The run of a file of sdd export --to seed+mask, its initial weights drawn again, pruned ones 0, and its masks.

    Raises UsageError where the file is none, OSError where it cannot be read.
    """
    content = Path(path).read_bytes()
    run, kept = ticket_of(content, str(path))
    weights = setting.fresh(run.root, setting.model_of(run, outline(run.dataset)))
    return run, masks.apply(kept, weights), kept


def load(path: str | Path, trust: bool = False) -> Loaded:
    """The finished run of a folder, runs/RUN or runs/RUN/level-07.

    trust: whether code that the runs of its folder were made with, runs/code, may run in this process. Raises
    StoreError where it is none, is not finished, or is damaged.
    """
    store, run = Store.holding(Path(path))
    sources.recall(store)
    if trust:
        sources.trust(store)
    manifest = store.manifest(run)
    if manifest is None or manifest["stage"] != "trained":
        raise StoreError(f"{path} is not trained yet: sdd retrain {path}")
    history = pd.DataFrame(store.history(run, manifest)).apply(pd.to_numeric)
    return Loaded(run, manifest, history, *store.weights(run), lambda: measuring.data_of(store, run))
