"""Digits: runs on real digits, dense and pruned, and how they begin."""

from dataclasses import replace

from sddcli.core.types import Begun, Model, Tensors
from sddcli.data import load
from sddcli.spec import Run
from sddcli.stages import pruning, setting, training

DATA = load("digits")
DENSE = Run("digits", "lenet-300-100", noise=0.4, epochs=2, batch_size=64, momentum=0.9, seed=1)
PRUNED = replace(DENSE, criterion="magnitude", retraining="lottery", rate=0.2, level=1)
MODEL = setting.model_of(DENSE, DATA)


def dense() -> tuple[Tensors, Tensors]:
    start = setting.fresh(DENSE, MODEL)
    return start, pruning.full_masks(MODEL, start)


def beginning_of(run: Run, model: Model) -> Begun:
    start = setting.fresh(run, model)
    return training.beginning(run, model, DATA, start, pruning.full_masks(model, start))
