"""Starting: the weights that a run's training starts from, and those it is compared with."""

import torch

from sddcli.core import masks, retraining
from sddcli.core.retraining import dense, masks_of, origin, rewind_steps, start_of
from sddcli.core.stacking import on_device
from sddcli.core.types import Data, Model, Tensors
from sddcli.data import load
from sddcli.spec import Run
from sddcli.stages import setting, training
from sddcli.store import Store, StoreError


def initial(store: Store, run: Run, model: Model) -> Tensors:
    """The weights before training (*shape) of the dense run that `run` grew from. Raises StoreError.

    Those of its file, which no other version of NumPy can change, or of a dense run that nobody had to train, drawn.
    Of a run of other data the output layer is that of `run`, where classes differ.
    """
    own, other = _of(run.root, run, model)
    if store.manifest(run.root) is None:
        return setting.adapted(run, model, setting.fresh(run.root, own))
    weights = store.initial(run)
    if other is None:
        must_fit(run.root, model, weights)
    return setting.adapted(run, model, weights)


def _of(source: Run, run: Run, model: Model) -> tuple[Model, Data | None]:
    """The network of a run that `run` grew from, and its data where they are others. Raises UsageError, OSError."""
    if (source.dataset, source.train_size, source.validation) == (run.dataset, run.train_size, run.validation):
        return model, None
    data = load(source.dataset, source.train_size, source.validation)
    return setting.model_of(source, data), data


def must_fit(run: Run, model: Model, weights: Tensors) -> None:
    """Raises StoreError where the stored weights of `run` are those of another number of classes than `model` has.

    The hash of the data does not say it: a class without images, which an older sdd counted, has no bytes.
    """
    then, now = len(weights[model.output]), model.shapes[model.output][0]
    if then != now:
        raise StoreError(
            f"{run.slug} level {run.level} was trained to tell {then} classes apart, and {run.dataset} has {now}: an "
            "older sdd counted a folder without images; its numbers stay; to train again, name another --runs folder"
        )


def start(store: Store, run: Run, model: Model, data: Data, kept: Tensors) -> Tensors:
    """The weights (*shape) that `run`, whose masks are `kept`, starts from, before these. Raises StoreError.

    Those of a step of the dense run that nobody has asked for yet are made by training it again up to there.
    """
    if run.level == 0:
        return setting.fresh(run, model)
    within = trained_masks(store, run, kept)
    weights = setting.started(run, model, _retrained(store, run, model, data), within)
    if not origin(run).frozen:
        return weights
    return setting.frozen(run, model, weights, store.weights(dense(run))[0], within)


def trained_masks(store: Store, run: Run, kept: Tensors) -> Tensors:
    """The masks (*shape) that `run` is trained under: its own, `kept`, or the ticket's where pruned weights stay at
    values of their own, so that none is 0. Raises StoreError."""
    return store.masks(masks_of(run).run) if run.level and origin(run).frozen else on_device(kept, torch.device("cpu"))


def frozen(run: Run, start: Tensors, within: Tensors) -> Tensors:
    """The values (*shape) that pruned weights are to keep, 0 at others; {} where they are 0."""
    if not run.level or not origin(run).frozen:
        return {}
    return masks.apply({name: ~mask for name, mask in within.items()}, {name: start[name] for name in within})


def teacher(store: Store, run: Run, model: Model) -> Tensors:
    """The trained weights (*shape) of the run that `run` learns from; {} where it has no teacher. Raises StoreError."""
    if (source := retraining.teacher(run)) is None:
        return {}
    weights = store.weights(source)[0]
    must_fit(source, model, weights)
    return weights


def _retrained(store: Store, run: Run, model: Model, data: Data) -> Tensors:
    """Those that its retraining takes."""
    source, moment = start_of(run)
    if moment == "fresh":
        return setting.fresh(run, model)
    if moment == "final":
        return store.weights(source)[0]
    if moment == "initial":
        return setting.adapted(run, model, initial(store, source, _of(source, run, model)[0]))
    own, other = _of(source, run, model)
    data = data if other is None else other
    step = rewind_steps(run.rewind, -(-len(data.train.y) // source.batch_size))
    weights = store.step(source, step)
    if weights is None:
        weights = training.replay(source, step, own, data, store.initial(source))
        store.save_step(source, step, weights)
    return setting.adapted(run, model, weights)
