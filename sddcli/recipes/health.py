"""Health: whether what training needs is here and works: libraries that fit, a device, data, and how fast a step is."""

import re
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from typing import NamedTuple

import torch

from sddcli.core.words import UsageError
from sddcli.data import load
from sddcli.recipes import starting
from sddcli.spec import Run
from sddcli.stages import pruning, setting, training
from sddcli.store import Store

LIBRARIES = ("torch", "torchvision", "numpy", "pandas", "matplotlib", "safetensors", "scikit-learn")
RECORDED = 0.045
"""Seconds of one epoch of the usual data set and network, 21 steps and an evaluation, on one thread of an AMD EPYC
(family 26, model 2) with torch 2.15, beside other work."""
SLOW = 10
"""So many times as long is slow: something is wrong, such as more threads than free cores."""


class Check(NamedTuple):
    """One thing that was looked at. fine: whether it is as it should be; says: what was seen, and what to do if not."""

    name: str
    fine: bool
    says: str


def checks(device: str, usual: Run, dataset: str = "") -> Iterator[Check]:
    """All that can be said of libraries, devices, data and speed, one by one.

    usual: a dense run of one epoch, whose speed is measured. dataset: one to be read whole, beside that of `usual`.
    """
    yield Check("libraries", True, ", ".join(f"{name} {_version(name)}" for name in LIBRARIES))
    yield _fit()
    yield _device()
    for name in dict.fromkeys((usual.dataset, *([dataset] if dataset else []))):
        yield _data(name)
    yield _speed(device, usual)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "is not installed"


def _fit() -> Check:
    """Whether torchvision was built for this torch, and its own operators can be called."""
    wanted = next((text for text in requires("torchvision") or () if re.match(r"torch\b[^-]", text)), "")
    match, here = re.search(r"==\s*([\d.]+)", wanted), version("torch").split("+")[0]
    if match and match[1] != here:
        return Check("torch and torchvision", False, f"torchvision wants torch {match[1]}, and {here} is here")
    try:
        import torchvision

        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (ImportError, RuntimeError, AttributeError) as error:
        return Check(
            "torch and torchvision", False, f"they do not fit: {' '.join(str(error).split())}; install both anew"
        )
    return Check("torch and torchvision", True, "they fit")


def _device() -> Check:
    if not torch.cuda.is_available():
        return Check("device", True, "no CUDA GPU: trains on the CPU")
    names = ", ".join(torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count()))
    return Check("device", True, f"{names}; bf16 {'works' if torch.cuda.is_bf16_supported() else 'does not work'}")


def _data(name: str) -> Check:
    try:
        data = load(name)
    except (OSError, UsageError) as error:
        return Check(f"data {name}", False, str(error))
    n = len(data.train.y), len(data.test.y)
    return Check(f"data {name}", True, f"{n[0]} examples to train on, {n[1]} to test, SHA-256 {data.sha256[:12]}")


def _speed(device: str, run: Run) -> Check:
    """How long one epoch takes, the best of three, and how that compares with what is recorded."""
    data = load(run.dataset, device=device)
    model, times = setting.model_of(run, data), []
    start = starting.initial(Store("nowhere"), run, model)
    for _ in range(3):
        begun = training.beginning(run, model, data, start, pruning.full_masks(model, start))
        began = time.perf_counter()
        for _ in training.train([run], model, data, [begun], [start]):
            pass
        times.append(time.perf_counter() - began)
    steps, best = -(-len(data.train.y) // run.batch_size), min(times)
    says = f"{steps} steps and an evaluation in {1000 * best:.0f} ms; recorded on one thread: {1000 * RECORDED:.0f} ms"
    fine = best < SLOW * RECORDED
    return Check("speed", fine, says if fine else f"{says}; other work, or more threads than free cores, slows it")
