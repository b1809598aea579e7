"""Importing: what OpenLTH and the code of He et al. (2022), which grew from it, recorded of their runs.

Rows of a results.csv are made of texts; nothing is run or unpickled. A folder has KIND_HASH/replicate_R/level_L/main/
with logger and sparsity_report.json, and the settings of all levels in level_0/main/hparams.log; one KIND_HASH/ alone
is taken too. Accuracies of a logger are fractions, against the true test labels and the noisy training labels.
"""

import hashlib
import json
import re
from collections.abc import Callable
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from sddcli.core.words import UsageError
from sddcli.spec import Run
from sddcli.store import Damaged, StoreError

Row = dict[str, str | int | float]
MOST = 10**7
"""Bytes of a text of a run: a logger of 160 epochs has 20 kB."""
KINDS = {"lottery": "lottery", "finetune": "finetune", "rewindLR": "lr-rewind", "scratch": "scratch"}
"""How names of folders of experiments begin -> retraining; OpenLTH has the first, the code of He et al. all."""
STRATEGIES = {"sparse_global": "magnitude", "network_slimming": "slimming"}
"""Pruning strategies -> criterion; any other is the criterion's name."""


class Imported(NamedTuple):
    """rows: as of results.csv, a row a run; left_out: folders of levels that are not finished."""

    rows: list[Row]
    left_out: list[Path]


def open_lth(root: Path) -> Imported:
    """All finished runs below a folder of OpenLTH or of the code of He et al.

    Raises StoreError where there is none, or a file is damaged.
    """
    folders = [each for each in (root, *sorted(root.glob("*_*"))) if each.name.partition("_")[0] in KINDS]
    # level_pretrain is no level: there the weights were made that others are rewound to.
    levels = [each for folder in folders for each in folder.glob("replicate_*/level_[0-9]*/main")]
    rows, left_out = list[Row](), list[Path]()
    for level in sorted(levels, key=lambda each: (each.parts[-4], _order(each))):
        if (level / "logger").exists():
            rows.append(_row(level))
        else:
            left_out.append(level)
    if not rows:
        layout = f"KIND_HASH/replicate_R/level_L/main/logger, KIND one of {', '.join(KINDS)}"
        raise StoreError(f"{root} has no finished runs of OpenLTH, or of the code of He et al.: it looks for {layout}")
    return Imported(rows, left_out)


def _order(level: Path) -> tuple[int, int]:
    replicate, number = (int(re.sub(r"\D", "", part) or 0) for part in level.parts[-3:-1])
    return replicate, number


def _row(level: Path) -> Row:
    """One run: its settings, the sparsity of its mask, and the last numbers of its logger."""
    (replicate, number), kind = _order(level), KINDS[level.parts[-4].partition("_")[0]]
    settings = _read(level.parent.with_name("level_0") / "main" / "hparams.log", partial(_settings, kind, number))
    metrics = _read(level / "logger", _metrics)
    total, kept = _read(level / "sparsity_report.json", _sparsity)
    chain = _id(level.parts[-4], replicate, 1)
    run = chain if number == 1 else _id(level.parts[-4], replicate, number)
    sizes: Row = {"sparsity": 1 - kept / total, "density": kept / total, "weights": int(kept)}
    return {**settings, "level": number, "seed": replicate, "chain": chain, "run": run, **sizes, **metrics}


def _id(folder: str, *numbers: int) -> str:
    return hashlib.sha256(repr(("open_lth", folder, *numbers)).encode()).hexdigest()[:12]


def _read(path: Path, reader: Callable[[str], Any]) -> Any:
    """What a reader makes of a text. Raises StoreError where it cannot be read, Damaged where it is cut or wrong."""
    try:
        with path.open("rb") as file:
            text = file.read(MOST + 1)
        return reader(text.decode("utf-8"))
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise Damaged(
            f"{path} is cut or not of OpenLTH ({' '.join(str(error).split()) or type(error).__name__})"
        ) from None


def _metrics(text: str) -> Row:
    """Of lines "test_accuracy,ITERATION,VALUE" the last value of each metric, and the best test accuracy."""
    values: dict[str, dict[int, float]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, comma, rest = line.partition(",")
        iteration, _, value = rest.partition(",")
        if not comma or not iteration.isdecimal() or not isfinite(float(value or "nan")):
            raise UsageError(f"line {number} is not NAME,ITERATION,VALUE")
        values.setdefault(name, {})[int(iteration)] = float(value)
    known = ("test_accuracy", "test_loss", "train_accuracy", "train_loss")
    last: Row = {name: values[name][max(values[name])] for name in known if name in values}
    return {**last, "best_test_accuracy": max(values["test_accuracy"].values())}


def _sparsity(text: str) -> tuple[float, float]:
    report = json.loads(text)
    total, kept = float(report["total"]), float(report["unpruned"])
    if not 0 <= kept <= total or not total:
        raise UsageError(f"{kept:g} of {total:g} weights are left")
    return total, kept


def _settings(retraining: str, level: int, text: str) -> Row:
    """The settings of a level by the names that they have here, from its sections of lines "* NAME => VALUE"."""
    sections: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        if match := re.fullmatch(r"\s*\* (\w+) => (.*)", line):
            sections[next(reversed(sections))][match[1]] = match[2].strip()
        elif line.strip():
            sections[line.strip()] = {}
    data, model, training = (sections[f"{name} Hyperparameters"] for name in ("Dataset", "Model", "Training"))
    (pruning,) = (part for part in sections.values() if "pruning_strategy" in part)  # named after its strategy
    training |= sections.get("Finetuning Hyperparameters", {}) if level else {}
    strategy, before = pruning["pruning_strategy"], sections.get("Pretraining Training Hyperparameters", {})
    noise = data.get("random_labels_fraction") or data.get("noisy_labels_fraction", "0")
    return {
        "dataset": data["dataset_name"],
        "model": f"openlth:{model['model_name']}",
        "noise": float(noise),
        "noise_kind": data.get("noisy_labels_type", Run.noise_kind),
        "augment": "none" if "do_not_augment" in data else "crop-flip",
        "init": model["model_init"],
        "criterion": STRATEGIES.get(strategy, strategy),
        "scope": pruning.get("pruning_scope", Run.scope),
        "rate": float(pruning.get("pruning_fraction", 0)),
        "retraining": retraining,
        "rewind": before.get("training_steps", "0it"),
        **_length(training["training_steps"]),
        "batch_size": int(data["batch_size"]),
        "optimizer": training["optimizer_name"],
        "lr": float(training["lr"]),
        "momentum": float(training.get("momentum", 0)),
        "weight_decay": float(training.get("weight_decay", 0)),
        "milestones": training.get("milestone_steps", "").replace(",", "/").replace("ep", ""),
        "gamma": float(training.get("gamma", Run.gamma)),
    }


def _length(steps: str) -> Row:
    return {"epochs": int(steps[:-2])} if steps.endswith("ep") else {"epochs": 0, "length": steps}
