"""Images: bytes -> normalized numbers, and augmentations of whole batches, each image by draws of its own."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


def normalizing(mean: Sequence[float], deviation: Sequence[float]) -> Callable[[Tensor], Tensor]:
    """(..., channels, height, width) bytes -> float32, less the mean and by the deviation of each channel."""
    numbers = [torch.tensor(values).view(len(values), 1, 1) for values in (mean, deviation)]

    @cache  # copied to a device once: within a CUDA graph they could not be
    def numbers_on(device: torch.device) -> list[Tensor]:
        return [each.to(device) for each in numbers]

    def normalize(x: Tensor) -> Tensor:
        centre, scale = numbers_on(x.device)
        return x.float().sub_(centre).div_(scale)

    return normalize


class Augmentation(NamedTuple):
    """draw(N, generator) -> (N, K) int64, what becomes of each image; apply(images (B, C, H, W), (B, K)) -> images."""

    draw: Callable[[int, np.random.Generator], NDArray[np.int64]]
    apply: Callable[[Tensor, Tensor], Tensor]


def crop_flip(*, pad: int = 4) -> Augmentation:
    """A random crop of the image with `pad` black pixels around it, flipped left to right half of the time.

    As torchvision's RandomCrop(padding=4) and RandomHorizontalFlip, on bytes (He et al. 2022, for CIFAR).
    """

    def draw(n: int, generator: np.random.Generator) -> NDArray[np.int64]:
        corner = generator.integers(0, 2 * pad + 1, size=(n, 2))
        return np.column_stack([corner, generator.integers(0, 2, size=n)])

    def apply(x: Tensor, draws: Tensor) -> Tensor:
        height, width = x.shape[2:]
        rows = draws[:, :1] + torch.arange(height, device=x.device)  # (B, H)
        columns = torch.arange(width, device=x.device).expand(len(x), -1)
        columns = draws[:, 1:2] + torch.where(draws[:, 2:] == 1, width - 1 - columns, columns)  # (B, W)
        places = (rows * (width + 2 * pad)).unsqueeze(2) + columns.unsqueeze(1)  # (B, H, W) in the padded image
        padded = F.pad(x, (pad, pad, pad, pad)).flatten(2)
        return padded.gather(2, places.flatten(1).unsqueeze(1).expand(-1, x.shape[1], -1)).view_as(x)

    return Augmentation(draw, apply)


def none() -> None:
    """Images as they are."""


AUGMENTATIONS: dict[str, Callable[[], Augmentation | None]] = {"none": none, "crop-flip": crop_flip}
