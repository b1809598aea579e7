"""Capture: a training step on CUDA as one graph, launched whole for each batch; several networks on streams of it.

A step is dozens of kernels of a few microseconds each, and launching them one by one takes longer than they do.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Argument = Tensor | float
Step = Callable[..., None]
"""(*arguments) -> None: reads its arguments, and reads and writes tensors whose memory stays the same."""

WARM_UP = 3  # plain steps before capture: they allocate memory, choose algorithms and make workspaces


def replayed(step: Step) -> Step:
    """`step` on CUDA, captured once for each shape of its arguments and launched from then on.

    Each call is one step, the first few of them plain. Tensor arguments are copied to where the graph reads them.
    The graph gets numbers as tensors (), for it would keep a plain number as it was when it was captured.
    """
    pool = torch.cuda.graph_pool_handle()  # the graphs never run at once, so they share their memory
    ready: dict[tuple[tuple[int, ...], ...], Step] = {}

    def call(*arguments: Argument) -> None:
        shapes = tuple(tuple(argument.shape) if isinstance(argument, Tensor) else () for argument in arguments)
        if shapes not in ready:
            ready[shapes] = _of_shape(step, arguments, pool)
        ready[shapes](*arguments)

    return call


def _of_shape(step: Step, arguments: Sequence[Argument], pool: Any) -> Step:
    device = next(argument.device for argument in arguments if isinstance(argument, Tensor))
    copies = [torch.empty_like(a) if isinstance(a, Tensor) else torch.empty((), device=device) for a in arguments]
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    done = 0

    def call(*arguments: Argument) -> None:
        nonlocal done
        for copy, argument in zip(copies, arguments, strict=True):
            copy.copy_(argument) if isinstance(argument, Tensor) else copy.fill_(argument)
        if done < WARM_UP:
            at_once([lambda: step(*copies)], [side])  # capture uses the side stream, so the warm-up does too
        else:
            if done == WARM_UP:
                with torch.cuda.graph(graph, pool=pool, stream=side):
                    step(*copies)
            graph.replay()
        done += 1

    return call


def at_once(jobs: Sequence[Callable[[], None]], streams: Sequence[torch.cuda.Stream]) -> None:
    """Does jobs that write to separate memory, each on its own stream; one after the other without streams."""
    if not streams:
        for job in jobs:
            job()
        return
    here = torch.cuda.current_stream()
    for stream in streams:
        stream.wait_stream(here)
    try:
        for job, stream in zip(jobs, streams, strict=True):
            with torch.cuda.stream(stream):
                job()
    finally:  # when a job fails during capture, the capture can end only after all streams have joined again
        for stream in streams:
            here.wait_stream(stream)
