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
from sddcli.spec import Run
from sddcli.store import Store, StoreError

PATIENCE = 10.0
"""Seconds of work left from which on further processes, which load torch for seconds, are worth it."""
Tell = Callable[[int, int], None]
"""Hears how many runs of how many are measured."""


def analyze(
    store: Store, words: Sequence[str], ids: Collection[str], workers: int, device: str, tell: Tell
) -> list[Failed]:
    """Has analyses look at those of the runs with these ids that they have not looked at yet.

    words: names of analyses, with their parameters. Returns what could not be measured, the rest being measured
    all the same. Raises ValueError for a parameter that an analysis does not have.
    """
    with Index(store) as index:
        todo = [(run, [word for word in words if not store.has_measure(run, word)]) for run in index.runs(ids)]
    todo = [(run, left) for run, left in todo if left]
    if not todo:
        return []
    from sddcli.recipes import measuring, prune_retrain

    for word in words:
        measuring.check(word)
    failures: list[Failed] = []
    look = partial(_look, str(store.root), prune_retrain.place(device))
    for done, found in enumerate(_looked(look, todo, workers), start=1):
        failures += found
        tell(done, len(todo))
    return failures


def _looked(
    look: Callable[[Run, Sequence[str]], list[Failed]], todo: Sequence[tuple[Run, Sequence[str]]], workers: int
) -> Iterator[list[Failed]]:
    _begin()
    began = time.perf_counter()
    for done, (run, words) in enumerate(todo, start=1):
        yield look(run, words)
        left = (time.perf_counter() - began) / done * (len(todo) - done)
        if workers > 1 and left > PATIENCE:
            break
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin_beside) as pool:  # starts none for nothing
        try:
            for future in as_completed([pool.submit(look, run, words) for run, words in todo[done:]]):
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


def _look(root: str, device: str, run: Run, words: Sequence[str]) -> list[Failed]:
    from sddcli.recipes import measuring

    store = Store(Path(root))
    return [
        Failed(run, f"{word}: {error}", damaged=isinstance(error, StoreError))
        for word, error in measuring.measured(store, words, run, device)
        if error is not None
    ]
