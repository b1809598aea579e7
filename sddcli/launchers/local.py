"""Local: worker processes of this machine make a sweep's runs.

The calling process loads no torch: it plans and reports while the workers compute. A worker whose caller
dies ends too.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any

from sddcli.events import Event, Failed, Report
from sddcli.launchers import machine
from sddcli.launchers import sweep as sweeping
from sddcli.launchers.agenda import width
from sddcli.launchers.sweep import USUAL, Policy
from sddcli.launchers.worker import Orders, Worker, orders_for
from sddcli.spec import Run
from sddcli.store import Store


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
    """Finishes `runs` by worker processes, spread over the devices that `device` means: see sweep.sweep.

    facts: what each manifest shall record beside its numbers and where it was made. Raises as sweep.sweep does.
    """

    @contextmanager
    def hire(runs: Sequence[Run]) -> Iterator[Workers]:
        orders = orders_for(store, runs, facts, threads, policy.checkpoint_seconds)
        crew = Workers(min(workers, width(runs)), machine.devices(device), orders)
        try:
            yield crew
        finally:
            crew.end()

    machine.use_safe_path()
    sweeping.sweep(store, runs, hire, machine.most_side_by_side(device), report, policy)


@dataclass
class _Worker:
    """task: what it has to do, "" while it is idle; left: the runs of its batch of which no end was heard."""

    process: BaseProcess
    pipe: "Connection[Any, Any]"
    task: str = ""
    left: list[Run] = field(default_factory=list)


class Workers:
    """A crew (see sweep.Crew) of processes, each at the end of a pipe and at a device of its own as far as they go."""

    def __init__(self, size: int, devices: Sequence[str], orders: Orders) -> None:
        """size: how many. orders: what each process has to know when it starts."""
        self._devices, self._orders, self._stopping = tuple(devices), orders, False
        self._context = multiprocessing.get_context("spawn")
        self._workers = [self._hired(number) for number in range(size)]

    @property
    def idle(self) -> int:
        """How many of them have nothing to do."""
        return len(self._workers) - self.busy

    @property
    def busy(self) -> int:
        """How many of them have a task."""
        return sum(bool(worker.task) for worker in self._workers)

    def give(self, task: str, runs: Sequence[Run]) -> None:
        """Sends a task to the first who is idle, or to a new one in the place of who died meanwhile."""
        number = next(k for k, worker in enumerate(self._workers) if not worker.task)
        if not self._workers[number].process.is_alive():
            self._workers[number] = self._hired(number)
        worker = self._workers[number]
        worker.task, worker.left = task, list(runs)
        with suppress(OSError):  # it has died since, which is seen at its pipe when it is heard
            worker.pipe.send((task, runs))

    def hear(self, seconds: float | None) -> Iterator[Event]:
        """What each that has something to say says next. Raises the error of a check, RuntimeError where it died."""
        # An idle worker sends nothing: if its pipe is ready, it has died.
        pipes = [worker.pipe for worker in self._workers if worker.task or not self._stopping]
        for pipe in wait(pipes, seconds):
            number = next(k for k, worker in enumerate(self._workers) if worker.pipe is pipe)
            worker = self._workers[number]
            try:
                letter = worker.pipe.recv()
            except (EOFError, OSError):
                yield from self._replaced(number)
                continue
            yield from sweeping.noted(worker, letter)

    def stop(self) -> None:
        """Has those at work save where they are."""
        self._stopping = True
        for worker in self._workers:
            if worker.task:
                worker.process.terminate()

    def end(self) -> None:
        """Kills them all."""
        for worker in self._workers:
            worker.process.kill()
            worker.process.join()

    def _replaced(self, number: int) -> Iterator[Failed]:
        """Hires another worker for one that died, whose runs failed; who dies while it is stopped only ends."""
        lost = self._workers[number]
        if self._stopping:
            lost.task = ""
            return
        if lost.task == "check":
            raise RuntimeError("the worker process died while it started")
        self._workers[number] = self._hired(number)
        lost.process.join()
        reason = f"its process died with exit code {lost.process.exitcode}"
        for run in lost.left:
            yield Failed(run, reason)

    def _hired(self, number: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        own = number % len(self._devices)  # first, as its own: a check looks at the others too
        devices = (*self._devices[own:], *self._devices[:own])
        process = self._context.Process(target=_serve, args=(theirs, devices, self._orders), daemon=True)
        # A child is not interrupted while it loads its libraries: Ctrl-C reaches the whole group, the caller decides.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        return _Worker(process, ours)


def _serve(pipe: "Connection[Any, Any]", devices: Sequence[str], orders: Orders) -> None:
    """What a worker process does: it checks or makes the runs that it is sent, until its caller ends."""
    ending: list[int] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the caller decides
    signal.signal(signal.SIGTERM, lambda number, _: ending.append(number))
    parent = multiprocessing.parent_process()
    Thread(target=lambda: (parent and wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    worker = Worker(orders, devices, lambda: bool(ending))
    while True:
        task, runs = pipe.recv()
        try:
            worker.do(task, runs, pipe.send)
            pipe.send(None)
        except Exception as error:  # of a check
            pipe.send(error)
