"""Capture: steps that are captured train as plain ones do, with CUDA graphs played on a CPU.

The player records the operations of a capture and undoes what they wrote; a replay does the same operations on the
same memory. So whatever a graph would hold fast, a number of Python's for one, makes these tests fail; that nothing
in a step waits for the GPU or reads from the CPU's memory is shown with tensors that are only said to be there.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sddcli.core import capture, engine, lessons
from sddcli.core.losses import cross_entropy
from sddcli.core.optimizers import OPTIMIZERS
from sddcli.core.precisions import PRECISIONS
from sddcli.core.seeds import stream
from sddcli.core.types import State, Tensors
from tests.core.test_engine import CASES, Y, plan_of, state_of, weights_of


class Recorder(TorchDispatchMode):
    """Every operation, with the memory it reads and writes, and what that memory held before."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self.before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for tensor in tree_leaves((args, kwargs)):  # all of them: batch_norm does not say that it writes
            if isinstance(tensor, Tensor):
                whole = tensor.untyped_storage()
                self.before.setdefault(whole.data_ptr(), (whole, whole.clone()))
        found = func(*args, **kwargs)
        self.done.append((func, args, kwargs, fresh(func, found)))
        return found

    def undo(self) -> None:
        for whole, was in self.before.values():
            whole.copy_(was)

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, outs in self.done:
            for out, value in zip(outs, fresh(func, func(*args, **kwargs)), strict=True):
                out.copy_(value)


def fresh(func: Any, found: Any) -> list[Tensor]:
    """What an operation gave that is no view of what it was given."""
    returned = found if isinstance(found, tuple) else (found,)
    new = [value for value, said in zip(returned, func._schema.returns, strict=False) if not said.alias_info]
    return [value for value in tree_leaves(new) if isinstance(value, Tensor)]


class Graph:
    """torch.cuda.CUDAGraph, played on a CPU."""

    played = 0

    def replay(self) -> None:
        self.recorded.replay()
        Graph.played += 1

    @contextmanager
    def capturing(self, pool: object, stream: object) -> Iterator[None]:
        self.recorded = Recorder()
        with self.recorded:
            yield
        self.recorded.undo()


class Stream:
    """torch.cuda.Stream: what it was told to wait for."""

    waits = 0

    def wait_stream(self, other: "Stream") -> None:
        Stream.waits += 1


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Stream()
    Graph.played = Stream.waits = 0
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", Graph.capturing)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: here)


def ends(name: str, steps: int, optimizer: str = "sgd", cuda: bool = True, precision: str = "fp32") -> Tensors:
    """The weights of two models after so many steps; 5 are an epoch, the last one of 17 instead of 20 examples."""
    computing = partial(PRECISIONS[precision], "cpu")
    plan = plan_of(name, (4, 1), 20, epochs=5, optimizer=optimizer, cuda=cuda, computing=computing)
    plan = replace(plan, lr=plan.lr[:steps])
    *_, last = engine.train(state_of(name, (4, 1)), CASES[name].x, Y[[4, 1]], plan)
    assert all(not weights_of(last.state)[key][~mask].any() for key, mask in last.state.masks.items())
    return {key: w.clone() for key, w in weights_of(last.state).items()}


@pytest.mark.parametrize(
    ("name", "precision"),
    [(name, "fp32") for name in CASES] + [pytest.param("convnet", "bf16", marks=pytest.mark.slow)],
)
def test_captured_steps_are_the_plain_ones(
    name: str, precision: str, played: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured = ends(name, 25, precision=precision)
    assert Graph.played == 17 + 2  # of 20 steps of full batches and 5 of the rest, the first 3 of each are plain
    # Two waits to go aside for each plain step, and in all 8 that Python does, two for each of the streams.
    assert Stream.waits == 12 + (8 * 2 * 2 if CASES[name].model.one_by_one else 0)
    monkeypatch.setattr(capture, "replayed", lambda step: step)
    for key, w in ends(name, 25, precision=precision).items():
        assert torch.equal(captured[key], w), key


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["mlp", "lenet"])
def test_learning_rate_and_number_of_a_step_are_not_held_fast(name: str, optimizer: str, played: None) -> None:
    """But for Adam's corrections, which a graph computes in single precision."""
    captured = ends(name, 25, optimizer)
    for key, w in ends(name, 25, optimizer, cuda=False).items():
        torch.testing.assert_close(captured[key], w, rtol=1e-2, atol=1e-2, msg=key)


@pytest.mark.parametrize("name", ["convnet", "resnet"])
def test_channels_that_lie_last_change_nothing(name: str, played: None) -> None:
    """But for rounding: a bias before BatchNorm has a gradient that is nothing else."""
    last = ends(name, 2)
    for key, w in ends(name, 2, cuda=False).items():
        torch.testing.assert_close(last[key], w, rtol=1e-3, atol=1e-5, msg=key)


def test_streams_come_back_from_a_job_that_fails(played: None) -> None:
    """Or the capture could not be ended, nor training go on in halves."""
    done: list[int] = []

    def fail() -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        capture.at_once([lambda: done.append(1), fail], [torch.cuda.Stream(), torch.cuda.Stream()])
    assert done == [1] and Stream.waits == 4


def ends_of_segments(name: str, cuda: bool) -> tuple[Tensors, Tensors]:
    """The weights after 12 steps, after the 6th of which half of what was left in the first layer is pruned."""
    state, plan = state_of(name, (4, 1)), plan_of(name, (4, 1), 20, epochs=5, cuda=cuda)
    for end in (6, 12):
        *_, last = engine.train(state, CASES[name].x, Y[[4, 1]], replace(plan, lr=plan.lr[:end]))
        first = next(iter(last.state.masks))
        kept = dict(last.state.masks)
        kept[first] = kept[first] & (torch.arange(kept[first].numel()).view_as(kept[first]) % 2 == 0)
        state, after = replace(last.state, masks=kept), last.state
    return {key: w.clone() for key, w in weights_of(after).items()}, after.masks


@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_where_masks_change_steps_are_captured_again(name: str, played: None, monkeypatch: pytest.MonkeyPatch) -> None:
    captured, kept = ends_of_segments(name, cuda=True)
    assert Graph.played > 0 and all(not captured[key][~mask].any() for key, mask in kept.items())
    monkeypatch.setattr(capture, "replayed", lambda step: step)
    for key, w in ends_of_segments(name, cuda=True)[0].items():
        assert torch.equal(captured[key], w), key


@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_a_lesson_that_draws_is_captured_with_the_numbers_of_each_step(
    name: str, played: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, plan = CASES[name], plan_of(name, (4, 1), 20, epochs=5, cuda=True)
    teaching = lessons.LESSONS["supermask"]

    def chance(step: int) -> Tensor:
        return torch.from_numpy(stream(1, step).random((2, case.model.size), dtype="float32"))

    plan = replace(plan, lesson=teaching.lesson(case.model.forward, cross_entropy), chance=chance)
    weights = weights_of(state_of(name, (4, 1)))
    counts = {"": 7 * 2 * case.model.size // 10}
    state = State(*teaching.split(weights, case.model.prunable, counts, stream), {}, {})
    ends = []
    for replayed in (capture.replayed, lambda step: step):
        monkeypatch.setattr(capture, "replayed", replayed)
        *_, last = engine.train(state, case.x, Y[[4, 1]], plan)
        ends.append({key: w.clone() for key, w in last.state.learned.items()})
    assert Graph.played > 10
    assert all(torch.equal(ends[0][key], w) and not torch.equal(w, state.learned[key]) for key, w in ends[1].items())
