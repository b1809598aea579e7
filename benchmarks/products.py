"""How fast the libraries below torch multiply the matrices of one fully connected layer, one thread.

    uv run python benchmarks/products.py --json benchmarks/results/FILE.json

Gigaflop per processor second of the forward product of a layer (batch, in) x (in, out) and of its gradient in the
weights, the best of many short turns: by MKL, which torch uses in single precision; by oneDNN, which torch uses in
bfloat16 and for convolutions, in single precision through a function of torch that is not public; and in bfloat16.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from sddcli.launchers.machine import describe

LAYERS = {"MNIST, first": (128, 784, 300), "digits, first": (64, 64, 300), "second": (128, 300, 100)}
"""Layers of LeNet-300-100: examples of a batch, inputs, outputs."""
TURNS, PRODUCTS = 40, 50


def products(batch: int, inputs: int, outputs: int) -> dict[str, Callable[[], Tensor]]:
    """Each way to make the products of a layer of this size, of random numbers."""
    x, w, slopes = torch.randn(batch, inputs), torch.randn(outputs, inputs), torch.randn(batch, outputs)
    across, back = x.T.contiguous(), slopes.T.contiguous()
    small_x, small_w, small_slopes = (each.bfloat16() for each in (x, w, slopes))
    return {
        "mkl, forward": lambda: x @ w.T,
        "mkl, gradient": lambda: slopes.T @ x,
        "onednn, forward": lambda: one_dnn(x, w),
        "onednn, gradient": lambda: one_dnn(back, across),
        "bf16, forward": lambda: small_x @ small_w.T,
        "bf16, gradient": lambda: small_slopes.T @ small_x,
    }


def one_dnn(a: Tensor, b: Tensor) -> Tensor:
    """a @ b.T by oneDNN."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
    return product


def rate(product: Callable[[], Tensor], flop: float) -> float:
    """Gigaflop per processor second, the best turn."""
    best = float("inf")
    for _ in range(TURNS):
        began = time.thread_time()
        for _ in range(PRODUCTS):
            product()
        best = min(best, (time.thread_time() - began) / PRODUCTS)
    return flop / best / 1e9


def main() -> None:
    """Measures and prints a line a layer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for layer, (batch, inputs, outputs) in LAYERS.items():
        ways = products(batch, inputs, outputs)
        rates = {name: rate(product, 2 * batch * inputs * outputs) for name, product in ways.items()}
        rows.append({"layer": layer, "gigaflop per second": rates})
        print(layer, ", ".join(f"{name} {each:.0f}" for name, each in rates.items()))
    if asked.json:
        machine = describe(" ".join(["python", *sys.argv]))
        asked.json.write_text(json.dumps({"machine": machine, "layers": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
