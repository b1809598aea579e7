"""Starting: the weights that a run's training starts from, and those it is compared with."""

from sddcli.core.models import Model
from sddcli.core.retraining import rewind_steps, start_of
from sddcli.core.types import Data, Tensors
from sddcli.spec import Run
from sddcli.stages import setting, training
from sddcli.store import Store


def initial(store: Store, run: Run, model: Model) -> Tensors:
    """The weights before training (*shape) of the dense run that `run` grew from. Raises StoreError.

    Those of its file, which no other version of NumPy can change, or of a dense run that nobody had to train, drawn.
    """
    return store.initial(run) if store.manifest(run.root) else setting.fresh(run.root, model)


def start(store: Store, run: Run, model: Model, data: Data) -> Tensors:
    """The weights (*shape) that `run` starts from, before its masks. Raises StoreError.

    Those of a step of the dense run that nobody has asked for yet are made by training it again up to there.
    """
    if run.level == 0:
        return setting.fresh(run, model)
    return setting.started(run, model, _retrained(store, run, model, data))


def _retrained(store: Store, run: Run, model: Model, data: Data) -> Tensors:
    """Those that its retraining takes."""
    source, moment = start_of(run)
    if moment == "fresh":
        return setting.fresh(run, model)
    if moment == "final":
        return store.weights(source)[0]
    if moment == "initial":
        return initial(store, source, model)
    step = rewind_steps(run.rewind, -(-len(data.train.y) // run.batch_size))
    weights = store.step(source, step)
    if weights is None:
        weights = training.replay(source, step, model, data, store.initial(source))
        store.save_step(source, step, weights)
    return weights
