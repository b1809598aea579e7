"""The machine's limits, measured: a large matrix product and a large copy; and what a network's epoch must compute."""

import time

import torch

# Multiply and add counted as two; training is forward and twice that backward, but for the first layer's inputs.
FLOPS = {
    "lenet-300-100": 2 * (3 * (784 * 300 + 300 * 100 + 100 * 10) - 784 * 300),
    "digits": 2 * (3 * (64 * 300 + 300 * 100 + 100 * 10) - 64 * 300),
    "resnet18": 3.33e9,
}
"""Per training example."""


def rate(device: str, precision: str = "fp32", size: int = 0, seconds: float = 1.0) -> float:
    """FLOP per second of a square matrix product in that precision, the best of some."""
    size = size or (8192 if device != "cpu" else 2048)
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    a, b = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    return _best(lambda: a @ b, device, seconds, 2 * size**3)


def bandwidth(device: str, seconds: float = 1.0) -> float:
    """Bytes per second of a copy, counting those read and those written."""
    source = torch.randn((1 << 28) if device != "cpu" else (1 << 25), device=device)
    target = torch.empty_like(source)
    return _best(lambda: target.copy_(source), device, seconds, 8 * source.numel())


def _best(work: object, device: str, seconds: float, amount: float) -> float:
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end or best == 0.0:
        began = time.perf_counter()
        for _ in range(3):
            work()  # type: ignore[operator]
        if device != "cpu":
            torch.cuda.synchronize()
        best = max(best, 3 * amount / (time.perf_counter() - began))
    return best
