"""Double descent: is there a dip between two rises, where, how deep, and could it be chance? From curves alone.

The null is the best curve that only rises and then falls (unimodal, monotone ones among them); the alternative may
fall and rise again in between. The statistic is how much better the alternative fits the mean over seeds, in units of
the noise of that mean. Noise is estimated level by level from the seeds' scatter, as autoregressive along a chain, and
the statistic's null distribution is simulated on a flat curve, where order-restricted tests err most (Robertson,
Wright & Dykstra 1988): on any other curve of the null, false alarms are rarer. In simulations with 3 and 5 seeds
they stay at about 6 % or less, also where noise grows towards the end; only on a flat curve with three times the noise
in its middle, which is no learning curve, they reached 10 %.

Valley and peak, its turning points, are read from the smoothed mean: the ends of its largest rise or, where the test
finds a dip and that rise is not behind one, those of its deepest dip. Of ten full sweeps of digits (33 levels,
magnitude, lottery), split into five seeds and five in all 126 ways, both turning points of the two halves agree within
a level in 90, 60 and 87 % of the splits (noise 0.2, 0.4, 0.6), and in all within two; of ten with other bits, by an
earlier engine, in 91, 98 and 90 %, within two levels in 100, 100 and 97 %. Their intervals are a parametric bootstrap
(Efron & Tibshirani 1993): both are read again from the mean with noise added to it, as estimated for the test. In those
ten sweeps the intervals of five seeds, 2 to 4 levels wide on average, hold the turning points of the other five in 95
to 100 % of the splits; those of three seeds, 2 to 5 wide, hold those of the other seven as often. They are intervals of
the smoothed curve's valley and peak, in simulations those held 97 to 100 % of the times. Smoothing itself shifts what
is crooked: a peak that falls off more than twice as steeply as it rose moves by a level or two, which more seeds do not
mend.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from math import sqrt
from statistics import mean as average
from statistics import median
from typing import Any

import numpy as np

from sddcli.verdicts.reading.curves import Floats, interval_of, smoothed

FIT = 0.99  # train accuracy from which labels count as fitted
MARGIN = 0.005  # the least difference in accuracy that phases distinguish (delta, delta')
LEVEL = 0.05  # of the test
SIMULATIONS = 1000
POWER_SIMULATIONS = 100
INTERVAL_SIMULATIONS = 500
INDICES = ("fitted", "valley", "peak")
"""Which of the values that `judge` returns are indices of levels; so are NAME_low and NAME_high where there are any."""
QUESTION = "Is there double descent?"
NOTE = (
    "In brackets: 95% confidence intervals over seeds. Levels are read from the smoothed mean curve; differences are "
    "measured on the same curve, which makes them too large on average."
)
ENDS = ("valley_low", "peak_low", "valley_high", "peak_high")


def judge(test: Floats, train: Floats, density: Floats) -> dict[str, Any]:
    """What the curves of one setting say. test, train: (S, K) accuracies of S seeds at K levels in order.

    density: (K,) share of weights kept at them. Returns indices of levels: `fitted`, the last with train
    accuracy of at least 0.99, `valley` and `peak`, the ends of the largest rise of the smoothed mean curve; sizes in
    accuracy with their 95 % t-intervals over seeds (None with one seed): `dip` (highest before the valley, minus
    it), `rise` (peak minus valley), `gain` (peak minus dense); `p` of the test and `double_descent`, the verdict (None
    with one seed); `phases`, one word a level, where it is true; `smoothed`, the (K,) curve that valley, peak and
    phases are read from. Valley and peak have 95 % intervals too, as `valley_low` and so on (None where there is no
    test). They are chosen on the same curves, so sizes lean to the large side.
    """
    seeds, levels = test.shape
    smooth = smoothed(test.mean(0), density)
    valley, peak = turning_points(smooth)
    before = int(smooth[: valley + 1].argmax())
    fitted = np.flatnonzero(train.mean(0) >= FIT - 1e-9)  # a mean of 0.99s may fall short of 0.99
    tested = seeds > 1 and levels > 3
    p = p_value(test) if tested else None
    rule = turning_points
    if p is not None and p < LEVEL and before == valley:
        rule = deepest
        valley, peak = deepest(smooth)
        before = int(smooth[: valley + 1].argmax())
    ends = turning_point_intervals(test, density, rule) if tested else dict.fromkeys(ENDS)
    dips = None if p is None else bool(p < LEVEL and smooth[before] > smooth[valley] < smooth[peak])
    return {
        "n": seeds,
        "fitted": int(fitted[-1]) if len(fitted) else None,
        "valley": valley,
        "peak": peak,
        **ends,
        **interval_of("dip", test[:, before] - test[:, valley]),
        **interval_of("rise", test[:, peak] - test[:, valley]),
        **interval_of("gain", test[:, peak] - test[:, 0]),
        "p": p,
        "double_descent": dips,
        "phases": _phases(smooth, test, valley, peak) if dips else [],
        "smoothed": smooth.tolist(),
    }


def turning_points(smooth: Floats) -> tuple[int, int]:
    """Indices of valley and peak of a smoothed curve: the ends of its largest rise."""
    rise = smooth - np.minimum.accumulate(smooth)
    peak = len(rise) - 1 - int(rise[::-1].argmax())
    return peak - int(smooth[peak::-1].argmin()), peak


def deepest(smooth: Floats) -> tuple[int, int]:
    """Indices of the valley of a smoothed curve that lies deepest below both sides, and of the peak behind it."""
    before, behind = np.maximum.accumulate(smooth), np.maximum.accumulate(smooth[::-1])[::-1]
    valley = int((np.minimum(before, behind) - smooth).argmax())
    return valley, valley + int(smooth[valley:].argmax())


def turning_point_intervals(
    test: Floats, density: Floats, rule: Callable[[Floats], tuple[int, int]] = turning_points
) -> dict[str, int]:
    """The ends of the 95 % intervals of valley and peak, indices of levels: see above.

    test: (S, K), two seeds or more; density: (K,); rule: `turning_points` or `deepest`.
    """
    # Levels at which some seeds have collapsed are noisier than others: their noise is averaged among themselves.
    variance, correlation = noise_of(test, _among_alike)
    seeds, levels = test.shape
    draw = np.random.Generator(np.random.Philox(key=1993))
    noise = np.sqrt(variance / seeds) * autoregressive(draw, INTERVAL_SIMULATIONS, levels, correlation)
    # No valley or peak is sought where the curve has collapsed: noise is so large there that it makes rises by itself.
    smooth = smoothed(test.mean(0), density)
    valley, peak = rule(smooth)
    fallen = np.flatnonzero(smooth[peak:] < smooth[valley] - 3 * np.sqrt(variance[peak:] / seeds))
    end = peak + int(fallen[0]) if len(fallen) else levels
    drawn = [rule(smoothed(curve[:end], density[:end])) for curve in test.mean(0) + noise]
    ends = np.percentile(drawn, (2.5, 97.5), axis=0, method="nearest").ravel()
    return dict(zip(ENDS, map(int, ends), strict=True))


def _phases(smooth: Floats, test: Floats, valley: int, peak: int) -> list[str]:
    """Light, critical, sweet, collapsed, one a level (the phases of He et al. 2022, by a rule of our own).

    Light lasts while test accuracy stays within max(2 standard deviations of the dense level, 0.005) of the
    dense one; critical until it is back at the dense level or, where the peak is lower than that, half-way up
    to the peak; sweet until it is last within 0.005 of the peak.
    """
    band = max(2 * float(test[:, 0].std(ddof=1)), MARGIN)
    leaves = next((k for k in range(valley + 1) if smooth[k] < smooth[0] - band), valley)
    goal = smooth[0] if smooth[peak] >= smooth[0] else (smooth[valley] + smooth[peak]) / 2
    returns = next(k for k in range(valley, peak + 1) if smooth[k] >= goal)
    last = max(k for k in range(peak, len(smooth)) if smooth[k] >= smooth[peak] - MARGIN)
    return [
        "light" if k < leaves else "critical" if k < returns else "sweet" if k <= last else "collapsed"
        for k in range(len(smooth))
    ]


def p_value(test: Floats) -> float:
    """How often noise alone makes as much of a dip. test: (S, K), at least two seeds; smallest 1/1001."""
    return float(p_values(test[None])[0])


def p_values(tests: Floats) -> Floats:
    """The same of each of N sweeps of one size, (N, S, K) -> (N,)."""
    means, (_, seeds, levels) = tests.mean(1), tests.shape
    noises = [noise_of(test) for test in tests]
    variances = np.array([variance for variance, _ in noises])
    silent = (variances == 0).all(axis=1)  # all seeds alike: any dip is one
    observed = statistic(means, seeds / np.where(silent[:, None], seeds, variances))
    nulls = np.array([_null(seeds, levels, round(correlation * 20) / 20) for _, correlation in noises])
    as_large = np.where(silent, (observed == 0) * SIMULATIONS, (nulls >= observed[:, None]).sum(axis=1))
    p: Floats = (1 + as_large) / (SIMULATIONS + 1)
    return p


def detectable(variance: float, correlation: float, seeds: int, levels: int) -> float:
    """The dip, in accuracy, that the test finds in 80 of 100 such sweeps: its power, before a run.

    variance: of one chain's test accuracy at a level around the mean over seeds; correlation: of neighbouring
    levels; both as `noise_of` gives them. The dip lies in the middle of a flat curve, and four levels on each
    side lead into it, as in recorded curves; a sharper one needs to be deeper, a wider one less so.
    """
    shape = np.maximum(0, 1 - np.abs(np.arange(levels) - levels // 2) / 4)
    draw = np.random.Generator(np.random.Philox(key=1977))  # the same noise at every depth: power only grows
    noise = sqrt(variance) * autoregressive(draw, POWER_SIMULATIONS * seeds, levels, correlation)
    noise = noise.reshape(POWER_SIMULATIONS, seeds, levels)
    low, high = 0.0, 64 * sqrt(variance)
    while high - low > 0.02 * high:
        dip = (low + high) / 2
        detected = int((p_values(noise - dip * shape) < LEVEL).sum())
        low, high = (low, dip) if detected >= 0.8 * POWER_SIMULATIONS else (dip, high)
    return high


def detectable_by(scatter: Sequence[Floats], seeds: int, levels: int) -> float | None:
    """The dip, in accuracy, that a sweep of so many seeds and levels would find in 4 of 5 cases.

    scatter: (S, K) test accuracies of settings like its own, whose noise is taken to be its; None where none of
    them has two seeds or more at four levels or more, or the sweep itself is too small to be tested.
    """
    noises = [noise_of(test) for test in scatter if len(test) > 1 and test.shape[1] > 3]
    if not noises or seeds < 2 or levels < 4:
        return None
    variance = median(float(level) for variances, _ in noises for level in variances)
    return detectable(variance, average(correlation for _, correlation in noises), seeds, levels)


def statistic(means: Floats, weights: Floats) -> Floats:
    """How much less each curve misses the best rise-fall-rise-fall curve than the best rise-fall one, (N, K) -> (N,).

    In squared errors weighted by `weights` (N, K), the inverse variances of `means`.
    """
    rising, falling = errors(means, weights), errors(-means, weights)
    ends = range(means.shape[1] + 1)
    ending = np.array([falling[k, -1 - k] for k in ends])  # of all levels from k on

    def joined(first: Floats, rest: Floats) -> Floats:
        """The least error from each level on where one piece ends, at whichever level, and `rest` begins there."""
        return np.array([(first[k, : len(ends) - k] + rest[k:]).min(axis=0) for k in ends])

    tails = joined(rising, ending)
    dips = joined(falling, tails)
    least: Floats = np.maximum(0.0, tails[0] - joined(rising, dips)[0])
    return least


def errors(values: Floats, weights: Floats) -> Floats:
    """Weighted squared errors of the best rising fits to parts of N curves, (N, K) and (N, K) -> (K + 1, K + 1, N).

    [k, m] is that of the m values from the k-th on. Neighbours in the wrong order are pooled (pool adjacent violators,
    Barlow et al. 1972), for all curves and all k at once: each curve from each k on is a column of its own.
    """
    curves, levels = values.shape
    result = np.zeros((levels + 1, levels + 1, curves))
    sums, sizes = np.zeros((2, levels, levels * curves))  # of each pool of a column: its weighted sum, its weight
    pools = np.zeros(levels * curves, dtype=np.int64)
    fitted, squares = np.zeros((2, levels * curves))
    for level in range(levels):
        begun = slice(0, (level + 1) * curves)  # the columns that begin at this level or before it
        value, size = np.tile([values[:, level], weights[:, level]], level + 1)
        total = size * value
        squares[begun] += total * value
        columns = np.flatnonzero(pools[begun])
        while len(columns):
            before = sums[pools[columns] - 1, columns], sizes[pools[columns] - 1, columns]
            wrong = before[0] * size[columns] > total[columns] * before[1]
            columns, more, length = columns[wrong], before[0][wrong], before[1][wrong]
            fitted[columns] -= more * more / length
            total[columns] += more
            size[columns] += length
            pools[columns] -= 1
            columns = columns[pools[columns] > 0]
        every = np.arange(begun.stop)
        sums[pools[begun], every], sizes[pools[begun], every] = total, size
        pools[begun] += 1
        fitted[begun] += total * total / size
        lengths = np.arange(level + 1, 0, -1)
        result[level + 1 - lengths, lengths] = np.maximum(0.0, squares[begun] - fitted[begun]).reshape(-1, curves)
    return result


def noise_of(test: Floats, around: Callable[[Floats], Floats] | None = None) -> tuple[Floats, float]:
    """Variance (K,) at each level and lag-1 correlation of the scatter of (S, K) curves around their mean.

    Collapsing networks scatter far more than others, so each level has a variance of its own, averaged with
    three neighbours on each side. A seed that is better at every level does not bend the mean curve, so its
    own offset is taken out; the shortfall that this causes in short chains is put back (Kendall 1954). around: another
    way to average a level with those beside it.
    """
    around = around or _local
    seeds, levels = test.shape
    rest = test - test.mean(0)
    # The offset is that of the quiet levels: weighted, or the collapse of one seed would tilt all its others.
    quiet = 1 / (around((rest**2).sum(0)) + 1e-12)
    rest = rest - (rest * quiet).sum(1, keepdims=True) / quiet.sum()
    variance = around((rest**2).sum(0)) / (seeds - 1)
    if variance.max() < 1e-20:
        return np.zeros(levels), 0.0
    variance = np.maximum(variance, 1e-3 * variance.max())
    scaled = rest / np.sqrt(variance)
    raw = float((scaled[:, 1:] * scaled[:, :-1]).sum() / (scaled**2).sum()) * levels / (levels - 1)
    correlation = min(max(raw + (1 + 3 * raw) / levels, 0.0), 0.95)
    lost = (1 + correlation) / (1 - correlation) / levels
    return variance / max(1 - lost, 0.2), correlation


def _local(values: Floats, reach: int = 3) -> Floats:
    """The mean of each value and of so many on each side of it, fewer at the ends."""
    window, inner = np.ones(2 * reach + 1), slice(reach, reach + len(values))
    return np.convolve(values, window)[inner] / np.convolve(np.ones(len(values)), window)[inner]


def _among_alike(values: Floats) -> Floats:
    """The same, but values above ten times the median around them are averaged among themselves, the others too."""
    near = np.lib.stride_tricks.sliding_window_view(np.pad(values, 3, constant_values=np.nan), 7)
    loud = values > 10 * np.nanmedian(near, axis=1)
    means = [_local(values * alike) / np.maximum(_local(alike.astype(np.float64)), 1e-12) for alike in (~loud, loud)]
    return np.where(loud, means[1], means[0])


@cache
def _null(seeds: int, levels: int, correlation: float) -> Floats:
    """The statistic, in units of the noise estimated as from real curves, on flat curves of simulated noise."""
    draw = np.random.Generator(np.random.Philox(key=20220617))
    noise = autoregressive(draw, SIMULATIONS * seeds, levels, correlation).reshape(SIMULATIONS, seeds, levels)
    return statistic(noise.mean(1), seeds / np.array([noise_of(each)[0] for each in noise]))


def autoregressive(draw: np.random.Generator, seeds: int, levels: int, correlation: float) -> Floats:
    """(seeds, levels) standard normal noise in which neighbouring levels of a chain have this correlation."""
    noise = draw.standard_normal((seeds, levels))
    for k in range(1, levels):
        noise[:, k] = correlation * noise[:, k - 1] + sqrt(1 - correlation**2) * noise[:, k]
    return noise


def marks(verdict: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What `judge` says of each level, as columns.

    phase; smoothed: the mean test accuracy that phases, valley and peak were read from; both None without a verdict.
    at_fitted, at_valley, at_peak: whether the level is that one; in_valley, in_peak: whether it is within the
    interval of it, None without one. dip, dip_low, dip_high: at the valley, the dip and its interval.
    """
    levels = len(verdict["smoothed"])
    unknown, is_there = [None] * levels, verdict["double_descent"]
    ends = {name: (verdict[f"{name}_low"], verdict[f"{name}_high"]) for name in ("valley", "peak")}
    return {
        "phase": (is_there and verdict["phases"]) or unknown,
        "smoothed": verdict["smoothed"] if is_there else unknown,
        **{f"at_{name}": [k == verdict[name] for k in range(levels)] for name in INDICES},
        **{
            f"in_{name}": unknown if low is None else [low <= k <= high for k in range(levels)]
            for name, (low, high) in ends.items()
        },
        **{
            name: [verdict[name] if k == verdict["valley"] else None for k in range(levels)]
            for name in ("dip", "dip_low", "dip_high")
        },
    }


def sentences(row: Mapping[Any, Any]) -> Iterator[str]:
    """What is said of double descent in one setting, sentence by sentence; row: one of `judging.judged`."""
    n = f"{row['n']} seeds" if row["n"] > 1 else "1 seed"
    level = row.get("along") or "level"
    if row["p"] is None or row["p"] != row["p"]:
        values = "levels" if level == "level" else f"values of {level}"
        few = "one seed, and noise is estimated from two or more" if row["n"] < 2 else f"fewer than four {values}"
        yield f"not tested: {few}"
    else:
        dips = row["p"] < 0.05
        reason = "the curve turns more than once, but smoothed it has no dip" if dips else "the dip could be chance"
        answer = "double descent" if row["double_descent"] else f"no double descent: {reason}"
        yield f"{answer} (p = {row['p']:.2g}, {n})"
        if row["n"] < 3:
            yield "fewer than 3 seeds are too few to trust"
    if level != "level":
        yield f"read along {level} from {row['judged_from']:.10g} to {row['judged_to']:.10g}"
    if row["fitted"] == row["fitted"] and row["fitted"] is not None:
        yield f"the last {level} with 99% train accuracy is {row['fitted']:.10g}{_sparse(row, 'fitted', ' sparse')}"
    else:
        yield (
            f"train accuracy is below 99% at every {level}"
            if level == "level"
            else "train accuracy is always below 99%"
        )
    if row["valley"] != row["peak"]:
        valley, peak = (
            f"{at} at {level} {row[at]:.10g}{_between(row, at, '.10g')}{_sparse(row, at)}" for at in ("valley", "peak")
        )
        first = "the dense network" if level == "level" else f"{level} {row['judged_from']:.10g}"
        yield f"{valley}, {_points(row, 'dip')} below the best before it" if row["dip"] > 0 else valley
        yield f"{peak}, {_points(row, 'rise')} above the valley, {_points(row, 'gain')} above {first}"
    if level == "level" and row["judged_to"] < row["last_level"]:
        yield f"judged up to level {row['judged_to']}, which all chains have; some go on to {row['last_level']}"
    if level != "level" and row["judged_to"] != row["last_level"]:
        to, last = f"{row['judged_to']:.10g}", f"{row['last_level']:.10g}"
        yield f"judged up to {level} {to}, which all seeds have; some go on to {last}"
    if row["valley"] != row["peak"] and row["peak_high"] == row["judged_to"]:
        yield f"the peak may lie beyond {level} {row['judged_to']:.10g}, where the curve ends"
    if 1 < row["seed_values"] < row["n"]:
        shared = f"its {row['n']} chains share seeds, {row['seed_values']} of a kind"
        yield f"{shared}: p is too small, and intervals are too narrow"
    if row["phases"]:
        yield f"phases: {row['phases']}"


def _sparse(row: Mapping[Any, Any], name: str, more: str = "") -> str:
    """How sparse networks are at one of INDICES, where the curve runs along levels."""
    return f" ({row[f'{name}_sparsity']:.2%}{more})" if f"{name}_sparsity" in row else ""


def _points(row: Mapping[Any, Any], name: str) -> str:
    """A difference of accuracies in percentage points, with its 95 % t-interval over seeds."""
    return f"{100 * row[name]:.1f} points{_between(row, name, '.1f', 100)}"


def _between(row: Mapping[Any, Any], name: str, form: str, times: float = 1) -> str:
    """The 95 % interval of what `row` says under a name, where it has one."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f" [{times * low:{form}}, {times * high:{form}}]" if low is not None and low == low else ""
