"""Prune and retrain: the experiment of sparse double descent (He et al. 2022)."""

import gc
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import isfinite, nan
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sddcli import folders
from sddcli.core import masks, seeds
from sddcli.core.maskings import MASKINGS
from sddcli.core.retraining import masks_of
from sddcli.core.stacking import on_device, single, stacked
from sddcli.core.types import Begun, Data, Measurement, Model, Tensors, Trained
from sddcli.core.words import UsageError
from sddcli.data import load
from sddcli.events import Advanced, Busy, Event, Failed, Noted, Report, Saved
from sddcli.locks import Claim
from sddcli.recipes import measuring, planning, starting
from sddcli.spec import Run
from sddcli.stages import pruning, setting, training
from sddcli.store import Store, StoreError, reason_of

Row = dict[str, float | int | None]
SIDES = ("before", "after")

_CAUSE = "here the last bits of a matrix product depend on where its factors lie in memory, or on how threads share it"
_ADVICE = "one thread a worker may help and, where MKL multiplies, MKL_CBWR=AUTO in the environment"
NOTICES: dict[str | None, str] = {
    "one by one": f"{_CAUSE}: models are computed one by one, which is slower; {_ADVICE}",
    "not promised": f"{_CAUSE}: a run's last bits may depend on the runs trained beside it; {_ADVICE}",
}
"""The note to the user where models side by side do not have the bits that each has alone: see core/company."""
STREAMED = "the GPU has no room for all of {}: each batch is read from memory or disk, which is slower"


class Prepared(NamedTuple):
    """A run before its first step, (*shape): the weights it starts from, its masks, the dense initialization."""

    start: Tensors
    masks: Tensors
    initial: Tensors


class Ready(NamedTuple):
    """A run that can be trained: how its training started, where it is, and what was recorded of it so far: its
    evaluations, the events between its segments, its seconds."""

    prepared: Prepared
    begun: Begun
    history: list[Row]
    events: list[Row]
    seconds: float


class Pace(NamedTuple):
    """When work is saved before it is finished: every so many seconds, and when `stopping` says that it shall end."""

    seconds: float = 60.0
    stopping: Callable[[], bool] = lambda: False


USUAL = Pace()


class Bench(NamedTuple):
    """What runs that are made together share: where they are kept, the network, its data, what manifests record
    beside the numbers, who hears of them and when they are saved, and the right to work on each."""

    store: Store
    model: Model
    data: Data
    facts: Mapping[str, Any]
    report: Report
    pace: Pace = USUAL
    claims: dict[Run, Claim] = {}

    def holds(self, run: Run) -> bool:
        """Whether this process may still save `run`: another may have taken the place of one that was cut off."""
        return run not in self.claims or self.claims[run].holds()


def unheard(event: Event) -> None:
    """For whoever waits for the result alone."""


def bench(
    store: Store,
    run: Run,
    facts: Mapping[str, Any],
    device: str,
    report: Report = unheard,
    pace: Pace = USUAL,
) -> Bench:
    """The bench for runs of the data and network of `run` on a device: "cpu", "cuda" or one of several."""
    data = load(run.dataset, run.train_size, run.validation, device)
    if data.train.x.device != data.train.y.device:
        report(Noted(STREAMED.format(run.dataset)))
    name = torch.cuda.get_device_name(device) if device != "cpu" else "cpu"
    notes = {"notes": list(data.notes)} if data.notes else {}
    shape = {"shape": list(data.train.x.shape[1:]), "classes": data.classes}
    parts = folders.split(run.dataset)  # with it a command in another folder can read the images
    lies = {"folder": str(Path(folders.now_at(parts[0])).absolute())} if parts else {}
    facts = {**facts, "device": name, "data": {"name": run.dataset, "sha256": data.sha256, **shape, **lies, **notes}}
    return Bench(store, setting.model_of(run, data), data, facts, report, pace)


def work(
    store: Store,
    runs: Sequence[Run],
    facts: Mapping[str, Any],
    device: str,
    report: Report,
    pace: Pace = USUAL,
) -> None:
    """Makes runs whose parents are finished and which agree in `Run.batch`: prune -> retrain -> measure -> save.

    facts: what the manifests record beside their numbers; device: "cpu", "cuda" or one of several. A run that
    cannot be pruned, that diverges or finds no memory is recorded and reported as failed; one that another
    process works on is reported as busy; the others go on.
    """
    claims: dict[Run, Claim] = {}
    shared = bench(store, runs[0], facts, device, report, pace)._replace(claims=claims)
    ready: dict[Run, Ready] = {}
    try:
        for run in runs:
            try:
                claim = store.claim(run)
                if claim is None:
                    report(Busy(run))
                    continue
                claims[run] = claim
                if store.finished(run):  # by another sweep, since this one was planned
                    store.tidy(run)
                    _report_saved(shared, run)
                else:
                    ready[run] = _ready(shared, run)
            except Exception as error:
                _fail(store, run, error, report)
        # Runs that were saved at different steps are not trained side by side.
        for step in dict.fromkeys(each.begun.step for each in ready.values()):
            together = {run: each for run, each in ready.items() if each.begun.step == step}
            if not pace.stopping():
                _train(shared, together)
    finally:
        for run, claim in claims.items():
            claim.release(store.finished(run))


def _fail(store: Store, run: Run, error: Exception, report: Report) -> None:
    """Reports a failure, and records it unless the reason lies in files, which may be better next time."""
    reason, trace = reason_of(error), "".join(traceback.format_exception(error))
    if not isinstance(error, StoreError):
        store.save_failure(run, reason, trace)
    report(Failed(run, reason, isinstance(error, StoreError), trace))


def _ready(bench: Bench, run: Run) -> Ready:
    prepared, saved = _prepared(bench, run), bench.store.checkpoint(run)
    if saved and saved[1].get("data", {}).get("sha256") == bench.data.sha256:
        begun, records = saved
        begun = begun if begun.masks else begun._replace(masks=prepared.masks)
        return Ready(prepared, begun, list(records["history"]), list(records.get("events", ())), records["seconds"])
    within = on_device(starting.trained_masks(bench.store, run, prepared.masks), bench.data.train.y.device)
    frozen = starting.frozen(run, prepared.start, within)
    taught = on_device(starting.teacher(bench.store, run, bench.model), bench.data.train.y.device)
    begun = training.beginning(run, bench.model, bench.data, prepared.start, within, frozen, taught, prepared.initial)
    return Ready(prepared, begun, [], [], 0.0)


def _train(bench: Bench, ready: Mapping[Run, Ready]) -> None:
    """Trains runs that are at one step side by side; where that fails, in halves, down to the one that cannot be."""
    try:
        _train_together(bench, ready)
        return
    except Exception as error:
        left = {run: each for run, each in ready.items() if not bench.store.finished(run)}
        if isinstance(error, StoreError):
            for run in left:
                _fail(bench.store, run, error, bench.report)
            return
        if len(left) <= 1:
            for run in left:
                reason = MemoryError("out of memory") if _out_of_memory(error) else error
                _fail(bench.store, run, reason, bench.report)
            return
    gc.collect()  # only here, where the error no longer holds what the training had
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    halves = list(left.items())
    for half in (halves[: len(halves) // 2], halves[len(halves) // 2 :]):
        _train(bench, dict(half))


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def _train_together(bench: Bench, ready: Mapping[Run, Ready]) -> None:
    began = saved = time.perf_counter()
    runs, store, pace = list(ready), bench.store, bench.pace
    last = setting.epochs(runs[0], len(bench.data.train.y))
    company = training.company_of(runs, bench.model, bench.data)
    if company in NOTICES:
        bench.report(Noted(NOTICES[company]))
    histories = {run: list(each.history) for run, each in ready.items()}
    events = {run: list(each.events) for run, each in ready.items()}
    # A checkpoint of an older sdd has no record of the first evaluations; then none is kept of the later ones.
    records = {run: each.begun.fitted for run, each in ready.items() if each.begun.fitted is not None}
    begun, initial = [each.begun for each in ready.values()], [each.prepared.initial for each in ready.values()]
    for now in training.train(runs, bench.model, bench.data, begun, initial, company == "one by one"):
        for m, run in enumerate(runs):
            events[run] += [_row(event, m) for event in now.events if event.removes[m]]
            if now.metrics is not None:
                histories[run].append({"epoch": now.epoch, **_finite(now.metrics[m])})
            if now.fitted is not None and run in records:
                records[run] = torch.cat([records[run], now.fitted[m : m + 1]])
        bench.report(Advanced(tuple(runs), now.epoch, last, now.metrics))
        spent = (time.perf_counter() - began) / len(runs)
        stop = pace.stopping()
        if not now.last and (stop or time.perf_counter() - saved >= pace.seconds):
            saved = time.perf_counter()
            for m, (run, each) in enumerate(ready.items()):
                if not bench.holds(run):
                    continue
                record = {"history": histories[run], "events": events[run], "seconds": each.seconds + spent}
                paused = training.paused(now.state, m)._replace(fitted=records.get(run))
                store.save_checkpoint(run, paused, {"data": bench.facts["data"], **record})
            if stop:
                return
    for m, (run, each) in enumerate(ready.items()):
        if not bench.holds(run):  # another goes on with it, or has finished it: nothing of theirs is written over
            bench.report(Busy(run))
            continue
        final, kept = training.result(runs, bench.model, now.state, m)
        values = [*final.values(), *single(now.state.learned, m).values()]
        if not all(w.isfinite().all() for w in values):
            error = UsageError("diverged: its weights are no longer finite; try a smaller lr")
            _fail(store, run, error, bench.report)
            continue
        timed = {"seconds": round(each.seconds + spent, 3), "side_by_side": len(runs), "company": company}
        net = Trained(each.prepared.initial, final, kept)
        try:
            taken = training.taken_epoch(runs, now.state, m)
            _save(bench, run, net, histories[run], taken, events[run], records.get(run), timed)
        except StoreError as error:
            _fail(store, run, error, bench.report)
            continue
        _report_saved(bench, run)


def _report_saved(bench: Bench, run: Run) -> None:
    """Reports that a run is saved, after its claim is given back: who hears of the last one may end this process."""
    if claim := bench.claims.pop(run, None):
        claim.release(finished=True)
    bench.report(Saved(run))


def _row(event: training.EventRecord, m: int) -> Row:
    """An event as a row of details of run m."""
    pairs = {"density": event.density[m], "test_accuracy": event.test_accuracy[m]}
    sides = {f"{name}_{side}": value for name, both in pairs.items() for side, value in zip(SIDES, both, strict=True)}
    return {"step": event.step, **sides}


def prune(store: Store, run: Run, facts: Mapping[str, Any], device: str) -> None:
    """Writes one run as pruned, ready to be retrained, unless it is.

    Raises UsageError where it cannot be, StoreError where another process works on it or a relative is missing.
    """
    planning.check([run])
    claim = store.claim(run)
    if claim is None:
        raise StoreError(f"another process works on {store.folder(run)}: wait for it")
    try:
        if store.manifest(run) is None:
            _prepared(bench(store, run, facts, device), run)
    finally:
        claim.release(store.finished(run))


def _prepared(bench: Bench, run: Run) -> Prepared:
    """`run` as its training starts: pruned now, or before an interruption. Raises StoreError, UsageError."""
    store, model, data = bench.store, bench.model, bench.data
    for relative in (run, *run.parents, run.root):
        known = store.manifest(relative)
        if known and known["data"]["sha256"] != _content(relative, run, data):
            raise StoreError(f"{store.folder(relative)} was made from other {run.dataset} data: its hash differs")

    def here(tensors: Tensors) -> Tensors:
        return on_device(tensors, data.train.y.device)

    initial = here(starting.initial(store, run, model))
    if run.level == 0:
        return Prepared(initial, pruning.full_masks(model, initial), initial)
    if (saved := store.pruned(run)) is not None:
        return Prepared(here(saved[0]), here(saved[1]), initial)
    kept, metrics = _masks(bench, run, initial)
    start = masks.apply(pruning.with_vectors(run, model, kept), here(starting.start(store, run, model, data, kept)))
    store.save_pruned(run, start, kept, {**bench.facts, "metrics": metrics})
    return Prepared(start, kept, initial)


def _content(relative: Run, run: Run, data: Data) -> str:
    """The hash of the data of a run that `run`, which is of `data`, grew from. Raises UsageError, OSError."""
    return data.sha256 if relative.dataset == run.dataset else load(relative.dataset).sha256


def _masks(bench: Bench, run: Run, initial: Tensors) -> tuple[Tensors, Row]:
    """The masks of `run`, (*shape), and what they and the network just pruned by them are measured to be."""
    store, model, data = bench.store, bench.model, bench.data
    source, masking, moment = masks_of(run)
    device = data.train.y.device
    ranked: Tensors = {}  # the weights that are pruned, where any are
    if moment == "final" and masking == "prune":
        ranked, before = (on_device(part, device) for part in store.weights(source))
    elif moment == "final":
        of_source = store.masks(source)
        other = setting.fitting(model, {name: tuple(mask.shape) for name, mask in of_source.items()})
        whole = pruning.full_masks(model, initial)
        before = on_device({name: whole[name] if name in other else mask for name, mask in of_source.items()}, device)
    else:
        ranked = initial if moment == "initial" else on_device(setting.fresh(run, model), device)
        before = pruning.full_masks(model, initial)

    def pruned(within: Tensors) -> Tensors:
        if moment == "final":
            return pruning.prune(run, model, Trained(initial, ranked, within), data)
        if moment == "initial" and (above := _masks_there(bench, source)) is not None:
            return pruning.prune(run, model, Trained(initial, masks.apply(above, ranked), above), data)
        return pruning.prune_untrained(run, model, ranked, data)

    draw, moves = partial(seeds.stream, run.seed, "masks", run.level), setting.unit_of(run, model).moves
    whole_units = moves[masking] if moves and masking in moves else None
    kept = whole_units(before, draw) if whole_units else MASKINGS[masking].make(before, pruned, draw)
    metrics = _size(
        before if masking == "open" else kept, data
    )  # of re-dense training, the sparsity that it comes from
    if masking == "prune":
        cut = stacked([masks.apply(pruning.with_vectors(run, model, kept), ranked)], model.weights)
        after = training.metrics([run], model, cut, data)[0]
        metrics |= {f"pruned_{name}": value for name, value in _finite(after).items()}
    return kept, metrics


def _masks_there(bench: Bench, run: Run) -> Tensors | None:
    """The masks (*shape) of a run that need not be trained for them, where they are in the store, made of this data.

    Without them all levels above would be pruned again, which takes the square of a chain's levels.
    """
    known = bench.store.manifest(run) if run.level else None
    if known is None or known["data"]["sha256"] != bench.data.sha256:
        return None
    with suppress(StoreError):
        saved = bench.store.pruned(run)
        return on_device(saved[1] if saved else bench.store.masks(run), bench.data.train.y.device)
    return None


def _save(
    bench: Bench,
    run: Run,
    net: Trained,
    history: list[Row],
    taken: int | None,
    events: list[Row],
    fitted: Tensor | None,
    timed: Mapping[str, Any],
) -> None:
    """Measures a finished training and hands it to the store. taken: the epoch that `net` is of, None for the last."""
    store, model, data = bench.store, bench.model, bench.data
    accuracies = [row["test_accuracy"] for row in history if row["test_accuracy"] is not None]
    row = history[-1] if taken is None else next(row for row in history if row["epoch"] == taken)
    last = {name: value for name, value in row.items() if name != "epoch"}
    moves, pruned = setting.moves(run), store.manifest(run) if run.level else None
    metrics = {
        **(pruned["metrics"] if pruned else {}),
        **(_size(net.masks, data) if moves or not pruned else {}),
        **last,
        "best_test_accuracy": max(accuracies),
        **_chosen(history),
        "width": model.width,
        "parameters": model.parameters,
        **({} if taken is None else {"taken_epoch": taken}),
    }
    if setting.teaching_of(run).chances:  # metrics are means over networks drawn; these, of the one that is kept
        kept = training.metrics([run], model, stacked([net.final], model.weights), data)[0]
        metrics |= {f"stored_{name}": kept[name] for name in ("train_accuracy", "test_accuracy")}
    seen = measuring.subject(store, run, net, model, data)
    measures = {"events": _costs(events, history, -(-len(data.train.y) // run.batch_size))} if events else {}
    for word in measuring.ALWAYS:
        with suppress(StoreError):  # a lost file that only a measure asks for costs no training
            measures[word] = measuring.analysed(word, seen)
    initial = net.initial if run.level == 0 else None
    facts = {**bench.facts, **timed, "metrics": metrics}
    store.save_trained(run, net.final, net.masks, history, measures, facts, initial, fitted)


def _costs(events: Sequence[Row], history: Sequence[Row], steps: int) -> Measurement:
    """What the events of a training did, a row each, and `event_instability`, the mean of (t_pre - t_post) / t_pre,
    test accuracy just before and after each; `settled_test_accuracy`: the best one after the last of them.

    Those are the two sides of figure 2 of Bartoldson et al. (2020). steps: those of an epoch.
    """
    last = float(events[-1]["step"] or 0)
    settled = [float(row["test_accuracy"] or 0) for row in history if float(row["epoch"] or 0) * steps > last]
    pairs = [tuple(float(row[f"test_accuracy_{side}"] or 0) for side in SIDES) for row in events]
    lost = [(before - after) / before for before, after in pairs if before]
    numbers = {"events": len(events), "event_instability": mean(lost) if lost else nan}
    return Measurement(numbers | {"settled_test_accuracy": max(settled, default=nan)}, events)


def _chosen(history: Sequence[Row]) -> Row:
    """The test accuracy at the evaluation, the first one, at which accuracy on the examples held out was best."""
    rows = [(row["validation_accuracy"], row["test_accuracy"]) for row in history if "validation_accuracy" in row]
    return {"chosen_test_accuracy": max(rows, key=lambda row: row[0] or 0.0)[1]} if rows else {}


def _size(kept: Tensors, data: Data) -> Row:
    density, weights = masks.density(kept), sum(int(mask.sum()) for mask in kept.values())
    return {"sparsity": 1 - density, "density": density, "weights": weights, "examples": len(data.train.y)}


def _finite(row: Mapping[str, float]) -> Row:
    # JSON has no NaN: a number that is not one, such as `memorized` without wrong labels, is an empty cell.
    return {name: value if isfinite(value) else None for name, value in row.items()}
