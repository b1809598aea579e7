"""Worker: what a process does that makes runs for a sweep, wherever it was started."""

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from sddcli import sources
from sddcli.core.words import UsageError
from sddcli.events import Failed, Noted, Reading, Report
from sddcli.launchers import libraries, machine
from sddcli.spec import Run
from sddcli.store import Store, StoreError, reason_of


class Orders(NamedTuple):
    """What all workers of a sweep are told.

    root: of the store. facts: what manifests record besides where they were made, which a worker sees itself. threads:
    of each. pause: seconds between two times that a run in training is saved. code: the user's own code that the
    caller may run, which a worker may then, too, and the labels of files that it knows.
    """

    root: str
    facts: Mapping[str, Any]
    threads: int
    pause: float
    code: Mapping[str, bytes]


def orders_for(store: Store, runs: Sequence[Run], facts: Mapping[str, Any], threads: int, pause: float) -> Orders:
    """The orders to workers that shall make these runs, or some of them."""
    return Orders(str(store.root), dict(facts), threads, pause, sources.carried(runs))


@contextmanager
def mark(store: Store) -> Iterator[Path]:
    """A file in the runs folder, or where that will be, which other machines see if they share the folder.

    Raises UsageError where it cannot be written.
    """
    folder = next(each for each in (store.root.absolute(), *store.root.absolute().parents) if each.is_dir())
    file = folder / f".probe-{uuid4().hex}"
    try:
        file.write_bytes(b"")
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}; choose another runs folder") from None
    try:
        yield file
    finally:
        with suppress(OSError):
            file.unlink()


def check(runs: Sequence[Run], devices: Sequence[str], report: Report) -> None:
    """Reads the data and looks up all words of these runs, on each device; sets nothing of the process it runs in.

    Raises UsageError, OSError, StoreError, with the traceback as a note.
    """
    from sddcli.recipes import planning

    try:
        for device in (*devices[1:], devices[0]):  # the last one asked for is the current one
            planning.device_of(device)
        for note in planning.check(runs, lambda *progress: report(Reading(*progress))):
            report(Noted(note))
    except Exception as error:
        error.add_note(traceback.format_exc())  # no pipe takes a traceback, and --debug shows notes
        raise


class Worker:
    """A process that makes runs; it sets torch for training, and keeps what it has read for its next batch."""

    def __init__(self, orders: Orders, devices: Sequence[str], stopping: Callable[[], bool]) -> None:
        """devices: its own, then those of others, which a check asks for as well.

        stopping: whether a run in training shall be saved and left now.
        """
        sources.received(orders.code)
        libraries.say_warnings()
        machine.keep_freed_memory()
        import torch

        from sddcli.recipes.prune_retrain import Pace

        torch.set_num_threads(orders.threads)
        torch.set_flush_denormal(True)  # the momentum of dead units decays into numbers a hundred times slower
        torch.backends.cudnn.benchmark = True  # shapes stay the same for hours
        self._store, self._devices = Store(orders.root), tuple(devices)
        self._facts, self._pace = {**orders.facts, **machine.here()}, Pace(orders.pause, stopping)

    def do(self, task: str, runs: Sequence[Run], report: Report) -> None:
        """Does one of TASKS; what happens is reported. Raises the error of a check, with its traceback as a note."""
        TASKS[task](self, runs, report)

    def check(self, runs: Sequence[Run], report: Report) -> None:
        """Reads the data and looks up all words of these runs, as `check` does."""
        check(runs, self._devices, report)

    def work(self, runs: Sequence[Run], report: Report) -> None:
        """Makes these runs, a batch: what goes wrong is reported as their failure."""
        from sddcli.recipes import planning, prune_retrain

        try:
            device = planning.device_of(self._devices[0])
            prune_retrain.work(self._store, runs, self._facts, device, report, self._pace)
        except Exception as error:
            for run in runs:
                report(Failed(run, reason_of(error), isinstance(error, StoreError), traceback.format_exc()))


TASKS: dict[str, Callable[[Worker, Sequence[Run], Report], None]] = {"check": Worker.check, "work": Worker.work}
