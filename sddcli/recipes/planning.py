"""Planning: whether runs can be trained, and what that takes, before any of them is."""

import re
from collections.abc import Sequence

import torch

from sddcli.core import own
from sddcli.core.retraining import masks_of, teacher
from sddcli.core.types import Data
from sddcli.core.words import UsageError, unknown
from sddcli.data import load, outline, silent
from sddcli.datasets.reading.files import Tell
from sddcli.recipes.measuring import ALWAYS
from sddcli.spec import Run
from sddcli.stages import setting, training


def check(runs: Sequence[Run], tell: Tell = silent) -> tuple[str, ...]:
    """Raises UsageError where a word is in no table or a level leaves no weight, before anything is written.

    Reads the data, which may have to be downloaded: `tell` hears of it. Raises OSError where they cannot be. Returns
    the notes on them, each once.
    """
    check_outline(runs)  # reading may take minutes
    notes: dict[str, None] = {}
    for run in runs:
        data = load(run.dataset, run.train_size, run.validation, tell=tell)
        setting.check(run, data)
        notes |= dict.fromkeys(data.notes)
    return tuple(notes)


def check_outline(runs: Sequence[Run]) -> None:
    """The same without the data: only their outline is looked at."""
    for run in runs:
        setting.check(run, data := _outline(run))
        source = masks_of(run).run if run.level else run
        if source.dataset != run.dataset:
            setting.fitting(setting.model_of(run, data), setting.model_of(source, _outline(source)).shapes)
        taught = teacher(run)
        if taught and taught.dataset != run.dataset:
            _check_teacher(run, data, taught)


def _check_teacher(run: Run, data: Data, taught: Run) -> None:
    """Raises UsageError where a teacher of another data set does not answer in the same classes, to such inputs."""
    other = _outline(taught)
    known, own = ((each.classes, tuple(each.train.x.shape[1:])) for each in (other, data))
    if known != own:
        sides = (f"{name} ({classes} classes, inputs {shape})" for name, (classes, shape) in
                 ((taught.dataset, known), (run.dataset, own)))  # fmt: skip
        raise UsageError("a teacher of {} cannot teach on {}: it must know the same classes".format(*sides))


def training_examples(dataset: str, train_size: int, validation: float) -> int:
    """How many examples of a data set are trained on, by its outline. Raises UsageError, OSError."""
    return len(outline(dataset, train_size, validation).train.y)


def epochs(runs: Sequence[Run]) -> int:
    """How many epochs training `runs` takes in all, a last one that is cut short counted whole.

    Raises UsageError, OSError where a length in steps needs the outline of the data.
    """
    return sum(run.epochs or setting.epochs(run, len(_outline(run).train.y)) for run in runs)


def device_of(word: str) -> str:
    """The device that a word means: auto is CUDA where torch has one. Raises UsageError for one that is not here."""
    if word == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if word != "cpu" and not re.fullmatch(r"cuda(:\d+)?", word):
        raise unknown("device", word, ("auto", "cpu", "cuda"))
    if word != "cpu" and int(word.partition(":")[2] or 0) >= torch.cuda.device_count():
        raise UsageError(f"no device {word} here: torch {torch.__version__} sees {torch.cuda.device_count()} GPUs")
    if ":" in word:
        torch.cuda.set_device(word)  # streams and graphs are those of the current one
    return word


def disk(runs: Sequence[Run]) -> int:
    """About how many bytes `runs` will take in the store. Raises UsageError as `check_outline` does."""
    check_outline(runs)
    return sum(map(_bytes, runs))


def files(runs: Sequence[Run]) -> int:
    """How many files `runs` will be in the store, once finished. Raises UsageError, OSError as outlines do."""
    usual = 3 + 2 * len(ALWAYS)  # manifest, weights, history; of each analysis its numbers and its details
    return sum(usual + (run.level == 0) + (len(_outline(run).train.y) < training.RECORDED) for run in runs)


def faster_in_bf16(runs: Sequence[Run]) -> list[str]:
    """The networks among these runs that would train faster in bf16, on a processor with instructions for it."""

    def faster(run: Run) -> bool:
        model = setting.model_of(run, _outline(run))
        return not model.slopes or (model.size >= LARGE and setting.plain(run))

    return sorted({run.model for run in runs if run.precision != "bf16" and not own.key_of(run.model) and faster(run)})


LARGE = 40_000
"""Prunable weights from which on a fully connected network counts as faster. On digits, five side by side, bf16 takes
1.5 times as long as fp32 with 2,220 weights, as long with 9,400 and 0.6 times as long with 49,200; alone, as long with
these."""


def notes(runs: Sequence[Run]) -> tuple[str, ...]:
    """What is to be known of the data of `runs`, as far as names of files tell, each once."""
    return tuple(dict.fromkeys(note for run in runs for note in _outline(run).notes))


def _outline(run: Run) -> Data:
    return outline(run.dataset, run.train_size, run.validation)


def _bytes(run: Run) -> int:
    """Kept weights, a bit for each that can be pruned, a dense run's initial weights; the words beside them."""
    model = setting.model_of(run, _outline(run))
    stored = model.parameters - model.size + sum(setting.counts(run, model).values())
    weights = 4 * (stored + (model.parameters if run.level == 0 else 0)) + model.size // 8
    return weights + 150 * -(-epochs([run]) // run.eval_every) + 3000
