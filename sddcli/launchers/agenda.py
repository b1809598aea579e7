"""Agenda: what is left of a sweep, in the order in which it can be done. Words only, no processes."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from sddcli.spec import Run


def width(runs: Iterable[Run]) -> int:
    """How many of `runs`, parents first, can be trained at once: the most that have equally many ancestors in a row."""
    depth: dict[Run, int] = {}
    for run in runs:
        depth[run] = 1 + max((depth.get(parent, 0) for parent in run.parents), default=0)
    return max(Counter(depth.values()).values(), default=1)


class Agenda:
    """What is left of a sweep: runs that wait for their parents, that could start, and that are in work."""

    def __init__(self, runs: Iterable[Run], most: int) -> None:
        """runs: the unfinished ones; parents that are not among them count as finished. most: side by side."""
        self._most = most
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
        """The next runs to train side by side, as many as leave each of the workers its share; [] if none can start."""
        alike = next((group for group in self._ready.values() if group), {})
        share = -(-(len(alike) + len(self._working)) // workers)
        batch = list(alike)[: min(share, self._most)]
        for run in batch:
            del alike[run]
        self._working.update(batch)
        return batch

    def postpone(self, run: Run) -> None:
        """Another process makes `run`: it is neither ready nor ours."""
        self._working.discard(run)
        self.elsewhere.add(run)

    def resume(self, run: Run) -> None:
        """`run`, taken or postponed before, may be taken again."""
        self._working.discard(run)
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
