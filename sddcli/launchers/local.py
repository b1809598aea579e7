"""Local: a sweep's runs on worker processes of this machine, batch by batch as their parents are finished.

The calling process loads no torch: it plans and reports while the workers compute. A worker whose caller
dies ends too, and what is finished is in the store, so a sweep can be killed at any moment.
"""

import multiprocessing
import os
import signal
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Any

from sddcli.events import Busy, Cost, Event, Failed, Reading, Report, Saved, Stopping
from sddcli.spec import Run, unfold, with_parents
from sddcli.store import Store, StoreError

# Beyond a few models side by side an epoch of the small nets that a CPU is for gets no cheaper, while
# their buffers leave the cache: 7.1 ms per model-epoch of digits at M = 5, 8.1 at M = 8, 12.5 at M = 1.
MOST_SIDE_BY_SIDE = 6
LOOK_SECONDS = 0.5
"""Between two looks at runs that another process works on."""


@dataclass(frozen=True)
class Policy:
    """What a sweep does beside its work: seconds between savings of a run in training, and its answers to trouble.

    skip_busy: runs that another process has are left to it, and not waited for. plan: the command and the tables
    that were asked for, to be recorded once they are known to be sound. keep: one of store.KEEPS, what is kept of
    levels that nothing in this sweep needs any more.
    """

    checkpoint_seconds: float = 60.0
    retry_failed: bool = False
    fail_fast: bool = False
    skip_busy: bool = False
    plan: tuple[str, Sequence[Mapping[str, Any]]] | None = None
    keep: str = "all"


USUAL = Policy()


def sweep(
    store: Store,
    runs: Sequence[Run],
    facts: Mapping[str, Any],
    workers: int,
    threads: int,
    device: str,
    report: Report,
    policy: Policy = USUAL,
) -> None:
    """Finishes `runs`, unfinished and parents first; parents that are not among them are in the store.

    facts: what each manifest shall record beside its numbers. Each event is reported as it comes. A failed
    run is reported with all that grows from it, and the rest goes on. Raises ValueError for words that no
    table knows, before anything is written, and StoreError where the folder cannot be written to.
    """
    agenda = Agenda(runs)
    for run in agenda.runs:
        if policy.retry_failed:
            store.forget_failure(run)
        elif failure := store.failure(run):
            reason = f"{failure['reason']} (it failed before: --retry-failed tries it again)"
            _settle(Failed(run, reason, trace=failure["trace"]), agenda, report)
    if not agenda.left:
        return

    def hire() -> _Worker:
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve,
            args=(theirs, store.root, dict(facts), threads, device, policy.checkpoint_seconds),
            daemon=True,
        )
        process.start()
        theirs.close()
        return _Worker(process, ours)

    context = multiprocessing.get_context("spawn")
    crew = [hire() for _ in range(min(workers, width(agenda.runs)))]
    try:
        _check(crew[0], agenda, report)
        store.prepare()
        if policy.plan:
            store.save_plan(*policy.plan)
        try:
            _work_off(store, crew, agenda, hire, report, policy)
        except (KeyboardInterrupt, SystemExit):
            _let_save(crew, agenda, report)
            raise
    finally:
        for worker in crew:
            worker.process.kill()
            worker.process.join()


class Agenda:
    """What is left of a sweep: runs that wait for their parents, that could start, and that are in work."""

    def __init__(self, runs: Iterable[Run]) -> None:
        """runs: the unfinished ones; parents that are not among them count as finished."""
        self._blockers: dict[Run, set[Run]] = {run: set() for run in runs}
        self._children: dict[Run, list[Run]] = defaultdict(list)
        self._ready: dict[object, dict[Run, None]] = defaultdict(dict)  # by Run.batch, in order
        self._working: set[Run] = set()
        self.elsewhere: set[Run] = set()
        self._needs = Counter(parent for run in self._blockers for parent in run.parents)
        for run, blockers in self._blockers.items():
            blockers.update(parent for parent in run.parents if parent in self._blockers)
            for parent in blockers:
                self._children[parent].append(run)
            if not blockers:
                self._ready[run.batch][run] = None

    def needed(self, run: Run) -> bool:
        """Whether something that is left grows from `run`."""
        return self._needs[run] > 0

    @property
    def left(self) -> int:
        """How many runs are neither finished nor dropped."""
        return len(self._blockers)

    @property
    def runs(self) -> tuple[Run, ...]:
        """Those runs, parents first."""
        return tuple(self._blockers)

    def take(self, workers: int) -> list[Run]:
        """The next runs to train side by side, so many that each of the workers gets its share; or none."""
        alike = next((group for group in self._ready.values() if group), {})
        share = -(-(len(alike) + len(self._working)) // workers)
        batch = list(alike)[: min(share, MOST_SIDE_BY_SIDE)]
        for run in batch:
            del alike[run]
        self._working.update(batch)
        return batch

    def postpone(self, run: Run) -> None:
        """`run` is in somebody else's work: it is neither ready nor ours."""
        self._working.discard(run)
        self.elsewhere.add(run)

    def resume(self, run: Run) -> None:
        """`run`, postponed before, may be taken again."""
        self.elsewhere.discard(run)
        self._ready[run.batch][run] = None

    def finish(self, run: Run) -> None:
        """`run` is saved: its children may start."""
        self._working.discard(run)
        self.elsewhere.discard(run)
        del self._blockers[run]
        self._needs.subtract(run.parents)
        for child in self._children.pop(run, []):
            self._blockers[child].remove(run)
            if not self._blockers[child]:
                self._ready[child.batch][child] = None

    def drop(self, run: Run) -> list[Run]:
        """`run` failed: returns it and the runs that can no longer be made, none of which is left."""
        lost, pending = [], [run]
        while pending:
            each = pending.pop()
            if each in self._blockers:
                del self._blockers[each]
                self._needs.subtract(each.parents)
                self._working.discard(each)
                self.elsewhere.discard(each)
                lost.append(each)
                pending += reversed(self._children.pop(each, []))
        return lost


@dataclass
class _Worker:
    process: BaseProcess
    pipe: "Connection[Any, Any]"
    batch: list[Run] = field(default_factory=list)


def _check(worker: _Worker, agenda: Agenda, report: Report) -> None:
    """Has a worker, which loads torch anyway, read the data and look up the names of all runs. Raises what it found."""
    worker.pipe.send(("check", agenda.runs))
    try:
        while isinstance(error := worker.pipe.recv(), Reading):
            report(error)
    except (EOFError, ConnectionError):
        raise RuntimeError("the worker process died while it started") from None
    if error:
        raise error


def _work_off(
    store: Store,
    crew: list[_Worker],
    agenda: Agenda,
    hire: Callable[[], _Worker],
    report: Report,
    policy: Policy,
) -> None:
    while agenda.left:
        for run in sorted(agenda.elsewhere, key=lambda run: run.level):
            if store.finished(run):
                _settle(Saved(run), agenda, report)
            elif (claim := store.claim(run)) is not None:  # who had it is gone
                claim.release(finished=False)
                agenda.resume(run)
        for place, worker in enumerate(crew):
            if not worker.batch and (batch := agenda.take(len(crew))):
                crew[place] = worker = worker if worker.process.is_alive() else hire()
                worker.batch = batch
                with suppress(OSError):  # if it died since, the end of its pipe says so below
                    worker.pipe.send(("work", batch))
        if not any(worker.batch for worker in crew) and not agenda.elsewhere:
            raise RuntimeError("runs are left that neither wait for a worker nor are in work")
        # An idle worker says nothing, so all that is heard from it is its end.
        for pipe in wait([worker.pipe for worker in crew], LOOK_SECONDS if agenda.elsewhere else None):
            place = next(i for i, each in enumerate(crew) if each.pipe is pipe)
            try:
                event = crew[place].pipe.recv()
            except (EOFError, OSError):
                lost, crew[place] = crew[place], hire()
                lost.process.join()
                reason = f"its process died with exit code {lost.process.exitcode}"
                for run in lost.batch:
                    _settle(Failed(run, reason), agenda, report)
                continue
            if event is None:
                crew[place].batch = []
            elif isinstance(event, Busy) and policy.skip_busy:
                _settle(Failed(event.run, "skipped: another process works on it"), agenda, report)
            elif isinstance(event, Busy):
                agenda.postpone(event.run)
                report(event)
            else:
                _settle(event, agenda, report)
                if isinstance(event, Saved) and policy.keep != "all":
                    for parent in event.run.parents:
                        unneeded = parent.level and not agenda.needed(parent)
                        if unneeded and store.finished(replace(parent, level=parent.level + 1)):
                            store.drop(parent, policy.keep)
                if isinstance(event, Failed) and policy.fail_fast:
                    raise SystemExit(3)


def _let_save(crew: list[_Worker], agenda: Agenda, report: Report) -> None:
    """Has workers save what they are at, and hears them out. Interrupted once more, it leaves at once."""
    busy = [worker for worker in crew if worker.batch]
    if busy:
        report(Stopping())
    for worker in busy:
        worker.process.terminate()
    while busy:
        for pipe in wait([worker.pipe for worker in busy]):
            worker = next(each for each in busy if each.pipe is pipe)
            try:
                event = worker.pipe.recv()
            except (EOFError, OSError):
                event = None
            if event is None:
                busy.remove(worker)
            elif not isinstance(event, Busy):
                _settle(event, agenda, report)


def _settle(event: Event, agenda: Agenda, report: Report) -> None:
    if isinstance(event, Saved):
        agenda.finish(event.run)
    if not isinstance(event, Failed):
        report(event)
        return
    for run in agenda.drop(event.run):
        report(
            event if run == event.run else Failed(run, f"needs {event.run.slug} level {event.run.level}, which failed")
        )


def _serve(
    pipe: "Connection[Any, Any]", root: str, facts: dict[str, Any], threads: int, device: str, pause: float
) -> None:
    """A worker's life: checks runs or makes them, on demand, until its caller goes."""
    ending: list[int] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the caller decides
    signal.signal(signal.SIGTERM, lambda number, _: ending.append(number))
    parent = multiprocessing.parent_process()
    Thread(target=lambda: (parent and wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    import torch

    from sddcli.recipes import prune_retrain

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # the momentum of dead units decays into numbers a hundred times slower
    store = Store(root)
    while True:
        task, runs = pipe.recv()
        try:
            place = prune_retrain.place(device)
            if task == "check":
                prune_retrain.check(runs, lambda *said: pipe.send(Reading(*said)))
            else:
                pace = prune_retrain.Pace(pause, lambda: bool(ending))
                prune_retrain.work(store, runs, facts, place, pipe.send, pace)
            pipe.send(None)
        except Exception as error:
            if task == "check":
                pipe.send(error)
                continue
            for run in runs:
                damaged = isinstance(error, StoreError)
                pipe.send(Failed(run, f"{type(error).__name__}: {error}", damaged, traceback.format_exc()))
            pipe.send(None)


def estimate(store: Store, runs: Sequence[Run]) -> Cost:
    """What `runs` will cost. Raises ValueError for words that no table knows."""
    from sddcli.recipes import prune_retrain

    prune_retrain.check_outline(runs)
    return prune_retrain.cost(store, runs)


def prune(store: Store, run: Run, facts: Mapping[str, Any], device: str) -> None:
    """Prunes one run in this process, ready to be retrained. Raises ValueError, StoreError."""
    import torch

    from sddcli.recipes import prune_retrain

    torch.set_num_threads(1)
    prune_retrain.check([run])
    prune_retrain.prune(store, run, facts, prune_retrain.place(device))


def collect(store: Store, keep: str, dry_run: bool) -> tuple[int, int]:
    """Drops what `keep` (store.KEEPS) does not keep of runs that no recorded sweep needs: how many runs, and bytes.

    Dense runs, from which other chains may grow, and the last level of a chain, which may go on, are kept. A dry
    run only counts them; the bytes are then those of the weights.
    """
    finished = [run for run, _ in store.manifests()]
    asked = [run for plan in store.plans() for table in plan["tables"] for run in unfold(table)]
    needed = {parent for run in with_parents(asked) if not store.finished(run) for parent in run.parents}
    last: dict[str, Run] = {}
    for run in finished:
        if run.level >= last.setdefault(run.chain, run).level:
            last[run.chain] = run
    runs, size = 0, 0
    for run in finished:
        if 0 < run.level < last[run.chain].level and run not in needed:
            path = store.folder(run) / "weights.safetensors"
            freed = (path.stat().st_size if path.exists() else 0) if dry_run else store.drop(run, keep)
            runs, size = runs + (freed > 0), size + freed
    return runs, size


def verify(store: Store, evaluate: bool) -> Iterator[tuple[Path, list[str]]]:
    """Each run's folder and what is wrong in it, nothing for most. See recipes.verifying."""
    import torch

    from sddcli.recipes import verifying

    torch.set_num_threads(1)
    return verifying.verified(store, evaluate)


def width(runs: Iterable[Run]) -> int:
    """How many of `runs` can be in work at once: levels of a chain follow each other."""
    chains = {run.chain if run.level else run.id: run.level for run in runs}
    pruned = sum(level > 0 for level in chains.values())
    return max(pruned, len(chains) - pruned, 1)


def judge(measure: str) -> Callable[..., dict[str, Any]]:
    """The function by which a measure of whole curves judges those of one setting."""
    from importlib import import_module

    found: Callable[..., dict[str, Any]] = import_module(f"sddcli.analyses.curves.{measure.replace('-', '_')}").judge
    return found


def analyze(store: Store, measure: str, ids: Collection[str]) -> list[str]:
    """Measures, in this process, those of the runs with these ids that were not measured yet.

    Returns a line for each run that could not be, the rest being measured all the same.
    """
    todo = [run for run, _ in store.manifests() if run.id in ids and measure not in store.measures(run)]
    if not todo:
        return []
    import torch

    from sddcli.recipes.measuring import measured

    torch.set_num_threads(1)
    failures = []
    for run in todo:
        try:
            measured(store, measure, run)
        except StoreError as error:
            failures.append(str(error))
    return failures
