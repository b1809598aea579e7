"""Capture: a training step on CUDA as one graph, launched whole for each batch; several networks on streams of it.

A step is dozens of kernels of a few microseconds each, and launching them one by one takes longer than they do.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Word = Tensor | float
Step = Callable[..., None]
"""(*words) -> None: reads its words and tensors that stay where they are, and writes to such ones."""

WARM_UP = 3  # plain steps before: memory is found, algorithms are chosen, workspaces are made


def replayed(step: Step) -> Step:
    """`step` on CUDA, captured once for each shape of its words and launched from then on.

    Each call is one step, the first few of them plain. Tensors among the words are copied to where the graph reads
    them, and numbers are tensors () to it: others would be for all steps what they were when it was captured.
    """
    pool = torch.cuda.graph_pool_handle()  # the graphs never run at once, so they share their memory
    ready: dict[tuple[tuple[int, ...], ...], Step] = {}

    def call(*words: Word) -> None:
        shapes = tuple(tuple(word.shape) if isinstance(word, Tensor) else () for word in words)
        if shapes not in ready:
            ready[shapes] = _of_shape(step, words, pool)
        ready[shapes](*words)

    return call


def _of_shape(step: Step, words: Sequence[Word], pool: Any) -> Step:
    device = next(word.device for word in words if isinstance(word, Tensor))
    places = [torch.empty_like(w) if isinstance(w, Tensor) else torch.empty((), device=device) for w in words]
    graph, aside = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    done = 0

    def call(*words: Word) -> None:
        nonlocal done
        for place, word in zip(places, words, strict=True):
            place.copy_(word) if isinstance(word, Tensor) else place.fill_(word)
        if done < WARM_UP:
            at_once([lambda: step(*places)], [aside])  # a graph is captured aside too, and needs the same there
        else:
            if done == WARM_UP:
                with torch.cuda.graph(graph, pool=pool, stream=aside):
                    step(*places)
            graph.replay()
        done += 1

    return call


def at_once(jobs: Sequence[Callable[[], None]], streams: Sequence[torch.cuda.Stream]) -> None:
    """Does jobs that write to places of their own, each on its stream; one after the other where there are none."""
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
    finally:  # a capture that a job's error ends can be given up only where all streams have come back
        for stream in streams:
            here.wait_stream(stream)
