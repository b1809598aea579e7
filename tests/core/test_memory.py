"""Memory: a network's convolutions compute with channels last, on one thread only, and to the same numbers."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sddcli.core import lessons, memory
from sddcli.core.inits import fresh
from sddcli.core.losses import cross_entropy
from sddcli.core.models import architecture
from sddcli.core.seeds import stream

CLASSES = 7
CASES = {"convnet:width=4": (1, 8, 8), "vgg16:width=2": (3, 32, 32), "resnet18:width=4": (3, 16, 16)}


@pytest.fixture
def two_threads() -> Iterator[Callable[[], None]]:
    """From the call on; what comes after this test has one again."""
    yield lambda: torch.set_num_threads(2)
    torch.set_num_threads(1)


@pytest.mark.parametrize("shape", [(5, 1, 8, 6), (5, 3, 8, 6), (1, 1, 8, 6), (5, 3, 1, 1), (0, 3, 8, 6)], ids=str)
def test_images_are_the_same_with_their_channels_last(shape: tuple[int, ...]) -> None:
    x = torch.from_numpy(stream(0, "x").standard_normal(shape, dtype="float32"))
    laid = memory.channels_last(x)
    _, channels, _, width = shape
    assert torch.equal(laid, x) and laid.stride()[1:] == (1, width * channels, channels)


def test_anything_else_stays_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    images, rows = torch.zeros(5, 3, 8, 6), torch.zeros(5, 3)
    elsewhere = images.to("meta")
    assert memory.channels_last(rows) is rows and memory.channels_last(elsewhere) is elsewhere
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert memory.channels_last(images) is images


def layouts(word: str, monkeypatch: pytest.MonkeyPatch) -> tuple[list[bool], list[Tensor]]:
    """Of each convolution of one training step, whether its images have their channels last; and the gradients."""
    seen, plain = list[bool](), F.conv2d

    def conv2d(x: Tensor, *words: Any, **more: Any) -> Tensor:
        seen.append(x.stride(1) == 1 and x.shape[-1] > 1)
        return plain(x, *words, **more)

    model, shape = architecture(word, CASES[word], CLASSES), CASES[word]
    x = torch.from_numpy(stream(0, "x").standard_normal((1, 20, *shape), dtype="float32"))
    weights = {name: w.unsqueeze(0) for name, w in fresh(model, "kaiming", 0).items()}
    learned, fixed = lessons.parameters(weights, model.prunable, {}, stream)
    gradients = {name: torch.empty_like(w) for name, w in learned.items()}
    with monkeypatch.context() as patch:
        patch.setattr(F, "conv2d", conv2d)
        write = lessons.supervised(model.forward, cross_entropy)(learned, fixed, gradients)
        write(x, torch.from_numpy(stream(0, "y").integers(CLASSES, size=(1, 20))))
    return seen, [*gradients.values(), *fixed.values()]


@pytest.mark.parametrize("word", CASES)
def test_all_convolutions_of_a_network_have_channels_last_on_one_thread_alone(
    word: str, monkeypatch: pytest.MonkeyPatch, two_threads: Callable[[], None]
) -> None:
    """And none in a process with two threads, where torch would damage memory: so this never computes one there."""
    last, theirs = layouts(word, monkeypatch)
    two_threads()
    plain, ours = layouts(word, monkeypatch)
    assert all(last) and not any(plain) and len(last) == len(plain) > 3
    for a, b in zip(theirs, ours, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-4)
