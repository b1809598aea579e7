"""Progress: what a sweep is doing, live on a terminal, as a plain line now and then elsewhere. To stderr."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean
from time import monotonic
from typing import TYPE_CHECKING

from sddcli.events import Advanced, Busy, Event, Failed, Noted, Reading, Report, Saved, Stopping
from sddcli.spec import Run, differing, named

if TYPE_CHECKING:  # a help text shall not wait for what draws bars
    from rich.console import Console, Group

PLAIN_SECONDS = 5.0


@dataclass
class Display:
    """Follows the events of a sweep of `runs`, the unfinished ones. A context manager; call it with events.

    family: all runs of the sweep, finished ones too: a run is named by what tells it from them. listeners: who hears
    of each event, too.
    """

    runs: Sequence[Run]
    console: "Console"
    failures: list[Failed] = field(default_factory=list)
    family: Sequence[Run] = ()
    listeners: Sequence[Report] = ()

    def __post_init__(self) -> None:
        from rich.live import Live

        self._work, self._before, self._total = 0.0, 0.0, sum(map(_length, self.runs))
        self._trained: dict[Run, float] = {}
        self._saved, self._began, self._spoken = 0, monotonic(), monotonic()
        self._active: dict[Run, Advanced] = {}  # the latest event of each batch in work, by its first run
        self._metrics: dict[Run, Mapping[str, float]] = {}
        self._reading = "starting workers ..."
        self._notes: set[str] = set()
        self._differing = differing([*self.family, *self.runs])
        self._alive = self.console.is_terminal and not self.console.is_dumb_terminal
        self._live = Live(console=self.console, get_renderable=self._view, refresh_per_second=8, transient=True)

    def more(self, runs: Sequence[Run]) -> None:
        """So many more runs are to be made."""
        self.runs = [*self.runs, *runs]
        self._total += sum(map(_length, runs))
        self._differing = differing([*self.family, *self.runs])

    def named(self, run: Run) -> str:
        """A run in words, with what tells it from the others of its sweep."""
        return named(run, self._differing)

    def __enter__(self) -> "Display":
        if self._alive:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live.is_started:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Takes in one event."""
        for listener in self.listeners:
            listener(event)
        if isinstance(event, Reading):
            self._reading = f"{event.what}: {event.done / max(event.total, 1):.0%}"
            if not self._alive and (monotonic() - self._spoken > PLAIN_SECONDS or event.done >= event.total):
                self._spoken = monotonic()
                self.console.print(self._reading, soft_wrap=True)
        elif isinstance(event, Noted):
            if event.sentence not in self._notes:  # a sweep whose levels are chosen as it goes reads its data again
                self._notes.add(event.sentence)
                self.console.print(event.sentence, soft_wrap=True, markup=False, highlight=False)
        elif isinstance(event, Advanced):
            for run in event.runs:  # one that is gone on with starts in the middle, one without memory again
                now = _length(run) * event.epoch / event.epochs
                if run not in self._trained:
                    self._before += now - _length(run) / event.epochs
                self._work += now - self._trained.get(run, 0)
                self._trained[run] = now
            self._active[event.runs[0]] = event
            self._metrics.update(zip(event.runs, event.metrics or (), strict=False))
        elif isinstance(event, Busy):
            self._reading = "waiting for another process"
        elif isinstance(event, Stopping):
            self.console.print("saving unfinished runs; press Ctrl-C again to quit at once", soft_wrap=True)
        elif isinstance(event, Saved):
            self._saved += 1
            self._work += _length(event.run) - self._trained.pop(event.run, 0)  # what it was rewound by
            self._active.pop(event.run, None)
            self._say(event.run)
            self._metrics.pop(event.run, None)
        elif isinstance(event, Failed):
            self.failures.append(event)
            self._active.pop(event.run, None)
            self._total -= _length(event.run)

    def _say(self, run: Run) -> None:
        now = monotonic()
        due = now - self._spoken > PLAIN_SECONDS or self._saved == len(self.runs)
        if due and not self._alive:
            self._spoken = now
            done = f"{self._saved}/{len(self.runs)} runs, {spoken_time(now - self._began)}, {self._left()} left"
            self.console.print(f"{done}; {self.named(run)}: {self._accuracy([run])}", soft_wrap=True)

    def _left(self) -> str:
        here = self._work - self._before  # what was trained before this sweep was started anew says nothing of its pace
        if here <= 0:
            return "?"
        return spoken_time((monotonic() - self._began) * (self._total - self._work) / here)

    def _chains(self, runs: Sequence[Run]) -> str:
        """The chains of a batch, by the fields that tell the sweep's chains apart, e.g. "noise 0.2,0.4 seed 0"."""
        return " ".join(f"{name} {_values(runs, name)}" for name in self._differing) or runs[0].slug

    def _accuracy(self, runs: Sequence[Run]) -> str:
        # One look-up each: the display refreshes from a thread of its own.
        known = [row for run in runs if (row := self._metrics.get(run))]
        names = ("train_accuracy", "test_accuracy") if known else ()
        return "  ".join(f"{name.split('_')[0]} {mean(row[name] for row in known):.1%}" for name in names)

    def _view(self) -> "Group":
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        elapsed = spoken_time(monotonic() - self._began)
        head = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=max(self._total, 1), completed=self._work, width=30)
        share = f"{self._work / max(self._total, 1):.0%}"  # a bar without colour tells nothing
        head.add_row(bar, share, f"{self._saved}/{len(self.runs)} runs", f"{elapsed}, {self._left()} left")
        body = Table.grid(padding=(0, 2))
        body.add_column(max_width=30, no_wrap=True)
        for run, event in list(self._active.items()):
            level = f"level {run.level}" if run.level else "dense"
            epoch = f"epoch {event.epoch}/{event.epochs}"
            body.add_row(Text(self._chains(event.runs), overflow="ellipsis"), level, epoch, self._accuracy(event.runs))
        starting = Text(self._reading, style="dim")
        return Group(head, body if self._active or self._saved else starting)


def _length(run: Run) -> int:
    """Of a training, in steps where its length is given in steps, else in epochs."""
    return run.steps or run.epochs


def _values(runs: Sequence[Run], name: str) -> str:
    # A dense run has no criterion or rate of its own: empty values tell nothing apart.
    return ",".join(sorted({str(value) for run in runs if (value := getattr(run, name)) or name in ("seed", "noise")}))


def spoken_time(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
