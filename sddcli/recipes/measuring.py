"""Measuring: analyses of one finished run, or of a pair of them, from the store and back to it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from math import inf, nan

from sddcli import folders
from sddcli.core import own, seeds
from sddcli.core.retraining import masks_of
from sddcli.core.stacking import on_device
from sddcli.core.types import Data, Measurement, Model, Record, Subject, Tensors, Trained
from sddcli.core.words import UsageError, pick
from sddcli.data import load
from sddcli.metrics import FOLDERS
from sddcli.pairs import Pair
from sddcli.recipes.starting import initial, start
from sddcli.spec import Run
from sddcli.stages import pruning, setting
from sddcli.store import Store, StoreError

ALWAYS = ("learning-distance",)
"""The analyses that are made of every run at once, while its weights are at hand."""


def check(word: str, of_pairs: bool = False) -> Callable[..., Measurement]:
    """The analysis that `word` means, with its parameters. Raises UsageError for unknown parameters."""
    if own.key_of(word):
        return _own(word)
    name, folder = word.split(":")[0], FOLDERS["pair" if of_pairs else "run"].replace("/", ".")
    measure: Callable[..., Measurement] = import_module(f"sddcli.{folder}.{name.replace('-', '_')}").measure
    return pick("measure", word, {name: measure})


def _own(word: str) -> Callable[..., Measurement]:
    """An analysis of the user's own, of a subject or of two -> a Measurement, or its numbers by their names."""
    measure: Callable[..., Measurement | Mapping[str, float]] = pick("measure", word, {})

    def analysis(*subjects: Subject) -> Measurement:
        result = own.calling(word, measure, *subjects)
        if isinstance(result, Measurement):
            return result
        return Measurement({name: float(number) for name, number in dict(result).items()})

    return analysis


def analysed(word: str, *subjects: Subject) -> Measurement:
    """What the analysis `word` finds about a run, or about the two of a pair."""
    return check(word, of_pairs=len(subjects) > 1)(*subjects)


def subject(store: Store, run: Run, net: Trained, model: Model, data: Data) -> Subject:
    """`run`, with the weights and masks of `net`, (*shape), as analyses see it.

    What few of them need is read when it is asked for; then UsageError or StoreError is raised where it is not there.
    """

    def here(tensors: Tensors) -> Tensors:
        return on_device(tensors, data.train.y.device)

    def parent() -> Trained | None:
        if run.level == 0:
            return None
        source, masking, moment = masks_of(run)
        if source.dataset != run.dataset:  # a network for other data
            return None
        if moment != "final" and masking != "prune":  # by its own training
            return None
        if moment != "final":  # pruned from untrained weights, those that its own training started from
            untrained = net.initial if moment == "initial" else here(start(store, run, model, data, net.masks))
            return Trained(net.initial, untrained, pruning.full_masks(model, net.initial))
        if not store.finished(source):
            raise UsageError(f"level {source.level}, which it was pruned from, is not in {store.root}")
        return Trained(net.initial, *map(here, store.weights(source)))

    def recorded(run: Run) -> Record | None:
        record = store.record(run)
        return record and Record(*(part.to(data.train.y.device) for part in record))

    def history(run: Run) -> list[dict[str, float]]:
        steps = -(-len(data.train.y) // run.batch_size)
        rows = [{name: float(text) if text else nan for name, text in row.items()} for row in store.history(run)]
        return [{"step": min(row["epoch"] * steps, run.steps or inf), **row} for row in rows]

    return Subject(
        net,
        setting.forward_of(model, data),
        data,
        setting.noisy_labels(run, data),
        partial(seeds.stream, run.seed, "analysis", run.level),
        lambda: here(start(store, run, model, data, net.masks)),
        parent,
        lambda: recorded(run),
        lambda: recorded(run.root),
        lambda: history(run),
        lambda: history(run.root),
        model.channels,
    )


def measured(
    store: Store, words: Sequence[str], of: Run | Pair, device: str = "cpu"
) -> Iterator[tuple[str, Measurement | None, Exception | None]]:
    """Runs analyses of a run or a pair and saves what they find. Yields each word, its result, and the error if any.

    Where the result could not be saved, it comes with that error.
    """
    try:
        seen = [_seen(store, run, device) for run in (of if isinstance(of, Pair) else (of,))]
    except (StoreError, UsageError, OSError) as error:
        yield from ((word, None, error) for word in words)
        return
    for word in words:
        numbers = None
        try:
            numbers = analysed(word, *seen)
            store.save_measure(of, word, numbers)
            yield word, numbers, None
        except (StoreError, UsageError, ArithmeticError) as error:
            yield word, numbers, error


def _seen(store: Store, run: Run, device: str) -> Subject:
    if not store.finished(run):
        raise UsageError(f"level {run.level} of {run.slug} is not in {store.root}")
    data = data_of(store, run, device)
    model = setting.model_of(run, data)
    stored = Trained(initial(store, run, model), *store.weights(run))
    if wrong := [name for name, w in stored.final.items() if not w.isfinite().all()]:
        raise UsageError(f"{store.folder(run)} cannot be measured: its {wrong[0]} is not finite")
    net = (
        on_device({name: part[name] for name in model.weights if name in part}, data.train.y.device) for part in stored
    )
    return subject(store, run, Trained(*net), model, data)


def data_of(store: Store, run: Run, device: str = "cpu") -> Data:
    """The data of `run`. Raises StoreError where they are no longer those that it was made from."""
    manifest = store.manifest(run)
    if manifest and "folder" in manifest["data"]:
        folders.find({run.dataset: folders.Known(frozenset(), (str(manifest["data"]["folder"]),))})
    data = load(run.dataset, run.train_size, run.validation, device)
    if manifest and manifest["data"]["sha256"] != data.sha256:
        raise StoreError(f"{store.folder(run)} was made from other {run.dataset} data: its hash differs")
    return data


def content(dataset: str) -> str:
    """The hash of a data set's content. Raises UsageError, OSError where it cannot be read."""
    return load(dataset).sha256
