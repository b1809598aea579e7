"""Setting: what the words of a run mean for its data: network, labels, inputs, lesson, counts, learning rates."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sddcli.core import images, inits, lessons, masks, models, own, seeds, units
from sddcli.core import labels as given_labels
from sddcli.core.allocation import ALLOCATIONS, Kept
from sddcli.core.criteria import criterion
from sddcli.core.images import AUGMENTATIONS, Augmentation
from sddcli.core.inits import INITS
from sddcli.core.lessons import LESSONS, Teaching
from sddcli.core.losses import LOSSES, cross_entropy
from sddcli.core.maskings import MASKINGS
from sddcli.core.noise import NOISES, Classes
from sddcli.core.optimizers import OPTIMIZERS
from sddcli.core.precisions import PRECISIONS
from sddcli.core.regularization import REGULARIZATIONS, Regularization, changed
from sddcli.core.retraining import LEARNED_MASKS, RETRAININGS, origin, rewind_steps, teacher
from sddcli.core.schedules import SCHEDULES, Course
from sddcli.core.starts import FREEZINGS, STARTS
from sddcli.core.timetables import TIMETABLES, Event, Length
from sddcli.core.types import Data, Examples, Forward, Lesson, Model, Tensors, Write
from sddcli.core.units import Layout, Unit
from sddcli.core.words import UsageError, pick
from sddcli.spec import OWN, Run

TABLES: dict[str, Mapping[str, Any]] = {
    "noise_kind": NOISES,
    "init": INITS,
    "optimizer": OPTIMIZERS,
    "loss": LOSSES,
    "regularization": REGULARIZATIONS,
    "precision": PRECISIONS,
}
"""The fields that every run has a word in, and the tables that know them."""


def model_of(run: Run, data: Data) -> Model:
    """The architecture of `run` for the shape of its data."""
    return models.architecture(run.model, tuple(data.train.x.shape[1:]), data.classes)


def check(run: Run, data: Data) -> None:
    """Raises UsageError where a word of `run` is in no table, or what it asks for leaves nothing to train."""
    for name in OWN:
        own.must_run(str(getattr(run, name)))
    for field, table in TABLES.items():
        if field == "noise_kind" and given_labels.key_of(run.noise_kind):
            continue
        pick(field, getattr(run, field), table)
    if data.classes < 2:
        raise UsageError(f"{run.dataset} has one class only, and a network learns to tell two or more apart")
    augmentation(run, data)
    model = model_of(run, data)
    _check_batches(run, model, len(data.train.y))
    noisy_labels(run, data)
    if run.dropout and not model.inputs:
        raise UsageError(
            f"dropout acts on what linear layers are given by other layers, and {run.model} has none of them"
        )
    if regularization(run).batchnorm and not model.statistics:
        raise UsageError(f"regularization {run.regularization} is of BatchNorm scales, and {run.model} has none")
    if run.regularization != "none" and run.level and origin(run).lesson in LEARNED_MASKS:
        raise UsageError(f"regularization {run.regularization} is of weights, and {run.retraining} learns masks alone")
    if run.level:
        ranks = pick("retraining", run.retraining, RETRAININGS).ranks
        if ranks and criterion(run.criterion).batchnorm and not model.statistics:
            raise UsageError(f"criterion {run.criterion} ranks by BatchNorm scales, and {run.model} has none")
        pick("start", run.start, STARTS)
        if frozen := origin(run).frozen:
            pick("pruned weights", frozen, FREEZINGS)
        schedule(run, len(data.train.y))
        timetable(run, model, len(data.train.y))

        _check_moves(run, model)
        unit_of(run, model), group_sizes(run, model)  # where layers are not those that these are for, no level can be
        if why := _impossible(run, model):
            last = next(k for k in range(run.level) if _impossible(replace(run, level=k + 1), model))
            raise UsageError(f"level {run.level} {why}; the last possible is {last}")


def _check_moves(run: Run, model: Model) -> None:
    """Raises UsageError where a control would move weights of whole units one by one."""
    masking, moves = origin(run).masks.masking, unit_of(run, model).moves
    if MASKINGS[masking].moves and moves is not None and masking not in moves:
        can = [word for word in moves if word != masking]
        raise UsageError(
            f"retraining {run.retraining} cannot move whole units of {run.unit} so that as many weights are left"
            + (f": take {' or '.join(can)}" if can else ": take --unit weight")
        )


def _impossible(run: Run, model: Model) -> str:
    """Why the level of `run` cannot be, fewer weights than its scope or unit keeps, or none of a group; else ""."""
    try:
        kept = counts(run, model)
    except UsageError as error:
        return str(error)
    return unit_of(run, model).unable(kept)


def unit_of(run: Run, model: Model) -> Unit:
    """What `run` keeps or removes together. Raises UsageError where the network has no such unit."""
    return units.unit(run.unit, Layout({name: model.shapes[name] for name in model.prunable}, model.channels()))


def _check_batches(run: Run, model: Model, n: int) -> None:
    """Raises UsageError where n examples leave one alone in a batch, and the network cannot be trained on one."""
    if model.takes_one or (run.batch_size > 1 and n % run.batch_size != 1):
        return
    smaller_first = (*range(min(run.batch_size, n), 1, -1), *range(max(run.batch_size, 2), n + 1))
    fitting = next((size for size in smaller_first if n % size != 1), None)
    hint = f"; --batch-size {fitting} leaves none alone" if fitting else ""
    batches = f"{n} examples in batches of {run.batch_size} have one example alone in a batch"
    raise UsageError(f"{run.model} has BatchNorm, which needs two examples or more in a batch, and {batches}{hint}")


def noisy_labels(run: Run, data: Data) -> Tensor:
    """(N,) the labels that `run` is trained on; the wrong ones are where they differ from the true."""
    return _noisy(run, data, data.train, data.rows, "noise")


def held_labels(run: Run, data: Data) -> Tensor | None:
    """(H,) the labels of the examples held out: noisy as those of training, as they would be in practice."""
    return None if data.held is None else _noisy(run, data, data.held, data.held_rows, "noise", "held")


def _noisy(run: Run, data: Data, examples: Examples, rows: Tensor | None, *names: str) -> Tensor:
    if not run.noise:
        return examples.y
    true, generator = examples.y.cpu().numpy(), seeds.stream(run.seed_of("noise"), *names)
    if file := given_labels.key_of(run.noise_kind):
        numbers = np.arange(len(true)) if rows is None else rows.numpy()
        mine = given_labels.given(file, true, numbers, data.names, data.classes, run.noise, generator)
        return torch.from_numpy(mine).to(examples.y.device)
    noise, classes = pick("noise_kind", run.noise_kind, NOISES), Classes(data.classes, data.similar)
    labels = noise(true, run.noise, classes, generator)
    if own.key_of(run.noise_kind):
        labels = _labels(run.noise_kind, labels, len(examples.y), data.classes)
    return torch.from_numpy(labels).to(examples.y.device)


def _labels(word: str, labels: Any, n: int, classes: int) -> NDArray[np.int64]:
    """(n,) the labels that code of the user's own gives. Raises UsageError unless they are a class of each example."""
    whole = np.asarray(labels)
    if whole.shape != (n,) or whole.dtype.kind not in "iu" or not ((whole >= 0) & (whole < classes)).all():
        raise UsageError(f"noise_kind {word} gives {n} labels, whole numbers from 0 to {classes - 1}, or so it should")
    return whole.astype(np.int64)


def augmentation(run: Run, data: Data) -> Augmentation | None:
    """How training images are changed before each step, None for not at all.

    Raises UsageError where the data are no images in bytes.
    """
    augment = pick("augment", run.augment, AUGMENTATIONS)()
    if augment and not data.mean:
        raise UsageError(f"augment {run.augment!r} is for images that are held as bytes, and {run.dataset} is not")
    return augment


def shown(run: Run, data: Data) -> Tensor:
    """(N, *features) the training inputs before they are augmented."""
    augment = augmentation(run, data)
    return data.large if augment and augment.large and data.large is not None else data.train.x


def forward_of(model: Model, data: Data) -> Forward:
    """The forward pass on inputs as `data` holds them: they are moved to where its labels are, bytes are normalized."""
    device = data.train.y.device
    if not data.mean and data.train.x.device == device:
        return model.forward
    normalize = images.normalizing(data.mean, data.deviation) if data.mean else None

    def forward(weights: Tensors, x: Tensor, training: bool) -> Tensor:
        x = x.to(device)
        return model.forward(weights, normalize(x) if normalize else x, training)

    return forward


def teaching_of(run: Run) -> Teaching:
    """What `run` learns, and which network that makes; a dense run is supervised."""
    teaching = _taught(run)
    teaching = lessons.beside_initial(teaching) if regularization(run).initial else teaching
    return lessons.keeping_best(teaching) if run.take == "validation" else teaching


def _taught(run: Run) -> Teaching:
    """The same but for its regularization."""
    teaching = pick("lesson", origin(run).lesson if run.level else "supervised", LESSONS)
    return lessons.taught(teaching) if teacher(run) else teaching


def regularization(run: Run) -> Regularization:
    """What is done to the gradients of `run` beside its loss."""
    return pick("regularization", run.regularization, REGULARIZATIONS)


def moves(run: Run) -> bool:
    """Whether the masks of `run` change during its training."""
    return run.level > 0 and origin(run).moves


def lesson_of(run: Run, model: Model, data: Data) -> Lesson:
    """What a step of `run` teaches, regularized."""
    lesson = _of_loss(run, model, data)
    lesson = lesson if run.regularization == "none" else changed(lesson, regularization(run))
    return lessons.beside_best(lesson) if run.take == "validation" else lesson


def plain(run: Run) -> bool:
    """Whether `run` learns labels by cross-entropy, without dropout: what a network has the gradient written out of."""
    supervised = _taught(run) is LESSONS["supervised"]
    return supervised and pick("loss", run.loss, LOSSES) is cross_entropy and not run.dropout


def _of_loss(run: Run, model: Model, data: Data) -> Lesson:
    """The gradients of its loss: written out where the network has them, else by autograd."""
    if not model.slopes or not plain(run):
        teaching, loss = _taught(run), pick("loss", run.loss, LOSSES)
        dropout = lessons.thinned(teaching.lesson, model.inputs, run.dropout, run.batch_size)
        return (dropout if run.dropout else teaching.lesson)(forward_of(model, data), loss)
    if not data.mean:
        return lessons.written_out(model.slopes)
    slopes, normalize = model.slopes, images.normalizing(data.mean, data.deviation)

    def normalizing(weights: Tensors, into: Tensors) -> Write:
        write = slopes(weights, into)
        return lambda x, y: write(normalize(x), y)

    return lessons.written_out(normalizing)


def fresh(run: Run, model: Model) -> Tensors:
    """New weights, (*shape): a dense run's initialization, or another one for each level."""
    level = ("level", run.level) if run.level else ()
    number = int(seeds.stream(run.seed_of("init"), "init", *level, "given").integers(2**63))
    return inits.fresh(model, run.init, run.seed_of("init"), *level) | model.given(number)


def adapted(run: Run, model: Model, weights: Tensors) -> Tensors:
    """Weights (*shape) that may be of other data, for the network of `run`: an output layer of other classes is drawn.

    Raises UsageError where any other layer has another shape.
    """
    shapes = {name: tuple(w.shape) for name, w in weights.items()}
    wrong = fitting(model, shapes)
    new = fresh(run.root if run.root.dataset == run.dataset else replace(run, level=0), model) if wrong else {}
    return {name: new[name] if name in wrong else w for name, w in weights.items()}


def fitting(model: Model, shapes: Mapping[str, tuple[int, ...]]) -> set[str]:
    """The parameters of the output layer if shapes of another network's differ from its own.

    Raises UsageError where those of any other layer do.
    """
    wrong = {name for name, shape in shapes.items() if shape != (model.shapes | model.statistics).get(name)}
    layer = model.output.removesuffix("weight")
    for name in wrong:
        if not name.startswith(layer):
            own = (model.shapes | model.statistics).get(name)
            raise UsageError(f"the ticket does not fit: its {name} is {shapes[name]}, and that of this network {own}")
    return wrong


def started(run: Run, model: Model, weights: Tensors, masks: Tensors) -> Tensors:
    """The weights (*shape) that `run` makes of those that its retraining starts from, pruned ones too.

    masks: (*shape), those that it trains under.
    """
    draw = partial(seeds.stream, run.seed_of("init"), "start", run.level)
    values = pick("start", run.start, STARTS)({name: weights[name] for name in model.prunable}, masks, draw)
    return {name: values.get(name, w) for name, w in weights.items()}


def frozen(run: Run, model: Model, start: Tensors, trained: Tensors, masks: Tensors) -> Tensors:
    """The same weights (*shape) where pruned ones are frozen; trained: those of the trained dense network."""
    draw = partial(seeds.stream, run.seed_of("init"), "frozen", run.level)
    before, after = ({name: part[name] for name in model.prunable} for part in (start, trained))
    return start | pick("pruned weights", origin(run).frozen, FREEZINGS)(before, after, masks, draw)


def counts(run: Run, model: Model) -> dict[str, int]:
    """How many weights `run` keeps in each group that is ranked together: in all, "", or layer by layer."""
    spared = model.spared if run.count == "all" else 0

    def kept(size: int, factor: float = 1.0) -> int:
        return masks.kept(size, min(1.0, run.rate * factor), run.level, spared)

    return _per_group(run, model, kept)


def group_sizes(run: Run, model: Model) -> dict[str, int]:
    """How many prunable weights each of those groups has."""
    return _per_group(run, model, lambda size, factor=1.0: size)


def _per_group(run: Run, model: Model, kept: Kept) -> dict[str, int]:
    shapes = {name: model.shapes[name] for name in model.prunable}
    return pick("scope", run.scope, ALLOCATIONS).counts(shapes, kept, model.output)


def epochs(run: Run, n: int) -> int:
    """How many epochs the training of `run` has on n examples; of a length in steps the last may be cut short."""
    return -(-run.steps // -(-n // run.batch_size)) if run.steps else run.epochs


def schedule(run: Run, n: int) -> tuple[list[float], int]:
    """The learning rate of each step on n examples, and the step that training starts at.

    None where nothing is trained. Raises UsageError where the run would be rewound to its end or beyond.
    """
    steps = -(-n // run.batch_size)
    descent = origin(run) if run.level else None
    first = descent.lr if descent and descent.lr and descent.schedule == "full" else run.lr
    course = Course(first, run.milestones, run.gamma, steps, run.steps or run.epochs * steps)
    rates = pick("schedule", run.schedule, SCHEDULES)(course)
    if descent is None:
        return rates, 0
    if descent.cycles > 1:
        return [rates[step * descent.cycles % len(rates)] for step in range(len(rates))], 0
    if descent.schedule == "last":
        return [descent.lr or rates[-1]] * len(rates), 0
    rewound = rewind_steps(run.rewind, steps)
    if rewound >= len(rates):
        raise UsageError(f"rewind {run.rewind} is not before the end of training, step {len(rates)}")
    if descent.schedule == "none":
        return [], 0
    return rates, rewound if descent.schedule == "rewound" else 0


def timetable(run: Run, model: Model, n: int) -> Mapping[int, Event]:
    """Step -> the event before it, in the training of `run` on n examples.

    Raises UsageError where the timetable does not fit in that many steps, or in the network.
    """
    word = origin(run).timetable if run.level else ""
    if not word:
        return {}
    length = Length(len(schedule(run, n)[0]), -(-n // run.batch_size), len(unit_of(run, model).channels))
    return pick("timetable", word, TIMETABLES)(length)
