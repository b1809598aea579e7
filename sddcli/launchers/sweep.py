"""Sweep: the loop that makes a sweep's runs, batch by batch as their parents are finished, whoever makes them.

Who makes them is a crew, which has three verbs: it is given a batch, it is heard, it is stopped. What is finished
is in the store, so a sweep can be killed at any moment.
"""

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sddcli import sources
from sddcli.events import Busy, Event, Failed, Lost, Report, Saved, Stopping
from sddcli.launchers.agenda import Agenda
from sddcli.spec import Run
from sddcli.store import Store

LOOK_SECONDS = 0.5
"""Between two looks at runs that another process works on."""


@dataclass(frozen=True)
class Policy:
    """How often a sweep saves runs in training, and what it does about failed, busy and unneeded runs.

    skip_busy: runs that another process has are left to it, and not waited for. plan: the command and the tables
    that were asked for, to be recorded once they are known to be sound. keep: one of store.KEEPS, what is kept of
    levels that nothing in this sweep needs any more. sweeps: how many share these runs, each of which takes its share.
    """

    checkpoint_seconds: float = 60.0
    retry_failed: bool = False
    fail_fast: bool = False
    skip_busy: bool = False
    plan: tuple[str, Sequence[Mapping[str, Any]]] | None = None
    keep: str = "all"
    sweeps: int = 1


USUAL = Policy()


class Crew(Protocol):
    """Those who make runs."""

    @property
    def idle(self) -> int:
        """How many batches they could be given now."""

    @property
    def busy(self) -> int:
        """How many batches they have."""

    def give(self, task: str, runs: Sequence[Run]) -> None:
        """Has one who is idle make these runs (task "work"), or look whether all of them can be made ("check")."""

    def hear(self, seconds: float | None) -> Iterator[Event]:
        """What they have said since, waiting so long for the first word, None for ever; an event is heard once.

        Raises the error that a check ends with. Runs whose maker died are heard of as failed.
        """

    def stop(self) -> None:
        """Has them save the runs in training; they are idle when that is done."""


class Maker(Protocol):
    """One of a crew. task: what it has to do, "" while it is idle; left: the runs of its batch with no end heard."""

    task: str
    left: list[Run]


def noted(maker: Maker, letter: Event | Exception | None) -> Iterator[Event]:
    """The event that a maker sent, after taking note of it; None, with which each batch ends, is no event.

    Raises the error that a check ended with.
    """
    if isinstance(letter, Exception):
        raise letter
    if letter is None:
        maker.task, maker.left = "", []
        return
    if isinstance(letter, (Saved, Failed, Busy)) and letter.run in maker.left:
        maker.left.remove(letter.run)
    yield letter


Hire = Callable[[Sequence[Run]], AbstractContextManager[Crew]]
"""Who makes these runs, parents first; at its end nobody of the crew is left."""


def sweep(store: Store, runs: Sequence[Run], hire: Hire, most: int, report: Report, policy: Policy = USUAL) -> None:
    """Finishes `runs`, unfinished and parents first; parents that are not among them are in the store.

    most: runs in a batch. Each event is reported as it comes. A failed run is reported with all that grows from it,
    and the rest goes on. Raises UsageError for words that no table knows, before anything is written, StoreError
    where the folder cannot be written to, SystemExit with code 3 where the first failure shall end it.
    """
    agenda = Agenda(runs, most)
    for run in agenda.runs:
        if policy.retry_failed:
            store.forget_failure(run)
        elif failure := store.failure(run):
            reason = f"{failure['reason']} (it failed before: --retry-failed tries it again)"
            _settle(Failed(run, reason, trace=failure["trace"]), agenda, report)
    if not agenda.left:
        return
    with hire(agenda.runs) as crew:
        crew.give("check", agenda.runs)
        while crew.busy:
            for event in crew.hear(None):
                report(event)
        store.prepare()
        sources.keep(store, agenda.runs)
        if policy.plan:
            store.save_plan(*policy.plan)
        try:
            _work_off(store, crew, agenda, report, policy)
        except (KeyboardInterrupt, SystemExit):
            _let_save(crew, agenda, report)
            raise


def _work_off(store: Store, crew: Crew, agenda: Agenda, report: Report, policy: Policy) -> None:
    while agenda.left:
        _look_elsewhere(store, agenda, report)
        if not agenda.left:  # the last ones were finished by another
            return
        while crew.idle and (batch := agenda.take(policy.sweeps * (crew.idle + crew.busy))):
            crew.give("work", batch)
        if crew.idle and not crew.busy and not agenda.elsewhere:
            raise RuntimeError("runs are left that neither wait for a worker nor are in work")
        for event in crew.hear(LOOK_SECONDS if agenda.elsewhere else None):
            if isinstance(event, Busy) and not policy.skip_busy:
                agenda.postpone(event.run)
                report(event)
                continue
            if isinstance(event, Lost):
                agenda.resume(event.run)
                continue
            if isinstance(event, Busy):
                event = Failed(event.run, "skipped: another process works on it")
            _settle(event, agenda, report)
            if isinstance(event, Saved):
                _drop_unneeded(store, event.run, agenda, policy.keep)
            if isinstance(event, Failed) and policy.fail_fast:
                raise SystemExit(3)


def _look_elsewhere(store: Store, agenda: Agenda, report: Report) -> None:
    """Takes note of runs that another process has finished meanwhile, or left."""
    for run in sorted(agenda.elsewhere, key=lambda run: run.level):
        if store.finished(run):
            _settle(Saved(run), agenda, report)
        elif (claim := store.claim(run)) is not None:  # who had it is gone
            claim.release(finished=False)
            agenda.resume(run)


def _drop_unneeded(store: Store, run: Run, agenda: Agenda, keep: str) -> None:
    """Drops what `keep` does not keep of the levels that `run`, just finished, was the last to need."""
    for parent in run.parents if keep != "all" else ():
        unneeded = parent.level and not agenda.needed(parent)
        if unneeded and store.finished(replace(parent, level=parent.level + 1)):
            store.drop(parent, keep)


def _let_save(crew: Crew, agenda: Agenda, report: Report) -> None:
    """Has the crew save the runs in training, and takes its last events. Interrupted once more, it ends at once."""
    again = list[int]()

    def once_more(number: int, _: object) -> None:
        again.append(number)  # an exception may be lost where it strikes: in a destructor, for one
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, once_more)
    if crew.busy:
        report(Stopping())
    crew.stop()
    while crew.busy:
        if again:
            raise KeyboardInterrupt
        for event in crew.hear(LOOK_SECONDS):
            if not isinstance(event, (Busy, Lost)):
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
