"""Ray: actors of a Ray cluster make a sweep's runs, in a runs folder that all its nodes see.

Ray decides where they are and notices when they are lost; which runs they make is decided here, by the loop that all
sweeps share.
"""

import os
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from sddcli.core.words import UsageError
from sddcli.events import Event, Failed, Lost, Noted, Report
from sddcli.launchers import machine
from sddcli.launchers import sweep as sweeping
from sddcli.launchers.agenda import width
from sddcli.launchers.sweep import USUAL, Policy
from sddcli.launchers.worker import Orders, Worker, mark, orders_for
from sddcli.spec import Run
from sddcli.store import Store

TRIES = 4
"""How often a run is begun whose maker is lost each time."""
PATIENCE = 300.0
"""Seconds within which a cluster must answer and start its first worker."""
STOP_SECONDS = 60.0
"""Seconds within which it must take notice of a stop."""
SILENCE = 20.0
"""Seconds after which the user is told what is waited for: a busy node takes minutes to import torch."""
ASK_SECONDS = 1.0
"""Between two questions of a worker whether it shall stop."""


class Cluster(NamedTuple):
    """Which cluster, and what each worker takes of it: address "" is one started here, "auto" the one that runs here.

    workers: at most so many, 0 for as many as there is room for; gpus: may be a share of one, 0 for none, and None
    for one where the cluster has any.
    """

    address: str = ""
    workers: int = 0
    gpus: float | None = None
    threads: int = 1


def sweep(
    store: Store,
    runs: Sequence[Run],
    facts: Mapping[str, Any],
    cluster: Cluster,
    report: Report,
    policy: Policy = USUAL,
) -> None:
    """Finishes `runs` by actors of a cluster: see sweep.sweep.

    facts: what each manifest shall record beside its numbers and where it was made. Raises as sweep.sweep does, and
    UsageError where Ray is not installed, or the cluster does not answer, has no room, or a node of it does not see
    the runs folder or has another sdd.
    """
    ray = connected(cluster.address)
    try:
        gpus, capacity = _room(ray, cluster)
        _look_at_nodes(ray, store, gpus, cluster.threads, report)
        orders = orders_for(store, runs, facts, cluster.threads, policy.checkpoint_seconds)
        orders = orders._replace(root=str(store.root.absolute()))

        @contextmanager
        def hire(runs: Sequence[Run]) -> Iterator[Actors]:
            crew = Actors(ray, min(cluster.workers or capacity, capacity, width(runs)), gpus, orders)
            try:
                crew.wait(report)
                yield crew
            finally:
                crew.end()

        most = machine.most_side_by_side("cuda" if gpus else "cpu")
        sweeping.sweep(store, runs, hire, most, report, policy)
    finally:
        ray.shutdown()


def room(cluster: Cluster) -> tuple[float, int]:
    """The GPUs that each worker takes, and how many workers there would be. Raises UsageError as `sweep` does."""
    if cluster.address:
        ray = connected(cluster.address)
        try:
            gpus, capacity = _room(ray, cluster)
        finally:
            ray.shutdown()
    else:  # one would be started here
        gpus = float(machine.gpus() > 0) if cluster.gpus is None else cluster.gpus
        capacity = max(1, min(machine.cores() // cluster.threads, int(machine.gpus() / gpus) if gpus else 1 << 30))
    return gpus, min(cluster.workers or capacity, capacity)


def connected(address: str) -> Any:
    """The module ray, connected to the cluster at an address. Raises UsageError where it is not installed or there."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reads these when it is imported
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    if not address:
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # a cluster of our own, which ends with us
    _must_answer(address)
    try:
        ray: Any = import_module("ray")
    except ModuleNotFoundError:
        raise UsageError("--on ray needs Ray, which is not installed: pip install 'sddcli[ray]'") from None
    machine.use_safe_path()
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(**(quiet | ({"address": address} if address else {"include_dashboard": False})))
    except (ConnectionError, ValueError, RuntimeError) as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(f"no Ray cluster answers at {address or 'this machine'}: {why}") from None
    return ray


def _must_answer(address: str) -> None:
    """Raises UsageError where nothing listens at HOST:PORT, for which Ray itself would wait more than a minute."""
    if address in ("", "auto"):
        return
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        raise UsageError(f"--address takes auto or HOST:PORT of a cluster's head, as `ray start` says; got {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"no Ray cluster answers at {address} ({reason}); `ray status` shows what runs") from None


def _room(ray: Any, cluster: Cluster) -> tuple[float, int]:
    """The GPUs that each worker takes, and how many workers the living nodes have room for. Raises UsageError."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    total = sum(node.get("GPU", 0) for node in nodes)
    gpus = float(total > 0) if cluster.gpus is None else cluster.gpus
    capacity = sum(
        int(min(node.get("CPU", 0) // cluster.threads, node.get("GPU", 0) / gpus + 1e-9 if gpus else 1e9))
        for node in nodes
    )
    if not capacity:
        cores = sum(node.get("CPU", 0) for node in nodes)
        asked = f"{cluster.threads} core{'s' * (cluster.threads > 1)}" + (f" and {gpus:g} GPUs" if gpus else "")
        raise UsageError(f"no node of the cluster has {asked} for a worker; all have {cores:g} cores, {total:g} GPUs")
    return gpus, capacity


def _answered_in_time(ray: Any, questions: Sequence[Any], least: int, what: str, report: Report) -> list[Any]:
    """Which of these questions to a cluster are answered, `least` of them or more. Raises UsageError after PATIENCE."""
    done, _ = ray.wait(questions, num_returns=least, timeout=SILENCE)
    if len(done) < least:
        report(Noted(f"{what} yet: waiting up to {PATIENCE:.0f} s; `ray status` shows what its nodes do"))
        done, _ = ray.wait(questions, num_returns=least, timeout=PATIENCE - SILENCE)
    if len(done) < least:
        raise UsageError(f"{what} within {PATIENCE:.0f} s; `ray status` shows what its nodes do")
    return list(done)


def _look_at_nodes(ray: Any, store: Store, gpus: float, threads: int, report: Report) -> None:
    """Raises UsageError where a node that may work does not see the runs folder, or has no sdd or another one."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as At

    able = [
        node
        for node in ray.nodes()
        if node["Alive"]
        and node["Resources"].get("CPU", 0) >= threads
        and node["Resources"].get("GPU", 0) >= min(gpus, 1)
    ]
    look = ray.remote(num_cpus=0, max_retries=0)(_seen)
    try:
        with mark(store) as file:
            there = [At(node["NodeID"], soft=False) for node in able]
            asked = [look.options(scheduling_strategy=at).remote(str(file)) for at in there]
            _answered_in_time(ray, asked, len(asked), "the nodes of the cluster have not answered", report)
            answers = ray.get(asked)
    except ray.exceptions.RayError as error:
        if "No module named 'sddcli'" in str(error):
            what = f"sdd {machine.release()} is to be installed on every node"
            raise UsageError(f"a node of the cluster has no sdd: {what}, for {sys.executable} or like it") from None
        raise
    for host, sees, engine in answers:
        if not sees:
            raise UsageError(f"node {host} does not see {file.parent}: --runs must be a folder that all nodes share")
        if engine != machine.engine():
            raise UsageError(
                f"node {host} has another sdd (engine {engine}, here {machine.engine()}): install the same"
            )


def _seen(file: str) -> tuple[str, bool, str]:
    """Of a node: its host, whether it sees a file, its engine."""
    return socket.gethostname(), Path(file).exists(), machine.engine()


class Mailbox:
    """An actor beside the sweep: workers put letters into it, (number of the worker, what happened)."""

    def __init__(self) -> None:
        import asyncio

        self._letters: asyncio.Queue[Any] = asyncio.Queue()
        self._stopping = False

    async def put(self, letter: tuple[int, Any]) -> None:
        """Takes in a letter, in the order of its sender."""
        self._letters.put_nowait(letter)

    async def take(self) -> list[tuple[int, Any]]:
        """All letters that are there, at least one, for which it waits."""
        letters = [await self._letters.get()]
        while not self._letters.empty():
            letters.append(self._letters.get_nowait())
        return letters

    async def stop(self) -> None:
        """From now on workers hear that they shall stop."""
        self._stopping = True

    async def stopping(self) -> bool:
        """Whether workers shall stop."""
        return self._stopping


class Maker:
    """An actor that makes runs, where the cluster has room for it."""

    def __init__(self, mailbox: Any, number: int, orders: Orders, device: str, surroundings: Mapping[str, str]) -> None:
        os.environ.update(surroundings)
        self._mailbox, self._number = mailbox, number
        self._worker = Worker(orders, [device], _now_and_then(self._asked_to_stop))

    def ready(self) -> None:
        """Answers once it is started."""

    def do(self, task: str, runs: Sequence[Run]) -> None:
        """Does a task of a worker; its events, the error of a check and None as the last are put into the mailbox."""
        try:
            self._worker.do(task, runs, self._say)
        except UsageError as error:  # what is wrong may be the node: another may have the device, or the module
            error.args = (f"{error} (on node {socket.gethostname()})",)
            self._say(error)
        except Exception as error:
            self._say(error)
        self._say(None)

    def _say(self, letter: Any) -> None:
        ray: Any = import_module("ray")
        sent = self._mailbox.put.remote((self._number, letter))
        if not isinstance(letter, Event):  # the end: it is known to be heard before this call ends
            ray.get(sent)

    def _asked_to_stop(self) -> bool:
        ray: Any = import_module("ray")
        return bool(ray.get(self._mailbox.stopping.remote()))


def _now_and_then(ask: Callable[[], bool]) -> Callable[[], bool]:
    """`ask`, asked once a second at most; until then its last answer stands."""
    asked, answer = -ASK_SECONDS, False

    def last_answer() -> bool:
        nonlocal asked, answer
        if not answer and monotonic() - asked >= ASK_SECONDS:
            asked, answer = monotonic(), ask()
        return answer

    return last_answer


@dataclass
class _Hired:
    """An actor, what it was asked last and has not answered, and the runs of its batch of which no end was heard."""

    actor: Any
    answer: Any
    task: str = "start"
    left: list[Run] = field(default_factory=list)


class Actors:
    """A crew (see sweep.Crew) of actors; one that is lost is replaced as soon as there is room for another."""

    def __init__(self, ray: Any, size: int, gpus: float, orders: Orders) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as At

        self._ray, self._gpus, self._orders = ray, gpus, orders
        beside = At(ray.get_runtime_context().get_node_id(), soft=False)  # it is lost with the sweep alone
        self._mailbox = ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=beside).remote()
        self._letters = self._mailbox.take.remote()
        self._hired, self._next, self._losses, self._stopping = dict[int, _Hired](), 0, Counter[Run](), False
        for _ in range(size):
            self._hire()

    @property
    def idle(self) -> int:
        """How many of them are started and have nothing to do."""
        return sum(not each.task for each in self._hired.values())

    @property
    def busy(self) -> int:
        """How many of them have a batch."""
        return sum(each.task in ("check", "work") for each in self._hired.values())

    def wait(self, report: Report) -> None:
        """Returns when the first is started. Raises UsageError where none is in time, or it cannot be."""
        starting = [each.answer for each in self._hired.values()]
        started = _answered_in_time(self._ray, starting, 1, "the cluster has started no worker", report)
        try:
            self._ray.get(started)
        except self._ray.exceptions.RayError as error:
            raise UsageError(f"a worker of the cluster cannot start: {str(error).strip().splitlines()[-1]}") from None
        self._note_answers(started)

    def give(self, task: str, runs: Sequence[Run]) -> None:
        """Calls the first who is idle."""
        hired = next(each for each in self._hired.values() if not each.task)
        hired.task, hired.left = task, list(runs)
        hired.answer = hired.actor.do.remote(task, list(runs))

    def hear(self, seconds: float | None) -> Iterator[Event]:
        """The letters of all, and who was lost. Raises the error of a check, RuntimeError where its maker is lost."""
        waited = {each.answer: number for number, each in self._hired.items() if each.answer is not None}
        done, _ = self._ray.wait([self._letters, *waited], timeout=seconds)
        if self._letters in done:
            letters, self._letters = self._ray.get(self._letters), self._mailbox.take.remote()
            for number, letter in letters:
                yield from self._read(number, letter)
        for answer in done:
            if answer in waited and waited[answer] in self._hired:
                yield from self._answered(waited[answer], answer)

    def stop(self) -> None:
        """Has those at work save where they are, which they ask for once a second."""
        self._stopping = True
        self._ray.get(self._mailbox.stop.remote(), timeout=STOP_SECONDS)

    def end(self) -> None:
        """Ends them all."""
        for actor in (*(each.actor for each in self._hired.values()), self._mailbox):
            self._ray.kill(actor)

    def _hire(self) -> None:
        self._next += 1
        named = {name: value for name in ("SDD_DATA", "MKL_CBWR") if (value := os.environ.get(name))}
        device = "cuda" if self._gpus else "cpu"
        options = {"num_cpus": self._orders.threads, "num_gpus": self._gpus, "max_restarts": 0}
        actor = (
            self._ray.remote(Maker).options(**options).remote(self._mailbox, self._next, self._orders, device, named)
        )
        self._hired[self._next] = _Hired(actor, actor.ready.remote())

    def _read(self, number: int, letter: Any) -> Iterator[Event]:
        if number in self._hired:  # else it was lost, and its runs are others' by now
            yield from sweeping.noted(self._hired[number], letter)

    def _note_answers(self, answers: Sequence[Any]) -> None:
        for hired in self._hired.values():
            if hired.answer in answers:
                hired.answer = None
                hired.task = "" if hired.task == "start" else hired.task

    def _answered(self, number: int, answer: Any) -> Iterator[Event]:
        """Takes note that a call ended, or that its actor was lost: then its runs wait again, or failed too often."""
        try:
            self._ray.get(answer)
            self._note_answers([answer])
            return
        except self._ray.exceptions.RayError as error:
            why = type(error).__name__
        lost = self._hired.pop(number)
        if self._stopping:
            return
        if lost.task == "check":
            raise RuntimeError(f"the worker was lost while it looked at the sweep ({why})")
        self._hire()
        if lost.left:
            yield Noted(f"a worker was lost ({why}): its runs go on elsewhere")
        self._losses.update(lost.left)
        for run in lost.left:
            often = self._losses[run] >= TRIES
            yield Failed(run, f"each of the {TRIES} workers that began it was lost ({why})") if often else Lost(run)
