"""Looking: finished runs measured, in the process that asks and, where that takes long, in others beside it."""

import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from sddcli import folders, sources
from sddcli.events import Failed
from sddcli.index import Index
from sddcli.launchers import libraries, machine
from sddcli.pairs import Pair
from sddcli.spec import Run
from sddcli.store import Store, StoreError, Unwritable, reason_of

PATIENCE = 10.0
"""Seconds of work left from which on further processes, which load torch for seconds, are worth it."""
Numbers = Mapping[str, float | None]
Tell = Callable[[int, int], None]
"""Hears how many of how many are measured."""


def runs(store: Store, ids: Collection[str]) -> list[Run]:
    """The finished runs with these ids."""
    with Index(store, []) as index:  # what cannot be read is none of them
        return list(index.runs(ids))


def find_images(store: Store) -> None:
    """Has folders of images that are not where their words say looked for where the runs of `store` say they lay.

    And the labels that it keeps are known from now on.
    """
    folders.find(store.image_folders())
    sources.recall(store)


def spellings(store: Store, words: Iterable[str]) -> dict[str, str]:
    """Each data set's word -> the word that the runs of `store` have for the same folder of images, or tidied.

    The same is a folder at the same path, or, where the images of the runs are gone, one with the same content.
    """
    known, own = store.image_folders(), dict[str, str]()
    for word in dict.fromkeys(words):
        own[word], parts = folders.spelled(word, known), folders.split(word)
        if parts is None:
            continue
        path, settings = parts
        if own[word] not in known and Path(path).is_dir():
            lost = [each for each, facts in known.items() if facts.sha256 and folders.gone(each, facts)]
            lost = [each for each in lost if (folders.split(each) or parts)[1] == settings]
            own[word] = next((each for each in lost if _content(word) in known[each].sha256), own[word])
        if own[word] != word and Path(path).is_dir():
            folders.moved((folders.split(own[word]) or parts)[0], path)
        known.setdefault(own[word], folders.Known(frozenset(), (str(Path(path).absolute()),)))
    return own


def _content(dataset: str) -> str:
    from sddcli.recipes import measuring

    return measuring.content(dataset)


def analyze(
    store: Store,
    words: Sequence[str],
    subjects: Sequence[Run | Pair],
    workers: int,
    device: str,
    tell: Tell,
    unsaved: dict[tuple[Run | Pair, str], Numbers] | None = None,
) -> list[Failed]:
    """Has analyses look at those of these runs, or of these pairs of runs, that they have not looked at yet.

    words: names of analyses, with their parameters. Returns what could not be measured, the rest being measured
    all the same. unsaved: takes the numbers that one has no right to save, which is a failure otherwise. Raises
    UsageError for a parameter that an analysis does not have.
    """
    todo = [(each, [word for word in words if not store.has_measure(each, word)]) for each in subjects]
    todo = [(each, left) for each, left in todo if left]
    if not todo:
        return []
    from sddcli.recipes import measuring, planning

    find_images(store)
    sources.must_run(run for each, _ in todo for run in (each if isinstance(each, Pair) else (each,)))
    for word in words:
        measuring.check(word, of_pairs=isinstance(todo[0][0], Pair))
    failures: list[Failed] = []
    look = partial(_look, str(store.root), planning.device_of(device))
    for done, (failed, kept) in enumerate(_looked(look, todo, workers), start=1):
        failures += failed
        for subject, word, numbers, error in kept:
            if unsaved is None:
                failures.append(Failed(_run_of(subject), f"{word}: {error}", damaged=True))
            else:
                unsaved[subject, word] = numbers
        tell(done, len(todo))
    return failures


Looked = tuple[list[Failed], list[tuple[Run | Pair, str, Numbers, str]]]
"""Failures, and results that could not be saved: run or pair, analysis, its numbers, and why not."""


def _run_of(subject: Run | Pair) -> Run:
    return subject.b if isinstance(subject, Pair) else subject


def _looked(
    look: Callable[[Run | Pair, Sequence[str]], Looked],
    todo: Sequence[tuple[Run | Pair, Sequence[str]]],
    workers: int,
) -> Iterator[Looked]:
    machine.one_thread()
    began = time.perf_counter()
    for done, (subject, words) in enumerate(todo, start=1):
        yield look(subject, words)
        left = (time.perf_counter() - began) / done * (len(todo) - done)
        if workers > 1 and left > PATIENCE:
            break
    machine.use_safe_path()
    code = sources.carried((_run_of(each) for each, _ in todo), (word for _, words in todo for word in words))
    with ProcessPoolExecutor(
        workers, get_context("spawn"), _begin_beside, (code,)
    ) as pool:  # starts no process before the first task
        try:
            for future in as_completed([pool.submit(look, subject, words) for subject, words in todo[done:]]):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _begin_beside(code: Mapping[str, bytes]) -> None:
    sources.received(code)
    libraries.say_warnings()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the caller decides
    machine.one_thread()


def _look(root: str, device: str, subject: Run | Pair, words: Sequence[str]) -> Looked:
    from sddcli.recipes import measuring

    store, run = Store(Path(root)), _run_of(subject)
    beside = f" from {subject.a.slug} level {subject.a.level}" if isinstance(subject, Pair) else ""
    failures: list[Failed] = []
    kept: list[tuple[Run | Pair, str, Numbers, str]] = []
    for word, numbers, error in measuring.measured(store, words, subject, device):
        if isinstance(error, OSError):  # the data cannot be read: that of all runs
            raise error
        if isinstance(error, Unwritable) and numbers is not None:
            kept.append((subject, word, numbers.values, str(error)))
        elif error is not None:
            failures.append(Failed(run, f"{word}{beside}: {reason_of(error)}", damaged=isinstance(error, StoreError)))
    return failures, kept
