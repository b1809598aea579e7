"""Starting: the weights that a run's training starts from."""

from sddcli import stages
from sddcli.core.models import Model
from sddcli.core.retraining import rewind_steps, start_of
from sddcli.core.types import Data, Tensors
from sddcli.spec import Run
from sddcli.store import Store


def start(store: Store, run: Run, model: Model, data: Data) -> Tensors:
    """The weights (*shape) that `run` starts from, before its masks. Raises StoreError.

    Those of a step of the dense run that nobody has asked for yet are made by training it again up to there.
    """
    if run.level == 0:
        return stages.fresh(run, model)
    source, moment = start_of(run)
    if moment == "fresh":
        return stages.fresh(run, model)
    if moment == "final":
        return store.weights(source)[0]
    if moment == "initial":
        return store.initial(source)
    step = rewind_steps(run.rewind, -(-len(data.train.y) // run.batch_size))
    found = store.step(source, step)
    if found is None:
        found = stages.replay(source, step, model, data, store.initial(source))
        store.save_step(source, step, found)
    return found
