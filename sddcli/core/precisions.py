"""Precisions: in which numbers a forward and a backward pass are computed. Weights and optimizers are float32."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

Computing = Callable[[str], AbstractContextManager[None]]
"""A kind of device ("cpu", "cuda") -> what a pass is computed within."""


@contextmanager
def _products(tf32: bool) -> Iterator[None]:
    # By default torch computes convolutions in TF32 and matrix products in float32.
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@contextmanager
def fp32(device: str) -> Iterator[None]:
    """Single precision throughout."""
    if device != "cuda":
        yield
        return
    with _products(tf32=False):
        yield


@contextmanager
def tf32(device: str) -> Iterator[None]:
    """Products of factors that are rounded to 10 bits on CUDA; anywhere else single precision."""
    if device != "cuda":
        yield
        return
    with _products(tf32=True):
        yield


@contextmanager
def bf16(device: str) -> Iterator[None]:
    """Products and convolutions in bfloat16, sums and normalizations in single precision: torch's autocast."""
    with torch.autocast(device, dtype=torch.bfloat16):
        yield


PRECISIONS: dict[str, Computing] = {"fp32": fp32, "tf32": tf32, "bf16": bf16}
