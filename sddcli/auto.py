"""Auto: the runs of a sweep that looks for valley and peak, chosen as it goes on, by what its finished runs say.

Each is a run of the full sweep, so that one may follow and go on from them. A level of a one-shot chain needs the
dense run alone: all seeds train some levels over the whole range, then those between, around valley and peak. An
iterative chain has to pass every level on the way, since pruning several at once gives other masks and moves the
curve: what can be spared are seeds, and the end.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import floor
from typing import Any, NamedTuple

from sddcli.spec import Run, last_level, unfold, with_parents
from sddcli.store import Store

Table = Mapping[str, Any]
Curve = dict[int, float]  # level -> test accuracy of one chain, as far as it is trained

SHARE = 0.4  # of the trainings of the full sweep: the most that a setting takes
FIRST = 2 / 3  # of the levels, or of the budget: what is trained before anything is chosen
STEP = 3  # levels of an iterative chain that are trained before it is looked at again
RISE = 0.05  # of test accuracy: larger than chance makes one smoothed chain rise
REACH = 2  # levels on each side of valley and peak that matter to where these lie


class Landmarks(NamedTuple):
    """What a setting's finished runs say, and what they cost.

    valley_and_peak: their levels, None before two levels are trained; seeds, of of_seeds, that have a curve;
    trainings, of the of_trainings of the full sweep.
    """

    setting: Run
    valley_and_peak: tuple[int, int] | None
    seeds: int
    of_seeds: int
    trainings: int
    of_trainings: int


def runs_now(store: Store, table: Table, lost: Callable[[Run], Any]) -> tuple[Run, ...]:
    """The runs that `table` asks for now: where levels are chosen, those of all rounds up to the first unfinished one.

    lost: whether a run failed; its chain is then ignored in choosing what comes next. The choice follows from finished
    runs alone, so a sweep that was stopped goes on as if it had not been.
    """
    last = last_level(table)
    if last is None:
        return unfold(table)
    return tuple(
        dict.fromkeys(run for last_runs in _settings(table, last) for run in _rounds(store, last_runs, lost)[0])
    )


def runs_at_most(store: Store, table: Table) -> tuple[Run, ...]:
    """The same and, where more rounds may follow, as many further runs as these may take at most.

    Which runs these are is not known yet: only their number means something.
    """
    last = last_level(table)
    if last is None:
        return unfold(table)
    most: dict[Run, None] = {}
    for last_runs in _settings(table, last):
        runs, _ = _rounds(store, last_runs, lambda run: False)
        most |= dict.fromkeys(runs)
        if not all(store.finished(run) for run in runs):
            family = [replace(end, level=level) for end in last_runs for level in range(last + 1)]
            more = [run for run in family if run not in most]
            most |= dict.fromkeys(more[: budget(len(last_runs), last) - len(runs)])
    return tuple(most)


def landmarks(store: Store, table: Table, lost: Callable[[Run], Any]) -> Iterator[Landmarks]:
    """What each setting of `table` has shown by now; nothing of a table whose levels are given."""
    last = last_level(table)
    if last is None:
        return
    for last_runs in _settings(table, last):
        runs, all_curves = _rounds(store, last_runs, lost)
        trainings, curves = sum(store.finished(run) for run in runs), list(filter(None, all_curves))
        shared = sorted(set.intersection(*map(set, curves))) if curves else []
        both = _valley_and_peak(curves, shared, last_runs[0].rate)[0] if len(shared) > 1 else None
        yield Landmarks(last_runs[0], both, len(curves), len(last_runs), trainings, len(last_runs) * (last + 1))


def budget(chains: int, last: int) -> int:
    """The most trainings, dense ones counted, of so many chains of levels 0 to `last`."""
    return floor(SHARE * chains * (last + 1) + 1e-9)


def _settings(table: Table, last: int) -> list[list[Run]]:
    """The last runs of all chains, those together that differ in seeds alone."""
    settings: dict[Run, list[Run]] = {}
    for end in unfold({**table, "level": last}):
        alike = replace(end, seed=0, init_seed=None, order_seed=None, noise_seed=None)
        settings.setdefault(alike, []).append(end)
    return list(settings.values())


def _rounds(store: Store, last_runs: Sequence[Run], lost: Callable[[Run], Any]) -> tuple[list[Run], list[Curve]]:
    """The runs of one setting, round by round, and the curves of its chains, {} for one that failed."""
    chosen, curves = list[Run](), [Curve() for _ in last_runs]
    alive, last, rate = list(range(len(last_runs))), last_runs[0].level, last_runs[0].rate
    choose = _one_shot if last_runs[0].pruning == "one-shot" else _iterative
    while alive:
        room = budget(len(last_runs), last) - len(chosen)
        more = choose([curves[k] for k in alive], last, rate, room)
        runs = [(alive[k], replace(last_runs[alive[k]], level=level)) for k, level in more]
        if not runs:
            break
        chosen += [run for _, run in runs]
        accuracies = {run: _accuracy(store, run) for _, run in runs}
        missing = [(k, run) for k, run in runs if accuracies[run] is None]
        failed = {k for k, run in missing if any(map(lost, with_parents([run])))}
        for k, run in runs:
            if accuracies[run] is not None:
                curves[k][run.level] = accuracies[run]
        if any(k not in failed for k, _ in missing):
            break
        alive = [k for k in alive if k not in failed]
        curves = [{} if k in failed else curve for k, curve in enumerate(curves)]
    return chosen, curves


def _accuracy(store: Store, run: Run) -> Any:
    """Its test accuracy, None where it is not finished."""
    manifest = store.manifest(run) if store.finished(run) else None
    return manifest["metrics"].get("test_accuracy") if manifest else None


def _iterative(curves: Sequence[Curve], last: int, rate: float, room: int) -> list[tuple[int, int]]:
    """Which levels to train next, as (chain, level): at most `room` of them, none at the end.

    The first chain goes on until it has risen to its peak and lost half of that rise again. As many other chains as
    the budget allows follow it to a little beyond its peak, and further where some of the budget is left.
    """
    pilot = curves[0]
    (_, peak), fell = _valley_and_peak([pilot], sorted(pilot), rate) if pilot else ((0, 0), False)
    if len(pilot) <= last and not fell:
        end = max(pilot) + STEP if pilot else floor(FIRST * last)
        return [(0, level) for level in range(len(pilot), min(end, last) + 1)][:room]
    if len(curves) == 1 or any(curves[1:]):
        return []
    followers = min(room // min(peak + REACH + 1, len(pilot)), len(curves) - 1)
    return [(k, level) for k in range(1, followers + 1) for level in range(min(room // followers, len(pilot)))]


def _one_shot(curves: Sequence[Curve], last: int, rate: float, room: int) -> list[tuple[int, int]]:
    """The same where each level may be trained without those above it: the same levels of all chains.

    First levels at equal distances, for two thirds of the budget; then the middles of the gaps beside valley and
    peak, until none is left within two levels of them.
    """
    here = sorted(curves[0])
    if not here:
        count = max(floor(FIRST * room / len(curves)), 2)
        levels: Iterable[int] = dict.fromkeys(round(k * last / (count - 1)) for k in range(count))
    else:
        both, _ = _valley_and_peak(curves, here, rate)
        gaps = {(a, b) for level in both for a, b in pairwise(here) if b - a > 1 and level in (a, b)}
        near = {level for at in both for level in range(at - REACH, at + REACH + 1) if here[0] < level < here[-1]}
        widest = sorted(gaps, key=lambda gap: (gap[0] - gap[1], gap))
        levels = dict.fromkeys([*((a + b) // 2 for a, b in widest), *sorted(near.difference(here))])
    chosen = list(levels)[: room // len(curves)]
    return [(k, level) for level in chosen for k in range(len(curves))]


def _valley_and_peak(curves: Sequence[Curve], levels: Sequence[int], rate: float) -> tuple[tuple[int, int], bool]:
    """The levels of valley and peak of the mean curve, and whether it has lost half of the rise between them again."""
    import numpy as np

    from sddcli.verdicts import double_descent
    from sddcli.verdicts.reading.curves import smoothed

    mean = np.array([[curve[level] for level in levels] for curve in curves]).mean(0)
    smooth = smoothed(mean, (1 - rate) ** np.array(levels, float))
    valley, peak = double_descent.turning_points(smooth)
    rise = smooth[peak] - smooth[valley]
    return (levels[valley], levels[peak]), bool(rise >= RISE and smooth[-1] < smooth[peak] - rise / 2)
