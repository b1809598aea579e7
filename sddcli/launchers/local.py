"""Local: a sweep's runs on worker processes of this machine, batch by batch as their parents are finished.

The calling process loads no torch: it plans and reports while the workers compute. A worker whose caller
dies ends too, and what is finished is in the store, so a sweep can be killed at any moment.
"""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any

from sddcli import sources
from sddcli.core import own
from sddcli.events import Busy, Event, Failed, Noted, Reading, Report, Saved, Stopping
from sddcli.launchers import libraries, machine
from sddcli.launchers.agenda import Agenda, width
from sddcli.spec import Run
from sddcli.store import Store, StoreError, reason_of

LOOK_SECONDS = 0.5
"""Between two looks at runs that another process works on."""


@dataclass(frozen=True)
class Policy:
    """How often a sweep saves runs in training, and what it does about failed, busy and unneeded runs.

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
    run is reported with all that grows from it, and the rest goes on. Raises UsageError for words that no
    table knows, before anything is written, and StoreError where the folder cannot be written to.
    """
    agenda = Agenda(runs, machine.most_side_by_side(device))
    for run in agenda.runs:
        if policy.retry_failed:
            store.forget_failure(run)
        elif failure := store.failure(run):
            reason = f"{failure['reason']} (it failed before: --retry-failed tries it again)"
            _settle(Failed(run, reason, trace=failure["trace"]), agenda, report)
    if not agenda.left:
        return
    code = {key: own.SOURCES[key] for key in sources.of_runs(agenda.runs) if key in own.SOURCES}

    def hire() -> _Worker:
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve,
            args=(theirs, store.root, dict(facts), threads, device, policy.checkpoint_seconds, code),
            daemon=True,
        )
        # A child is not interrupted while it loads its libraries: Ctrl-C reaches the whole group, the caller decides.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        return _Worker(process, ours)

    machine.use_safe_path()
    context = multiprocessing.get_context("spawn")
    crew = [hire() for _ in range(min(workers, width(agenda.runs)))]
    try:
        _check(crew[0], agenda, report)
        store.prepare()
        sources.keep(store, agenda.runs)
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


@dataclass
class _Worker:
    """batch: the runs it was sent, until it has done them all; elsewhere: those of them that another process makes."""

    process: BaseProcess
    pipe: "Connection[Any, Any]"
    batch: list[Run] = field(default_factory=list)
    elsewhere: set[Run] = field(default_factory=set)


def _check(worker: _Worker, agenda: Agenda, report: Report) -> None:
    """Has a worker, which loads torch anyway, read the data and look up the names of all runs.

    Raises the error that it sends, RuntimeError where it dies.
    """
    worker.pipe.send(("check", agenda.runs))
    try:
        while isinstance(error := worker.pipe.recv(), (Reading, Noted)):
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
        if not agenda.left:  # the last ones were finished by another
            return
        for number, worker in enumerate(crew):
            if not worker.batch and (batch := agenda.take(len(crew))):
                crew[number] = worker = worker if worker.process.is_alive() else hire()
                worker.batch, worker.elsewhere = batch, set()
                with suppress(OSError):  # it has died since, which is seen at its pipe below
                    worker.pipe.send(("work", batch))
        if not any(worker.batch for worker in crew) and not agenda.elsewhere:
            raise RuntimeError("runs are left that neither wait for a worker nor are in work")
        # An idle worker sends nothing: if its pipe is ready, the worker has died.
        for pipe in wait([worker.pipe for worker in crew], LOOK_SECONDS if agenda.elsewhere else None):
            number = next(i for i, each in enumerate(crew) if each.pipe is pipe)
            try:
                event = crew[number].pipe.recv()
            except (EOFError, OSError):
                lost, crew[number] = crew[number], hire()
                lost.process.join()
                reason = f"its process died with exit code {lost.process.exitcode}"
                for run in lost.batch:
                    if run not in lost.elsewhere:
                        _settle(Failed(run, reason), agenda, report)
                continue
            if event is None:
                crew[number].batch = []
            elif isinstance(event, Busy) and policy.skip_busy:
                _settle(Failed(event.run, "skipped: another process works on it"), agenda, report)
            elif isinstance(event, Busy):
                agenda.postpone(event.run)
                crew[number].elsewhere.add(event.run)
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
    """Has workers save the runs in training, and takes their last events. Interrupted once more, it ends at once."""
    busy = [worker for worker in crew if worker.batch]
    again = list[int]()

    def once_more(number: int, _: object) -> None:
        again.append(number)  # an exception may be lost where it strikes: in a destructor, for one
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, once_more)
    if busy:
        report(Stopping())
    for worker in busy:
        worker.process.terminate()
    while busy:
        if again:
            raise KeyboardInterrupt
        for pipe in wait([worker.pipe for worker in busy], LOOK_SECONDS):
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
        report(event if run == event.run else Failed(run, f"needs {_relative(run, event.run)}, which failed"))


def _relative(run: Run, above: Run) -> str:
    """The run `above`, which `run` grows from, by what tells it from `run`: most of its settings are the same."""
    if not above.level:
        return "the dense network"
    return f"level {above.level}" + (f" of {above.retraining}" if above.retraining != run.retraining else "")


def _serve(
    pipe: "Connection[Any, Any]",
    root: str,
    facts: dict[str, Any],
    threads: int,
    device: str,
    pause: float,
    code: Mapping[str, bytes],
) -> None:
    """What a worker process does: it checks or makes the runs that it is sent, until its caller ends.

    code: the user's own code that its caller may run, which it may then, too.
    """
    own.SOURCES.update(code)
    ending: list[int] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the caller decides
    signal.signal(signal.SIGTERM, lambda number, _: ending.append(number))
    parent = multiprocessing.parent_process()
    Thread(target=lambda: (parent and wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    libraries.say_warnings()
    import torch

    from sddcli.recipes import prune_retrain

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # the momentum of dead units decays into numbers a hundred times slower
    torch.backends.cudnn.benchmark = True  # shapes stay the same for hours
    store = Store(root)
    while True:
        task, runs = pipe.recv()
        try:
            device_here = prune_retrain.device_of(device)
            if task == "check":
                for note in prune_retrain.check(runs, lambda *progress: pipe.send(Reading(*progress))):
                    pipe.send(Noted(note))
            else:
                pace = prune_retrain.Pace(pause, lambda: bool(ending))
                prune_retrain.work(store, runs, facts, device_here, pipe.send, pace)
            pipe.send(None)
        except Exception as error:
            if task == "check":
                error.add_note(traceback.format_exc())  # a pipe takes no traceback, and --debug shows notes
                pipe.send(error)
                continue
            for run in runs:
                damaged = isinstance(error, StoreError)
                pipe.send(Failed(run, reason_of(error), damaged, traceback.format_exc()))
            pipe.send(None)
