"""CUDA without a GPU: that a training step there reads nothing of the CPU's, waits for nothing, mixes no devices.

Tensors here have shapes and a device, but no numbers and no memory (torch's fake tensors), so this finds what would be
an error on a GPU's first step, and says nothing about values, nor about bf16: torch has no autocast for CUDA here.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sddcli.core import capture, engine, lessons, models
from sddcli.core.evaluate import evaluate
from sddcli.core.losses import LOSSES, cross_entropy
from sddcli.core.optimizers import OPTIMIZERS
from sddcli.core.types import Data, Examples, Lesson, Model
from sddcli.spec import Run
from sddcli.stages import pruning, setting, training

CUDA = torch.device("cuda", 0)
NARROW = {"vgg11": "vgg11:width=4", "vgg16": "vgg16:width=4", "convnet": "convnet:width=4"} | {
    f"resnet{n}": f"resnet{n}:width=4" for n in (18, 34, 50, 101)
}


class WithinAStep(TorchDispatchMode):
    """Refuses what a CUDA graph cannot hold: tensors of the CPU, but for single numbers that nothing copies."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        tensors = [each for each in tree_leaves((args, kwargs, found)) if isinstance(each, Tensor)]
        assert all(each.device == CUDA for each in tensors), f"{func} on {[str(each.device) for each in tensors]}"
        return found


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """CUDA in name; the shapes of the labels of each step."""
    seen: list[tuple[int, ...]] = []

    def replayed(step: capture.Step) -> capture.Step:
        def call(lr: float, number: float, *words: Tensor) -> None:
            numbers = torch.full((), lr, device=CUDA), torch.full((), number, device=CUDA)
            with WithinAStep() if seen else nullcontext():  # the first one is plain
                step(*numbers, *words)
            seen.append(tuple(words[1].shape))

        return call

    def at_once(jobs: list[Callable[[], None]], streams: list[object]) -> None:
        assert len(streams) == (len(jobs) if len(jobs) > 1 else 0)
        for job in jobs:
            job()

    def fused_sgd(weights: list[Tensor], slopes: list[Tensor], *_: object, lr: Tensor, **__: object) -> None:
        for weight, slope in zip(weights, slopes, strict=True):
            weight.sub_(slope * lr)

    monkeypatch.setattr(engine, "_pruned", lambda masks: True)  # masks have no values here
    monkeypatch.setattr(capture, "replayed", replayed)
    monkeypatch.setattr(capture, "at_once", at_once)
    monkeypatch.setattr(torch.cuda, "Stream", object)
    monkeypatch.setattr(torch, "_fused_sgd_", fused_sgd)  # knows no fake tensors
    # Nor does the engine of autograd without a driver.
    monkeypatch.setattr(torch.autograd, "grad", lambda loss, leaves: [torch.zeros_like(leaf) for leaf in leaves])
    return seen


def data_of(features: tuple[int, ...], size: int) -> Data:
    images = len(features) == 3
    x = torch.zeros(size, *features, dtype=torch.uint8 if images else torch.float32, device=CUDA)
    y = torch.zeros(size, dtype=torch.int64, device=CUDA)
    scale = (1.0, 2.0, 3.0) if images else ()
    large = torch.zeros(size, 3, 64, 48, dtype=torch.uint8, device=CUDA) if images else None
    both = Examples(x, y)
    return Data(both, both, 10, "", mean=scale, deviation=scale, held=both, large=large)


def trained(run: Run, features: tuple[int, ...]) -> None:
    """Two models for an epoch of 40 examples in steps of 16, then evaluated."""
    model = models.architecture(run.model, features, 10)
    with FakeTensorMode():
        data = data_of(features, 40)
        start = {name: torch.zeros(shape) for name, shape in {**model.shapes, **model.statistics}.items()}
        begun = [training.beginning(run, model, data, start, pruning.full_masks(model, start))] * 2
        state = training._state(model, data, begun)
        noisy, rates = torch.stack([data.train.y] * 2), setting.schedule(run, 40)[0]
        (now,) = engine.train(state, setting.shown(run, data), noisy, training._plan([run, run], model, data, rates))
        kept = [each for memory in now.state.memory.values() for each in memory.values()]
        assert all(w.device == CUDA for w in [*now.state.learned.values(), *now.state.fixed.values(), *kept])
        network = training.network([run, run], now.state)
        found, fitted = evaluate(setting.forward_of(model, data), network, data, noisy, noisy)
        assert all(each.device == CUDA for each in (*found.values(), fitted))


@pytest.mark.slow
@pytest.mark.parametrize("model", sorted({*models.MODELS} - {"resnet34", "resnet101"}))  # of 18's and 50's blocks
def test_networks(model: str, pretended: list[tuple[int, ...]]) -> None:
    run = Run("digits", NARROW.get(model, model), augment="crop-flip", epochs=1, batch_size=16)
    trained(run, (3, 32, 32))
    assert pretended == [(2, 16), (2, 16), (2, 8)]


def test_images_are_brought_to_size_within_a_step(pretended: list[tuple[int, ...]]) -> None:
    trained(Run("digits", "convnet:width=4", augment="resized-crop-flip", epochs=1, batch_size=16), (3, 32, 32))
    assert pretended == [(2, 16), (2, 16), (2, 8)]


@pytest.mark.parametrize("loss", [*LOSSES, "cross-entropy:smoothing=0.1"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", ["lenet-300-100", "lenet-31"])
def test_losses_and_optimizers(model: str, optimizer: str, loss: str, pretended: list[tuple[int, ...]]) -> None:
    words = {"optimizer": optimizer, "loss": loss, "momentum": 0.9, "weight_decay": 1e-4}
    trained(Run("digits", model, epochs=1, batch_size=16, **words), (64,))  # type: ignore[arg-type]
    assert len(pretended) == 3


@pytest.mark.parametrize("model", ["lenet-31", "convnet:width=4"])
def test_a_lesson_that_draws(model: str, pretended: list[tuple[int, ...]]) -> None:
    run = Run("digits", model, level=1, rate=0.2, retraining="supermask", epochs=1, batch_size=16)
    trained(run, (3, 32, 32))
    assert len(pretended) == 3


def test_what_a_graph_could_not_hold_is_found(
    pretended: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mean that is brought to the GPU within a step, and a loss that is looked at."""
    run = Run("digits", "lenet-300-100", epochs=1, batch_size=16)
    with monkeypatch.context() as patched:
        patched.setattr(setting, "lesson_of", by_autograd)
        patched.setattr(setting, "forward_of", lambda model, data: lambda w, x, t: model.forward(w, moved(x), t))
        with pytest.raises(AssertionError, match="cpu"):
            trained(run, (64,))
        patched.setattr(
            setting, "forward_of", lambda model, data: lambda w, x, t: model.forward(w, x * x.sum().item(), t)
        )
        with pytest.raises(Exception, match="_local_scalar_dense"):
            trained(run, (64,))


def by_autograd(run: Run, model: Model, data: Data) -> Lesson:
    return lessons.supervised(setting.forward_of(model, data), cross_entropy)


def moved(x: Tensor) -> Tensor:
    return x - torch.tensor([1.0]).to(x.device)
