"""Spec: the Run, all that decides a number; its parents, its identity; tables of values unfolded into runs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from functools import cache, cached_property
from itertools import product
from math import prod
from typing import Any

from sddcli.core import retraining
from sddcli.core.allocation import ALLOCATIONS
from sddcli.core.retraining import PRUNINGS, RETRAININGS, Retraining, origin, steps_or_epochs
from sddcli.core.schedules import SCHEDULES, milestones
from sddcli.core.words import CONTROL, UsageError, in_words, pick, unknown

Value = str | int | float | None
MOST_RUNS = 1_000_000
COUNTS = ("prunable", "all")
TAKES = ("last", "validation")
AUTO = "auto"
"""Instead of a table's levels: they are chosen as the sweep goes on; "auto:last=32" sets the last possible one."""
SUBSEEDS = ("init_seed", "order_seed", "noise_seed")


def _option(
    help: str, default: Any = MISSING, within: str = "", table: str = "", of: str = "run", own: bool = False
) -> Any:
    """A field. within: its range; table: where its words are; of: "chain" where only pruned runs have it; own: whether
    it can be code of the user's own, too."""
    return field(default=default, metadata={"help": help, "within": within, "table": table, "of": of, "own": own})


@dataclass(frozen=True)
class Run:
    """One training: a dense network (level 0), or one level of a chain, pruned and retrained.

    Frozen plain data. Defaults never change meaning, so old manifests stay true; what a data set prefers is
    resolved before the Run is made. Equal things are one Run: what cannot matter is set to its default here.
    Raises UsageError for a value outside its range or a pruned run without its criterion.
    """

    dataset: str = _option(
        "Data set; folder:PATH for your own images, torchvision:NAME, data.py:load", table="datasets", own=True
    )
    model: str = _option(
        "Network; lenet takes other widths too, as in lenet-64-32; others: torchvision:NAME, timm:NAME, net.py:Net",
        table="core.models.MODELS",
        own=True,
    )
    noise: float = _option("Label noise: share of the training labels that are replaced", 0.0, "[0, 1]")
    noise_kind: str = _option(
        "Type of label noise; file:labels.csv takes labels from a file",
        "symmetric",
        table="core.noise.NOISES",
        own=True,
    )
    train_size: int = _option("Training examples: a fixed subset, classes in proportion; 0: all", 0, "[0, inf)")
    validation: float = _option("Share of the training examples to hold out for validation", 0.0, "[0, 1)")
    augment: str = _option("Data augmentation of training images", "none", table="core.images.AUGMENTATIONS", own=True)
    init: str = _option("Weight initialization", "kaiming", table="core.inits.INITS", own=True)
    criterion: str = _option("Pruning criterion", "", table="core.criteria.CRITERIA", of="chain", own=True)
    scope: str = _option(
        "How the remaining weights are shared out among layers",
        "global",
        table="core.allocation.ALLOCATIONS",
        of="chain",
    )
    unit: str = _option("What is kept or removed together", "weight", table="core.units.UNITS", of="chain")
    count: str = _option("What the pruning rate refers to: prunable weights, or all", "prunable", of="chain")
    pruning: str = _option(
        "Prune from the level before (iterative) or from the dense network (one-shot)", "iterative", of="chain"
    )
    rate: float = _option(
        "Pruning rate: share of the remaining weights that each level removes", 0.0, "[0, 1)", of="chain"
    )
    level: int = _option("Pruning levels; 0 is the dense network", 0, "[0, 1000]")
    retraining: str = _option("Retraining after pruning", "", table="core.retraining.RETRAININGS", of="chain")
    start: str = _option(
        "How the starting values of the remaining weights are changed",
        "original",
        table="core.starts.STARTS",
        of="chain",
        own=True,
    )
    rewind: str = _option("Rewinding point: 1000it (steps) or 5ep (epochs)", "0it", of="chain")
    epochs: int = _option("Epochs of each training, dense or pruned", 160, "[0, 1000000]")
    length: str = _option(
        "Length of each training, instead of its epochs: 50000it (steps; the last epoch is cut short) or 40ep (epochs)",
        "",
    )
    batch_size: int = _option("Batch size", 128, "[1, inf)")
    loss: str = _option("Loss function", "cross-entropy", table="core.losses.LOSSES", own=True)
    regularization: str = _option(
        "Regularization: how the gradients of the loss are changed",
        "none",
        table="core.regularization.REGULARIZATIONS",
        own=True,
    )
    dropout: float = _option(
        "Dropout: share of the inputs of fully connected layers, but for a network's first, left out in each step",
        0.0,
        "[0, 1)",
    )
    optimizer: str = _option("Optimizer", "sgd", table="core.optimizers.OPTIMIZERS", own=True)
    lr: float = _option("Learning rate", 0.1, "(0, inf)")
    momentum: float = _option("Momentum of SGD", 0.0, "[0, 1)")
    weight_decay: float = _option("Weight decay", 0.0, "[0, inf)")
    schedule: str = _option(
        "How the learning rate falls: at milestones (drops), or ever slower", "drops", table="core.schedules.SCHEDULES"
    )
    milestones: str = _option("When the learning rate drops: epochs, 80/120, or shares of training, 0.5/0.75", "")
    gamma: float = _option("Factor of each drop of the learning rate", 0.1, "(0, inf)")
    precision: str = _option("Numerical precision of training", "fp32", table="core.precisions.PRECISIONS")
    eval_every: int = _option("Epochs between evaluations; the last epoch is always evaluated", 1, "[1, inf)")
    take: str = _option(
        "Weights that a training ends with: those of its last epoch (last), or of the evaluated epoch with the best "
        "accuracy on the examples held out (validation)",
        "last",
    )
    seed: int = _option("Random seed for initialization, data order, label noise and pruning", 0, "[0, inf)")
    init_seed: int | None = _option("Random seed for the initialization, if not --seed", None, "[0, inf)")
    order_seed: int | None = _option("Random seed for the data order, if not --seed", None, "[0, inf)")
    noise_seed: int | None = _option("Random seed for the label noise, if not --seed", None, "[0, inf)")

    def __post_init__(self) -> None:
        for f in fields(self):
            object.__setattr__(self, f.name, checked(f, getattr(self, f.name)))
        canonical: dict[str, Value] = {
            "dataset": self.dataset.rstrip("/"),
            "milestones": "/".join(repr(drop).removesuffix(".0") for drop in milestones(self.milestones)),
            **{name: None for name in SUBSEEDS if getattr(self, name) == self.seed},
        }
        for name, known in (("count", COUNTS), ("pruning", PRUNINGS), ("take", TAKES)):
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)
        by_total = pick("scope", self.scope, ALLOCATIONS).total
        if self.length:
            canonical |= self._lasting()
        elif not self.epochs:
            raise UsageError("epochs 0 is outside [1, 1000000]")
        if self.take == "validation" and not self.validation:
            raise UsageError(
                "take validation chooses by examples that are held out, and none are: hold out a share, such as "
                "--validation 0.1"
            )
        if self.noise == 0:
            canonical |= {"noise_kind": Run.noise_kind, "noise_seed": None}
        if self.optimizer.split(":")[0] != "sgd":
            canonical["momentum"] = Run.momentum
        pick("schedule", self.schedule, SCHEDULES)
        if self.schedule != Run.schedule:
            canonical["milestones"] = Run.milestones
        if not canonical["milestones"]:
            canonical["gamma"] = Run.gamma
        taught = retraining.lesson_of(self.loss)
        if taught and (taught["share"] == 0 or self.level == 0):
            canonical["loss"] = Run.loss
        if self.level == 0:
            canonical |= {name: getattr(Run, name) for name in BRANCH}
        elif not (self.retraining and self.rate and (self.criterion or not self._kind.ranks)):
            raise UsageError(f"level {self.level} needs a criterion, a retraining and a rate above 0")
        else:
            point, unit = steps_or_epochs("rewind", self.rewind)
            canonical["rewind"] = f"{point}{unit}" if point and self._kind.rewinds else Run.rewind
            if not by_total:
                canonical["count"] = Run.count
            if not self._kind.ranks:
                canonical |= {"criterion": "", "unit": Run.unit}
                canonical |= {"scope": self._kind.scope, "count": Run.count} if self._kind.scope else {}
            if not self._kind.chained:
                canonical["pruning"] = Run.pruning
        for name, usual in canonical.items():
            object.__setattr__(self, name, usual)

    def _lasting(self) -> dict[str, Value]:
        """The length as it is written: epochs as such and steps with epochs 0, how many they are depends on the data.

        Raises UsageError for no length, and for epochs beside it.
        """
        number, unit = steps_or_epochs("length", self.length)
        epochs, length = (number, "") if unit == "ep" else (0, f"{number}it")
        if self.epochs not in (Run.epochs, 0, epochs):
            raise UsageError(f"epochs {self.epochs} and length {self.length} both say how long to train: give one")
        if not 1 <= number <= 10**6 * (1 if unit == "ep" else 1000):
            raise UsageError(f"length {self.length} is outside 1ep to 1000000ep, or 1it to 1000000000it")
        return {"epochs": epochs, "length": length}

    @property
    def steps(self) -> int:
        """The length of its training where that is given in steps; 0 where it is in epochs."""
        return steps_or_epochs("length", self.length)[0] if self.length else 0

    @property
    def _kind(self) -> Retraining:
        return pick("retraining", self.retraining, RETRAININGS)

    @cached_property
    def id(self) -> str:
        """Twelve hexadecimal digits of the hash of the fields that differ from their defaults."""
        differing = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return hashlib.sha256(json.dumps(differing, sort_keys=True).encode()).hexdigest()[:12]

    @cached_property
    def chain(self) -> str:
        """The id of the chain: that of its run at level 1; a dense run, shared by chains, has its own."""
        return replace(self, level=min(self.level, 1)).id

    @cached_property
    def parents(self) -> tuple[Run, ...]:
        """The runs that must be finished before this one can start."""
        return retraining.parents(self)

    @cached_property
    def root(self) -> Run:
        """The dense run whose initial weights, or those of a later step, this one's weights descend from."""
        return retraining.root(self)

    @cached_property
    def slug(self) -> str:
        """Its folder's name for people, without hash and level: dataset, model, noise, pruning, seed."""
        noise = f"{self.noise_kind}{self.noise:g}" if self.noise else "clean"
        data = re.sub(r":.*/(?=.)", ":", self.dataset)  # of a folder's path its name
        pruned = (self.criterion, self.retraining) if self.level else ("dense",)
        words = (data, self.model, noise, *pruned, f"seed{self.seed}")
        return re.sub(r"[^a-zA-Z0-9.=_-]+", "_", "-".join(filter(None, words)))[:SLUG_LETTERS]

    @cached_property
    def batch(self) -> tuple[Run, str]:
        """The same for all runs that can be trained side by side: their plain dense run, their schedule, lesson and
        unit, since masks of channels are of biases too."""
        plain = replace(self, noise=0, level=0, seed=0, init_seed=None, order_seed=None, noise_seed=None)
        own = [self.loss] * (self.loss != plain.loss) + [self.unit] * (self.unit != Run.unit)
        return plain, ", ".join([self._course, *own])

    @property
    def _course(self) -> str:
        """Its schedule and its lesson in words."""
        descent = origin(self) if self.level else None
        if descent and (descent.moves or descent.cycles > 1):
            return self.retraining
        if descent and descent.lesson != "supervised":
            return f"{descent.lesson} from {self.rewind}"
        if descent is None or descent.schedule == "full":
            return "full"
        if descent.schedule == "none":
            return "none"
        if descent.schedule == "last":
            return f"last {descent.lr}"
        return "full" if self.rewind == Run.rewind else f"from {self.rewind}"

    def seed_of(self, what: str) -> int:
        """The seed of "init", "order" or "noise": its own, or `seed`."""
        own: int | None = getattr(self, f"{what}_seed")
        return self.seed if own is None else own


SLUG = ("model", "noise", "noise_kind", "criterion", "retraining", "seed")
"""The fields that a slug tells whole; of a folder of images it has the last name alone."""
SLUG_LETTERS = 100
"""How long a slug can be: it is part of a folder's name, of which file systems take 255 bytes."""
FIELDS: dict[str, Field[Any]] = {f.name: f for f in fields(Run)}
BRANCH = tuple(name for name, f in FIELDS.items() if f.metadata["of"] == "chain")
"""The fields that only pruned runs have: what a chain adds to the dense run it grows from."""
OWN = tuple(name for name, f in FIELDS.items() if f.metadata["own"])
"""The fields that can name code of a user's own."""
CHAINED = (*BRANCH, "loss")
"""The fields in which a pruned run may differ from its dense one: those, and the loss, as that has no teacher."""
KINDS = {name: {"str": str, "int": int, "float": float}[str(f.type).split(" ")[0]] for name, f in FIELDS.items()}


def differing(runs: Iterable[Run]) -> tuple[str, ...]:
    """The fields, other than level, in which `runs` differ; those of chains only where pruned runs do."""
    values: dict[str, set[Value]] = {name: set() for name in FIELDS if name != "level"}
    for run in runs:
        for name, seen in values.items():
            if run.level or name not in BRANCH:
                seen.add(getattr(run, name))
    return tuple(name for name, seen in values.items() if len(seen) > 1)


def setting(run: Run, names: Iterable[str]) -> str:
    """The fields `names` of `run` in words, "lr 0.1, seed 2", those that it has."""
    values = {name: getattr(run, name) for name in names if run.level or name not in BRANCH}
    return in_words(values)


def named(run: Run, names: Iterable[str]) -> str:
    """`run` in a line for people: its slug, its level, and its fields `names` as far as the slug does not tell them."""
    cut = len(run.slug) == SLUG_LETTERS  # then its last words, such as the seed, are missing
    more = setting(run, [name for name in names if cut or name not in SLUG])
    return f"{run.slug} level {run.level}" + (f" ({more})" if more else "")


def checked(f: Field[Any], value: Any) -> Value:
    """`value` in the type and range of field `f`. Raises UsageError that names both."""
    if value is None and f.default is None:
        return None
    kind: type[Any] = KINDS[f.name]
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else kind):
        noun = {str: "a word", int: "a whole number", float: "a number"}[kind]
        raise UsageError(f"{f.name} takes {noun}, got {value!r}")
    within = f.metadata["within"]
    if not within:
        if CONTROL.search(str(value)):
            raise UsageError(f"{f.name} has letters that would give orders to a terminal: {str(value)!r}")
        return str(value)
    if isinstance(value, int) and abs(value) > 10**300:  # larger than any float
        raise UsageError(f"{f.name} is outside {within}")
    low, high = _ends(within)
    if not (low < value < high or (value == low and "[" in within) or (value == high and "]" in within)):
        raise UsageError(f"{f.name} {value} is outside {within}")
    number: float = kind(value) + 0  # -0.0 becomes 0.0
    return number


@cache
def _ends(within: str) -> tuple[float, float]:
    """The ends of a range such as "[0, inf)"."""
    low, high = within[1:-1].split(", ")
    return float(low), float(high)


def from_dict(values: Mapping[str, Any]) -> Run:
    """The Run of a manifest. Raises UsageError for fields that this version does not know."""
    for name in values:
        if name not in FIELDS:
            raise unknown("field of a run", name, FIELDS)
    return Run(**values)


def to_dict(run: Run) -> dict[str, Value]:
    """All fields of `run`, name -> value, in their order."""
    return asdict(run)


def unfold(table: Mapping[str, Value | Sequence[Value]]) -> tuple[Run, ...]:
    """All runs of a table: a list is an axis, and the runs are the product of the axes, each once.

    Raises UsageError for an unknown field, a value out of range, or more than a million runs.
    """
    for name in table:
        if name not in FIELDS:
            raise unknown("field", name, FIELDS)
    axes = [_axis(values) for values in table.values()]
    if (size := prod(len(axis) for axis in axes)) > MOST_RUNS:
        raise UsageError(f"{size} runs are more than {MOST_RUNS}: split the sweep")
    return tuple(dict.fromkeys(Run(**dict(zip(table, point, strict=True))) for point in product(*axes)))


def last_level(table: Mapping[str, Value | Sequence[Value]]) -> int | None:
    """The last level of a table whose levels are chosen as its sweep goes on; None of any other."""
    match = re.fullmatch(rf"{AUTO}:last=(\d{{1,4}})", str(_axis(table.get("level", 0))[0]))
    return int(match[1]) if match else None


def _axis(values: Any) -> Sequence[Any]:
    return values if isinstance(values, (list, tuple)) else [values]


def with_parents(runs: Iterable[Run]) -> tuple[Run, ...]:
    """`runs` and all runs they grow from, each once, parents first."""
    ordered: dict[Run, None] = {}
    for run in runs:
        pending = [] if run in ordered else [run]
        while pending:
            missing = [parent for parent in pending[-1].parents if parent not in ordered]
            if missing:
                pending += missing
            else:
                ordered[pending.pop()] = None
    return tuple(ordered)
