"""Axes: what curves run along, each with its label, its scale, and the columns of the tables that move along it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from math import nan
from typing import TYPE_CHECKING, Literal, NamedTuple

from sddcli.core.words import UsageError, unknown

if TYPE_CHECKING:
    import pandas as pd

Scale = Literal["removed", "left", "log", "linear"]


class Column(NamedTuple):
    """A column of the tables whose values, one after the other, make a curve.

    field: the field of a run that says it; an epoch is said by no field, but by each evaluation. called: what it is in
    a sentence. harder: whether labels are harder to fit at its larger values, so that a curve is read from small to
    large, as levels are; else from large to small.
    linear: whether equal differences are equal steps; else equal ratios are.
    """

    field: str
    called: str
    harder: bool = False
    linear: bool = False


COLUMNS: dict[str, Column] = {
    "level": Column("level", "level", harder=True, linear=True),
    "width": Column("model", "width"),
    "parameters": Column("model", "parameters"),
    "examples": Column("train_size", "training examples", harder=True),
    "batch_size": Column("batch_size", "batch size", harder=True),
    "lr": Column("lr", "learning rate"),
    "noise": Column("noise", "noise", harder=True, linear=True),
    "epochs": Column("epochs", "epochs"),
    "epoch": Column("epoch", "epoch"),
}


class Axis(NamedTuple):
    """What figures and tables show curves against.

    values: of the rows of a summary, those on this axis. columns: the COLUMNS that move along it: the first in which
    runs differ makes the curves, and the others tell curves apart. scale: "left" is -log of what is left of a network,
    so that equal shares removed are equal steps to the right, and "removed" the same of the share that is not.
    analysis: the one that measures the values, where training does not say them.
    """

    label: str
    values: Callable[[pd.DataFrame], pd.Series[float]]
    columns: tuple[str, ...]
    scale: Scale = "log"
    analysis: str = ""


AXES: dict[str, Axis] = {
    "sparsity": Axis("sparsity (% of weights removed)", lambda summary: summary["sparsity"], ("level",), "removed"),
    "level": Axis("pruning level", lambda summary: summary["level"], ("level",), "linear"),
    "weights": Axis("prunable weights kept", lambda summary: summary["weights"], ("level", "parameters"), "left"),
    "n-eff": Axis(
        "effective parameters, N_eff",
        lambda summary: summary["n_eff"] if "n_eff" in summary else summary["level"] * nan,
        ("level",),
        "left",
        "effective-parameters",
    ),
    "per-example": Axis(
        "prunable weights kept per training example",
        lambda summary: summary["weights"] / summary["examples"],
        ("level", "parameters", "examples"),
        "left",
    ),
    "width": Axis("width (units or channels of the first layer)", lambda summary: summary["width"], ("width",)),
    "parameters": Axis("parameters of the dense network", lambda summary: summary["parameters"], ("parameters",)),
    "ratio": Axis(
        "parameters per training example",
        lambda summary: summary["parameters"] / summary["examples"],
        ("parameters", "examples"),
    ),
    "train-size": Axis("training examples", lambda summary: summary["examples"], ("examples",)),
    "batch-size": Axis("batch size", lambda summary: summary["batch_size"], ("batch_size",)),
    "lr": Axis("learning rate", lambda summary: summary["lr"], ("lr",)),
    "noise": Axis("label noise (share of labels replaced)", lambda summary: summary["noise"], ("noise",), "linear"),
    "epochs": Axis("epochs of training", lambda summary: summary["epochs"], ("epochs",)),
    "epoch": Axis("epoch", lambda summary: summary["epoch"], ("epoch",)),
}
"""Every axis by its name. Phases are words of levels: a curve along another column has a valley and a peak alone."""


def axis_of(word: str) -> Axis:
    """The axis of that name. Raises UsageError, which lists them all, for a name that none has."""
    if word not in AXES:
        raise unknown("axis", word, AXES)
    return AXES[word]


def column_of(word: str, differing: Collection[str]) -> str:
    """The column that makes curves along an axis. differing: the fields in which the runs differ, with level.

    Raises UsageError for an unknown axis and, with a list of those that there are, where runs do not differ along it.
    """
    for name in axis_of(word).columns:
        if COLUMNS[name].field in differing:
            return name
    others = [name for name, axis in AXES.items() if any(COLUMNS[each].field in differing for each in axis.columns)]
    raise UsageError(f"these runs do not differ along {word}; they do along: {', '.join(others) or 'no axis'}")


def family(model: str, column: str) -> str:
    """A model without what its width says: convnet:width=8 is a convnet, and lenet-64-32 a lenet-H-0.5H.

    column: "width", along which networks of other proportions are other curves, or "parameters", where they are not.
    """
    name, *parameters = model.split(":")
    if re.fullmatch(r"lenet(-\d+)+", name):
        widths = [int(width) for width in name.split("-")[1:]]
        shape = ["H" if width == widths[0] else f"{width / widths[0]:.2g}H" for width in widths]
        name = "-".join(["lenet", *shape]) if column == "width" else "lenet"
    return ":".join([name, *(each for each in parameters if not each.startswith("width="))])
