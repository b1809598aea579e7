"""Events: what a launcher hears while runs are made. Words only, no torch."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sddcli.spec import Run


class Reading(NamedTuple):
    """Data are being downloaded, unpacked or decoded: what, how much of it is done, of how much."""

    what: str
    done: int
    total: int


class Noted(NamedTuple):
    """Something that the user should know of the data or of this machine, in a sentence; reported once."""

    sentence: str


class Advanced(NamedTuple):
    """Runs that train side by side finished an epoch, of `epochs`; metrics of each where it was an evaluation."""

    runs: Sequence[Run]
    epoch: int
    epochs: int
    metrics: Sequence[Mapping[str, float]] | None


class Saved(NamedTuple):
    """A run is finished and in the store."""

    run: Run


class Failed(NamedTuple):
    """A run could not be finished; `damaged` where the reason lies in files, `trace` for whoever debugs."""

    run: Run
    reason: str
    damaged: bool = False
    trace: str = ""


class Busy(NamedTuple):
    """A run is claimed by another process, which may finish it."""

    run: Run


class Lost(NamedTuple):
    """Who made a run is gone, and not by the run's fault: it waits to be begun again. Heard by the sweep alone."""

    run: Run


class Stopping(NamedTuple):
    """Somebody wants an end: runs in work are saved where they are."""


Event = Reading | Noted | Advanced | Saved | Failed | Busy | Lost | Stopping
Report = Callable[[Event], None]
