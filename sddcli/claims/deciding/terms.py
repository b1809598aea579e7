"""Terms: what claims are decided with: settings, findings, verdicts. The claims are the files of the folder above."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from math import isinf, sqrt
from typing import Any, NamedTuple

import pandas as pd

from sddcli import judging, table
from sddcli.core.words import UsageError, in_words
from sddcli.verdicts.double_descent import FIT, INDICES, detectable_by, judge

HOLDS, IN_PART, NOT, UNDECIDED = "holds", "holds in part", "does not hold", "undecided"
DEEP = 0.05
"""A dip in accuracy as deep as those of the paper's figure 1; a curve that excludes one of that depth has none."""
CLOSE = 0.01
"""A difference in accuracy that counts as none where something is to be as good as something else."""
HIGH = 0.9
"""The sparsity from which on ways of pruning are compared on clean labels: below it all keep the dense accuracy."""
Interval = tuple[float, float, float]
"""A value, and the ends of its 95 % interval."""


SHOWN = {"points": (100, 1), "levels": (1, 1), "": (1, 3)}
"""Unit of a finding -> the factor and the digits that its numbers are shown with."""


class Finding(NamedTuple):
    """One thing that a claim says, and what was measured: true, false, or None where its interval leaves it open.

    value, low, high: with a 95 % interval, None where nothing can be measured; unit: "points" of accuracy, of which a
    share has 100, "levels", or "" for plain numbers. of_curve: whether the test for double descent says it.
    """

    text: str
    holds: bool | None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    of_curve: bool = False

    @property
    def shown(self) -> tuple[str, str, str]:
        """Value, low and high as they are written, "?" for one that is unknown: small ones with more digits."""
        times, digits = SHOWN[self.unit]
        numbers = [None if each is None else times * each for each in (self.value, self.low, self.high)]
        largest = max((abs(each) for each in numbers if each is not None), default=0.0)
        while 0 < largest < 10**-digits:
            digits += 1
        value, low, high = ("?" if each is None else f"{each:.{digits}f}" for each in numbers)
        return value, low, high

    @property
    def detectable(self) -> float | None:
        """The effect, from the bound that the finding is about, that 4 of 5 such sweeps see; None without an interval.

        The half width of an interval is an effect that every second one sees. 4 of 5 see one larger by a factor of
        1 + t(0.8) / t(0.975), 1.43 at most: that of many seeds.
        """
        if self.low is None or self.high is None or isinf(self.high - self.low):
            return None
        return 1.43 * (self.high - self.low) / 2


class Verdict(NamedTuple):
    """What a claim comes to, from these settings."""

    word: str
    findings: tuple[Finding, ...]
    settings: tuple["Setting", ...]

    @property
    def seeds(self) -> int:
        """The fewest of any setting."""
        return min(int(setting.rows["seed"].nunique()) for setting in self.settings)

    @property
    def smallest(self) -> float | None:
        """The dip that 4 of 5 such sweeps detect, None where no finding is about one; it takes seconds."""
        if not any(finding.of_curve for finding in self.findings):
            return None
        levels = min(setting.rows[setting.column].nunique() for setting in self.settings)
        noise = [curve.test for each in self.settings for curve in judging.curves(each.rows, each.column)]
        return detectable_by(noise, self.seeds, levels)


class Setting(NamedTuple):
    """The runs that differ in seed and level alone: their rows, and what the test for double descent says of them.

    column: that along which the curve runs, which is meant wherever levels are spoken of here.
    """

    rows: pd.DataFrame
    curve: Mapping[str, Any]
    column: str = "level"

    def at(self, level: float, name: str) -> "pd.Series[float]":
        """A number at one level, by seed."""
        rows = self.rows[self.rows[self.column] == level]
        return rows.set_index("seed")[name].astype(float).sort_index()

    def level(self, name: str) -> int:
        """The level of the valley or of the peak."""
        return int(self.curve[name])

    def beyond(self, sparsity: float, name: str) -> "pd.Series[float]":
        """The mean of a number over the levels at which at least this share of the weights is gone, by seed."""
        rows = self.rows[self.rows["sparsity"] >= sparsity - 1e-9]
        return rows.groupby("seed")[name].mean()

    def level_of(self, name: str) -> Interval:
        """The level of the valley or of the peak, with its interval."""
        value = float(self.curve[name])
        low, high = (self.curve[f"{name}_{end}"] for end in ("low", "high"))
        return value, float(low), float(high)

    def size(self, name: str) -> Interval:
        """The dip, the rise or the gain, in accuracy, with its interval."""
        value, low, high = (self.curve[f"{name}{end}"] for end in ("", "_low", "_high"))
        return float(value), float(low), float(high)

    @property
    def fitted(self) -> int:
        """The last level at which the training labels are fitted; -1 where there is none."""
        return -1 if self.curve["fitted"] is None else int(self.curve["fitted"])

    def thresholds(self) -> "pd.Series[float]":
        """The last level at which each seed fits its training labels, -1 where there is none, by seed."""
        return self.last(FIT, "train_accuracy")

    def last(self, accuracy: float, name: str = "test_accuracy") -> "pd.Series[float]":
        """The last level at which an accuracy is at least that, -1 where it is nowhere, by seed."""
        values = self.rows.pivot(index="seed", columns=self.column, values=name)
        reached = values >= accuracy - 1e-9
        return reached.mul(values.columns.to_numpy(float) + 1, axis="columns").max(axis="columns") - 1


def verdict(settings: Iterable[Setting], *findings: Finding) -> Verdict:
    """The word that follows from the findings: all true, all false, both, or some open and none against the others."""
    answers = [finding.holds for finding in findings]
    if True in answers and False in answers:
        word = IN_PART
    else:
        word = UNDECIDED if None in answers else HOLDS if answers[0] else NOT
    return Verdict(word, findings, tuple(settings))


def on_each_dataset(rule: Callable[[pd.DataFrame], Verdict]) -> Callable[[pd.DataFrame], Verdict]:
    """The rule of a claim on each data set by itself; where there are several, findings say of which they are."""

    @wraps(rule)
    def decide(results: pd.DataFrame) -> Verdict:
        parts = {str(name): rule(rows) for name, rows in results.groupby("dataset")}
        if len(parts) == 1:
            return next(iter(parts.values()))
        findings = [
            each._replace(text=f"{name}: {each.text}") for name, part in parts.items() for each in part.findings
        ]
        return verdict((setting for part in parts.values() for setting in part.settings), *findings)

    return decide


def by(frame: pd.DataFrame, *names: str, along: str = "level") -> dict[Any, Setting]:
    """The settings of `frame` by the values of one field, or of several as a tuple; along: as of `one`. Raises so."""
    groups = table.grown(frame).groupby(list(names), sort=True)
    return {key[0] if len(names) == 1 else key: one(rows, along) for key, rows in groups}


def one(frame: pd.DataFrame, along: str = "level") -> Setting:
    """The only setting of `frame`, whose curve runs along an axis. Raises UsageError where there are several."""
    rows, column = (frame, "level") if along == "level" else table.along(frame, along)
    if several := table.varied(rows, column):
        raise UsageError(f"a claim is decided setting by setting, and these runs differ in {', '.join(several)}")
    (row,) = judging.judged(rows, judge, INDICES, column).to_dict("records")
    return Setting(rows, {str(name): value for name, value in row.items()}, column)


LEVELS = 10
"""As many levels make a curve that can fall, rise and fall; figures of single networks have fewer."""


def curves(results: pd.DataFrame) -> Verdict | None:
    """The test for double descent on each curve of these runs, by what they differ in; None where there is no curve."""
    results = table.grown(results)
    names = table.varied(results)
    groups = [(key, rows) for key, rows in results.groupby(names)] if names else [((), results)]
    settings = {
        in_words(dict(zip(names, key, strict=True))) or "one curve": one(rows)
        for key, rows in groups
        if rows["level"].nunique() >= LEVELS
    }
    return verdict(settings.values(), *(shows(*each) for each in settings.items())) if settings else None


def along(rows: pd.DataFrame, column: str, name: str) -> "dict[float, pd.Series[float]]":
    """A number by seed, at each value of a column along which these rows run."""
    groups = rows.sort_values(column).groupby(column, sort=True)
    return {float(str(value)): each.set_index("seed")[name].astype(float).sort_index() for value, each in groups}


def redense(results: pd.DataFrame) -> tuple[Setting, dict[str, Setting]]:
    """The sparse networks, and those that they became when they were trained on, by what their rate is called."""
    settings = by(results, "retraining")
    sparse, names = settings.pop("lottery"), {"redense": "at the last learning rate"}
    return sparse, {names.get(word, f"at {word.removeprefix('redense:')}"): each for word, each in settings.items()}


def interval(values: "pd.Series[float]") -> Interval:
    """The mean over seeds and its 95 % t-interval."""
    from scipy.stats import t  # which takes as long to load as pandas does

    values = values.dropna()
    half = float(t.ppf(0.975, len(values) - 1) * values.sem()) if len(values) > 1 else float("inf")
    mean = float(values.mean())
    return mean, mean - half, mean + half


def difference(second: Interval, first: Interval) -> Interval:
    """The second value minus the first, with the interval that follows from theirs (Zou & Donner 2008)."""
    (b, b_low, b_high), (a, a_low, a_high) = second, first
    return b - a, b - a - sqrt((b - b_low) ** 2 + (a_high - a) ** 2), b - a + sqrt((b_high - b) ** 2 + (a - a_low) ** 2)


def above(text: str, value: Interval, unit: str = "points", least: float = 0.0) -> Finding:
    """True where the whole interval is above `least`, false where it is below, open where it holds it."""
    _, low, high = value
    return Finding(text, True if low > least else False if high <= least else None, *value, unit)


def below(text: str, value: Interval, unit: str = "points", most: float = 0.0) -> Finding:
    """True where the whole interval is below `most`, false where it is above, open where it holds it."""
    _, low, high = value
    return Finding(text, True if high < most else False if low >= most else None, *value, unit)


def near(text: str, value: Interval, most: float, unit: str = "levels") -> Finding:
    """True where the whole interval is within `most` of 0, false where none of it is, open in between."""
    _, low, high = value
    return Finding(
        text, True if -most <= low and high <= most else False if low > most or high < -most else None, *value, unit
    )


def shows(label: str, setting: Setting) -> Finding:
    """Whether there is double descent: false only where a dip as deep as the paper's would not have been missed."""
    is_there, (dip, low, high) = setting.curve["double_descent"], setting.size("dip")
    smallest = None
    if not is_there and high < DEEP:
        (curve,) = judging.curves(setting.rows, setting.column)
        smallest = detectable_by([curve.test], *curve.test.shape)
    is_absent = smallest is not None and smallest <= DEEP
    text = f"{label}: double descent, by its dip (p = {setting.curve['p']:.2g})"
    return Finding(text, True if is_there else False if is_absent else None, dip, low, high, "points", True)


def without(label: str, setting: Setting) -> Finding:
    """Whether there is none: `shows` turned round."""
    finding = shows(label, setting)
    return finding._replace(
        text=finding.text.replace(": double descent", ": no double descent"),
        holds=None if finding.holds is None else not finding.holds,
    )


def sentences(verdict: Verdict) -> Iterator[str]:
    """A verdict in words, a line for each finding; the last says the seeds, and what they could have seen."""
    answers: Mapping[bool | None, str] = {True: "yes", False: "no", None: "open"}
    for finding in verdict.findings:
        yield f"{answers[finding.holds]}: {finding.text}{_measured(finding)}"
    yield f"{verdict.seeds} seed{'s' * (verdict.seeds != 1)}{_power(verdict)}"


def _power(verdict: Verdict) -> str:
    """The smallest effects that such a sweep sees: of each unit that of the finding least sure of it."""
    smallest = verdict.smallest
    effects = [] if smallest is None else [f"a dip of {100 * smallest:.1f} points"]
    measured = [each for each in verdict.findings if not each.of_curve and each.detectable is not None]
    for unit in dict.fromkeys(finding.unit for finding in measured):
        most = max(finding.detectable or 0.0 for finding in measured if finding.unit == unit)
        times, digits = SHOWN[unit]
        effects.append(f"a difference of {times * most:.{digits}f} {unit}".rstrip())
    return f"; 4 of 5 such sweeps would see {', '.join(effects)}" if effects else ""


def _measured(finding: Finding) -> str:
    if finding.value is None:
        return ""
    value, low, high = finding.shown
    return f": {value} [{low}, {high}]" + (f" {finding.unit}" if finding.unit else "")
