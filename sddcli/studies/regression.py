"""Regression: least squares that keep few of their weights, by theory and by simulation (Chang et al. 2021).

The estimate from n examples of p features is the smallest one of least squares, all of it, or its s weights of the
highest score. No network and no training: every estimate is a linear system. Risk is the expected squared error on a
new example, noise included.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from threadpoolctl import threadpool_limits  # which scikit-learn brings along

from sddcli.core.seeds import stream
from sddcli.core.words import UsageError, unknown

Array = NDArray[np.floating[Any]]
SIGNAL, NOISE, DRAWS = 60, 0.25, 200
"""How many coordinates the labels depend on, the variance of their noise, draws of the theory for a pruned estimate."""


class World(NamedTuple):
    """Features, and labels that are `signal` times them and a rest of variance `noise`, which no line explains.

    covariance: (p, p) of the features, whose mean is 0; signal: (p,), the best line; examples: (generator, n) ->
    features (n, p) and labels (n,).
    """

    covariance: Array
    signal: Array
    noise: float
    examples: Callable[[np.random.Generator, int], tuple[Array, Array]]


def _gaussian(values: Array, p: int, labels: Array) -> World:
    """Independent Gaussian features, of which labels depend on the first; values: (at least p,) their variances."""
    unseen = float((values[p : len(labels)] * labels[p:] ** 2).sum())
    signal = np.zeros(p)
    signal[: len(labels)] = labels[:p]
    noise, scales = NOISE + unseen, np.sqrt(values[:p])

    def examples(generator: np.random.Generator, n: int) -> tuple[Array, Array]:
        x = generator.standard_normal((n, p)) * scales
        return x, x @ signal + np.sqrt(noise) * generator.standard_normal(n)

    return World(np.diag(values[:p]), signal, noise, examples)


def isotropic(p: int, labels: Array, seed: int) -> World:
    """All p features have variance 1.

    labels: (SIGNAL,), what a label gains by each coordinate that it depends on.
    """
    return _gaussian(np.ones(max(p, SIGNAL)), p, labels)


def spiked(p: int, labels: Array, seed: int) -> World:
    """20 of p features have variance 5, all others 1.

    labels: (SIGNAL,), what a label gains by each coordinate that it depends on.
    """
    return _gaussian(np.where(np.arange(max(p, SIGNAL)) < 20, 5.0, 1.0), p, labels)


def power_law(p: int, labels: Array, seed: int) -> World:
    """Variances fall as 1, 1/2, 1/3, ...; the mean of those that labels depend on is 1.

    labels: (SIGNAL,), what a label gains by each coordinate that it depends on.
    """
    values = 1 / np.arange(1, max(p, SIGNAL) + 1)
    return _gaussian(values / values[:SIGNAL].mean(), p, labels)


def relu(p: int, labels: Array, seed: int) -> World:
    """ReLU(w·x) of standard Gaussian x with random w, minus its mean; labels depend on x along a line.

    Covariances by the arc-cosine kernel of Cho & Saul (2009).
    labels: (SIGNAL,), what a label gains by each coordinate that it depends on.
    """
    w = stream(seed, "theory", "relu").standard_normal((p, SIGNAL)) / np.sqrt(SIGNAL)
    length: Array = np.linalg.norm(w, axis=1)
    cosine = np.clip(w @ w.T / np.outer(length, length), -1, 1)
    angle = np.arccos(cosine)
    kernel = np.outer(length, length) * (np.sin(angle) + (np.pi - angle) * cosine - 1) / (2 * np.pi)
    return _of_inputs(kernel, w / 2, labels, lambda x: np.maximum(x @ w.T, 0) - length / np.sqrt(2 * np.pi))


def fourier(p: int, labels: Array, seed: int) -> World:
    """√2 cos(w·x + b) of standard Gaussian x with random w and b (Rahimi & Recht 2007), minus its mean.

    labels: (SIGNAL,), what a label gains by each coordinate that it depends on.
    """
    w = stream(seed, "theory", "fourier").standard_normal((p, SIGNAL)) / np.sqrt(SIGNAL)
    b = stream(seed, "theory", "fourier", "phases").uniform(0, 2 * np.pi, p)
    square, inner = (w**2).sum(1), w @ w.T
    decay = np.exp(-square / 2)
    minus, plus = (np.exp(-(square[:, None] + square - sign * 2 * inner) / 2) for sign in (1, -1))
    mean = np.sqrt(2) * np.cos(b) * decay
    kernel = minus * np.cos(b[:, None] - b) + plus * np.cos(b[:, None] + b) - np.outer(mean, mean)
    slope = -np.sqrt(2) * (np.sin(b) * decay)[:, None] * w
    return _of_inputs(kernel, slope, labels, lambda x: np.sqrt(2) * np.cos(x @ w.T + b) - mean)


def _of_inputs(covariance: Array, slope: Array, labels: Array, features: Callable[[Array], Array]) -> World:
    """Features of inputs x; slope: (p, inputs) E[feature x], by which the best line follows."""
    reach = slope @ labels
    signal: Array = np.linalg.solve(covariance, reach)
    noise = NOISE + float(labels @ labels - reach @ signal)

    def examples(generator: np.random.Generator, n: int) -> tuple[Array, Array]:
        x = generator.standard_normal((n, len(labels)))
        return features(x), x @ labels + np.sqrt(NOISE) * generator.standard_normal(n)

    return World(covariance, signal, noise, examples)


FEATURES: dict[str, Callable[[int, Array, int], World]] = {
    "isotropic": isotropic,
    "spiked": spiked,
    "power-law": power_law,
    "relu": relu,
    "fourier": fourier,
}
"""(p, what labels depend on, seed) -> world."""


def magnitude(estimate: Array, world: World) -> Array:
    """|w|, of estimates (..., p)."""
    return np.abs(estimate)


def hessian(estimate: Array, world: World) -> Array:
    """|w| times the deviation of its feature: how much the risk rises without it, where features are independent.

    estimate: (..., p), and so is what it returns (Chang et al. 2021).
    """
    return np.abs(estimate) * np.sqrt(np.diag(world.covariance))


def oracle(estimate: Array, world: World) -> Array:
    """The Hessian's score of the best line itself, which nobody knows, (..., p) as the estimates are."""
    return np.broadcast_to(hessian(world.signal, world), estimate.shape)


RULES: dict[str, Callable[[Array, World], Array]] = {"magnitude": magnitude, "hessian": hessian, "oracle": oracle}
"""(estimates (..., p), world) -> scores of the same shape; the highest are kept."""


def estimate(x: Array, y: Array) -> Array:
    """(p,) least squares from x: (n, p) and y: (n,), the smallest solution where there are several."""
    n, p = x.shape
    normal = p <= n
    square, side = (x.T @ x, x.T @ y) if normal else (x @ x.T, y)
    solution: Array = np.linalg.solve(square, side)
    return solution if normal else x.T @ solution


def risk(estimates: Array, world: World) -> Array:
    """(...,) expected squared errors of estimates (..., p) on a new example."""
    error = estimates - world.signal
    squared: Array = ((error @ world.covariance) * error).sum(-1)
    return world.noise + squared


def kept(estimates: Array, scores: Array, s: int) -> Array:
    """`estimates` (..., p) with all but the s of the highest score at 0. Of equal scores the first count."""
    order = np.argsort(-scores, axis=-1, kind="stable")[..., s:]
    pruned = estimates.copy()
    np.put_along_axis(pruned, order, 0.0, -1)
    return pruned


def without_risk(p: int, n: int) -> bool:
    """Whether least squares of p weights from n examples have no finite expected risk: about as many as there are."""
    return abs(p - n) <= 1


def dense_risk(world: World, n: int) -> tuple[float, Array, Array, float]:
    """The risk of the smallest solution of least squares for large n and p, and what its weights look like.

    Returns the risk, the (p,) values and (p, p) vectors of the covariance, and the temperature 1/ξ of Σ g = n with
    g = 1 / (1 + 1/(ξ value)); 0 where p < n, whose risk is that of ordinary least squares, exact for Gaussian features.
    """
    values, vectors = np.linalg.eigh(world.covariance)
    values, p = np.maximum(values, values.max() * 1e-13), len(values)
    if p < n:
        return world.noise * (n - 1) / (n - p - 1), values, vectors, 0.0

    def excess(log: float) -> float:
        return float((1 / (1 + np.exp(-log) / values)).sum()) - n

    temperature = float(np.exp(-brentq(excess, -60, 60, xtol=1e-13)))
    gain = 1 / (1 + temperature / values)
    bias = float((values * (vectors.T @ world.signal) ** 2 * (1 - gain) ** 2).sum())
    return (world.noise + bias) / (1 - float((gain**2).sum()) / n), values, vectors, temperature


def theory(world: World, n: int, s: int, rules: Sequence[str], generator: np.random.Generator) -> dict[str, float]:
    """Asymptotic risk by rule, "" for all weights: each weight is a share of the best line's and Gaussian noise.

    In the basis of the covariance, estimate = g signal + g √(R / (n value)) h with h standard Gaussian, R the dense
    risk. The oracle is least squares of its s weights alone, as it knows them before.
    """
    whole, values, vectors, temperature = dense_risk(world, n)
    gain = 1 / (1 + temperature / values)
    spread = gain * np.sqrt(whole / (n * values))
    h = generator.standard_normal((DRAWS, len(values)))
    estimates = (gain * (vectors.T @ world.signal) + spread * h) @ vectors.T
    risks = {"": whole}
    for rule in rules:
        if rule == "oracle":
            risks[rule] = dense_risk(_known(world, s), n)[0]
        else:
            risks[rule] = float(risk(kept(estimates, RULES[rule](estimates, world), s), world).mean())
    return risks


def _known(world: World, s: int) -> World:
    """The world of the oracle's s features alone, in which what the others explain is noise."""
    chosen = np.sort(np.argsort(-oracle(world.signal, world), kind="stable")[:s])
    covariance = world.covariance[np.ix_(chosen, chosen)]
    reach = world.covariance[chosen] @ world.signal
    signal: Array = np.linalg.solve(covariance, reach)
    unseen = float(world.signal @ world.covariance @ world.signal - reach @ signal)
    return World(covariance, signal, world.noise + unseen, world.examples)


def simulation(x: Array, y: Array, world: World, s: int, rules: Sequence[str]) -> dict[tuple[str, str], float]:
    """The risk of the estimate from these examples, by rule and retraining; ("", "") has all weights.

    x: (n, p); y: (n,). "refit": least squares of the kept weights alone, from the same examples. "none": they stay
    as they were.
    """
    whole = estimate(x, y)
    risks = {("", ""): float(risk(whole, world))}
    for rule in rules:
        score = RULES[rule](whole, world)
        chosen = np.sort(np.argsort(-score, kind="stable")[:s])
        again = np.zeros_like(whole)
        again[chosen] = estimate(x[:, chosen], y)
        risks[rule, "refit"] = float(risk(again, world))
        if rule != "oracle":
            risks[rule, "none"] = float(risk(kept(whole, score, s), world))
    return risks


@dataclass(frozen=True)
class Study:
    """What is asked for: every combination of features, ratio and seed, of each all weights and what each rule keeps.

    ratio: features per example, p/n. kept: how many weights a rule keeps, or 0: the share that `sparsity` leaves.
    A seed is a draw of the best line and, of each ratio, so many repetitions of the examples, whose mean is one row.
    Raises UsageError for what cannot be.
    """

    features: tuple[str, ...] = ("isotropic", "spiked", "power-law")
    ratio: tuple[float, ...] = (0.3, 0.5, 1.5, 2.0, 4.0)
    rule: tuple[str, ...] = ("magnitude", "hessian", "oracle")
    examples: int = 200
    kept: int = 40
    sparsity: float = 0.0
    seed: tuple[int, ...] = (0, 1, 2, 3, 4)
    repetitions: int = 40

    def __post_init__(self) -> None:
        for words, table, what in ((self.features, FEATURES, "kind of features"), (self.rule, RULES, "pruning rule")):
            if wrong := [word for word in words if word not in table]:
                raise unknown(what, wrong[0], table)
        if self.kept and self.sparsity:
            raise UsageError(
                f"kept {self.kept} and sparsity {self.sparsity:g} both say how many weights stay: give one"
            )
        if not (0 < self.sparsity < 1 or (self.kept > 0 and self.sparsity == 0)):
            raise UsageError(f"kept {self.kept} and sparsity {self.sparsity:g}: keep at least one weight, but not all")
        if self.examples < 10 or self.repetitions < 1 or min(self.ratio) <= 0:
            raise UsageError("a study has at least 10 examples and 1 repetition, and ratios above 0")
        for ratio in self.ratio:
            p, s = self.sizes(ratio)
            if s > p:
                raise UsageError(f"{s} weights cannot be kept of {p}: ratio {ratio:g} of {self.examples} examples")

    def sizes(self, ratio: float) -> tuple[int, int]:
        """The number of features at this ratio, and how many of their weights are kept."""
        p = max(1, round(ratio * self.examples))
        return p, self.kept or max(1, round((1 - self.sparsity) * p))


def rows(study: Study) -> Iterator[dict[str, Any]]:
    """The table of a study: a row each seed and estimate, in columns of results.csv where it has such.

    All weights are level 0, what a rule keeps is level 1, and the dense row stands under each of its chains, as in
    every results.csv. `risk` is the mean of the simulations and `theory_risk` what theory says of it, none for
    weights that were fitted again; neither has a number where it is infinite.
    """
    for world in product(study.features, study.ratio, study.seed):
        # Small systems are no faster on several threads, and 20 times slower beside a busy neighbour.
        with threadpool_limits(1):
            table = list(_rows(study, *world))
        yield from table


def ids(study: Study) -> set[str]:
    """The ids of all estimates of a study."""
    worlds = product(study.features, study.ratio, study.seed)
    return {row["run"] for world in worlds for row, *_ in _estimates(study, *world)}


def _rows(study: Study, word: str, ratio: float, seed: int) -> Iterator[dict[str, Any]]:
    (p, s), n = study.sizes(ratio), study.examples
    labels = stream(seed, "theory", "labels").standard_normal(SIGNAL) / np.sqrt(SIGNAL)
    world = FEATURES[word](p, labels, seed)
    names: tuple[str | int, ...] = "theory", word, p, n
    singular = without_risk(p, n)
    drawn = (world.examples(stream(seed, *names, k), n) for k in range(0 if singular else study.repetitions))
    simulated = [simulation(x, y, world, s, study.rule) for x, y in drawn]
    expected = {} if singular else theory(world, n, s, study.rule, stream(seed, *names, "theory"))
    for row, rule, retraining in _estimates(study, word, ratio, seed):
        known = not singular and (retraining != "refit" or rule == "oracle")
        yield row | {
            "risk": _rounded(np.mean([each[rule, retraining] for each in simulated])) if simulated else np.nan,
            "theory_risk": _rounded(expected[rule]) if known else np.nan,
        }


def _estimates(study: Study, word: str, ratio: float, seed: int) -> Iterator[tuple[dict[str, Any], str, str]]:
    """The rows of one draw without their risks, and of each the rule and retraining of its estimate."""
    (p, s), n = study.sizes(ratio), study.examples
    sizes = {"train_size": n, "examples": n, "width": p, "parameters": p}
    shared = {"dataset": word, "model": f"regression:width={p}", "seed": seed, **sizes}
    own = {**shared, "repetitions": study.repetitions}
    for rule in study.rule:
        for retraining in ("refit",) if rule == "oracle" else ("none", "refit"):
            chain = _id({**own, "rule": rule, "retraining": retraining, "kept": s})
            named = {**shared, "criterion": rule, "retraining": retraining, "chain": chain}
            for level, run, weights in ((0, _id(own), p), (1, chain, s)):
                share = {"density": weights / p, "sparsity": 1 - weights / p, "test_accuracy": np.nan}
                row = {**named, "run": run, "level": level, "weights": weights, **share}
                yield row, *((rule, retraining) if level else ("", ""))


def _rounded(number: Any) -> float:
    """To the seven digits of a recorded table, so that one says what it said before it was recorded."""
    return float(f"{number:.7g}")


def _id(words: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:12]


def from_words(words: Mapping[str, str]) -> Study:
    """The study that words ask for, option -> text: lists have commas, of seeds also 0-4.

    Raises UsageError for unknown options and texts that cannot be read.
    """
    usual = asdict(Study())
    for name in words:
        if name not in usual:
            raise unknown("option of a study", name, usual)
    read = {name: _read(name, text, usual[name]) for name, text in words.items()}
    if "sparsity" in read and "kept" not in read:
        read["kept"] = 0
    return Study(**read)


def _read(name: str, text: str, usual: Any) -> Any:
    """A text as the type of the option's usual value."""
    several = isinstance(usual, tuple)
    kind = type(usual[0]) if several else type(usual)
    try:
        parts = [part.strip() for part in text.split(",")] if several else [text]
        if name == "seed":
            ends = [[int(end) for end in part.split("-")] for part in parts]
            return tuple(dict.fromkeys(k for low_high in ends for k in range(low_high[0], low_high[-1] + 1)))
        values = tuple(kind(part) for part in parts)
    except ValueError:
        raise UsageError(f"{name} cannot be read: {text!r}; it is {_example(usual)}, say") from None
    return values if several else values[0]


def _example(usual: Any) -> str:
    return ",".join(map(str, usual)) if isinstance(usual, tuple) else str(usual)
