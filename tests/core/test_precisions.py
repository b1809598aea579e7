"""Precisions: what each one computes in, and that none leaves anything behind."""

import pytest
import torch

from sddcli.core.precisions import PRECISIONS

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", PRECISIONS)
def test_what_is_computed_in(name: str, device: str) -> None:
    a, b = torch.randn(2, 64, 64, device=device, generator=torch.Generator(device).manual_seed(0))
    flags = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    exact = a.double() @ b.double()
    with PRECISIONS[name](device):
        product = a @ b
    error = float((product.double() - exact).abs().max())
    assert product.dtype == (torch.bfloat16 if name == "bf16" else torch.float32)
    coarse = name == "bf16" or (name == "tf32" and device == "cuda")
    assert error > 1e-3 if coarse else error < 1e-4
    assert flags == (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    assert (a @ b).dtype == torch.float32
