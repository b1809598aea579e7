"""Looking: finished runs measured, in the process that asks and, where that takes long, in others beside it."""

import signal
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from sddcli.events import Failed
from sddcli.index import Index
from sddcli.launchers import machine
from sddcli.pairs import Pair
from sddcli.spec import Run
from sddcli.store import Store, StoreError, reason_of

PATIENCE = 10.0
"""Seconds of work left from which on further processes, which load torch for seconds, are worth it."""
Tell = Callable[[int, int], None]
"""Hears how many of how many are measured."""


def runs(store: Store, ids: Collection[str]) -> list[Run]:
    """The finished runs with these ids."""
    with Index(store) as index:
        return list(index.runs(ids))


def analyze(
    store: Store, words: Sequence[str], subjects: Sequence[Run | Pair], workers: int, device: str, tell: Tell
) -> list[Failed]:
    """Has analyses look at those of these runs, or of these pairs of runs, that they have not looked at yet.

    words: names of analyses, with their parameters. Returns what could not be measured, the rest being measured
    all the same. Raises UsageError for a parameter that an analysis does not have.
    """
    todo = [(each, [word for word in words if not store.has_measure(each, word)]) for each in subjects]
    todo = [(each, left) for each, left in todo if left]
    if not todo:
        return []
    from sddcli.recipes import measuring, prune_retrain

    for word in words:
        measuring.check(word, of_pairs=isinstance(todo[0][0], Pair))
    failures: list[Failed] = []
    look = partial(_look, str(store.root), prune_retrain.place(device))
    for done, found in enumerate(_looked(look, todo, workers), start=1):
        failures += found
        tell(done, len(todo))
    return failures


def _looked(
    look: Callable[[Run | Pair, Sequence[str]], list[Failed]],
    todo: Sequence[tuple[Run | Pair, Sequence[str]]],
    workers: int,
) -> Iterator[list[Failed]]:
    _begin()
    began = time.perf_counter()
    for done, (subject, words) in enumerate(todo, start=1):
        yield look(subject, words)
        left = (time.perf_counter() - began) / done * (len(todo) - done)
        if workers > 1 and left > PATIENCE:
            break
    machine.use_safe_path()
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin_beside) as pool:  # starts none for nothing
        try:
            for future in as_completed([pool.submit(look, subject, words) for subject, words in todo[done:]]):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _begin() -> None:
    import torch

    torch.set_num_threads(1)


def _begin_beside() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the caller decides
    _begin()


def _look(root: str, device: str, subject: Run | Pair, words: Sequence[str]) -> list[Failed]:
    from sddcli.recipes import measuring

    store = Store(Path(root))
    run, beside = (
        (subject.b, f" from {subject.a.slug} level {subject.a.level}") if isinstance(subject, Pair) else (subject, "")
    )
    failures = []
    for word, error in measuring.measured(store, words, subject, device):
        if isinstance(error, OSError):  # the data cannot be read: that of all runs
            raise error
        if error is not None:
            failures.append(Failed(run, f"{word}{beside}: {reason_of(error)}", damaged=isinstance(error, StoreError)))
    return failures
