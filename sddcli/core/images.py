"""Images: bytes -> normalized numbers, and augmentations of whole batches, each image by draws of its own."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sddcli.core.words import UsageError

Size = tuple[int, int]
TRIES, RATIOS = 10, (3 / 4, 4 / 3)


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
    """What is done to training images, each by a draw of its own.

    draw(N, (height, width) of them, generator) -> (N, K) int64; apply(images (B, C, H, W) bytes, (B, K), (height,
    width) that the network takes) -> images of that size. large: it takes images as they were before they were
    brought to that size, where there are such.
    """

    draw: Callable[[int, Size, np.random.Generator], NDArray[np.int64]]
    apply: Callable[[Tensor, Tensor, Size], Tensor]
    large: bool = False


def crop_flip(*, pad: int = 4) -> Augmentation:
    """A random crop of the image with `pad` black pixels around it, flipped left to right half of the time.

    As torchvision's RandomCrop(padding=4) and RandomHorizontalFlip, on bytes (He et al. 2022, for CIFAR).
    """

    def draw(n: int, size: Size, generator: np.random.Generator) -> NDArray[np.int64]:
        corner = generator.integers(0, 2 * pad + 1, size=(n, 2))
        return np.column_stack([corner, generator.integers(0, 2, size=n)])

    def apply(x: Tensor, draws: Tensor, size: Size) -> Tensor:
        height, width = x.shape[2:]
        rows = draws[:, :1] + torch.arange(height, device=x.device)  # (B, H)
        columns = torch.arange(width, device=x.device).expand(len(x), -1)
        columns = draws[:, 1:2] + torch.where(draws[:, 2:] == 1, width - 1 - columns, columns)  # (B, W)
        places = (rows * (width + 2 * pad)).unsqueeze(2) + columns.unsqueeze(1)  # (B, H, W) in the padded image
        padded = F.pad(x, (pad, pad, pad, pad)).flatten(2)
        return padded.gather(2, places.flatten(1).unsqueeze(1).expand(-1, x.shape[1], -1)).view_as(x)

    return Augmentation(draw, apply)


def resized_crop_flip(*, smallest: float = 0.08) -> Augmentation:
    """A random part of the image, `smallest` to all of its area, brought to size, flipped half of the time.

    As torchvision's RandomResizedCrop and RandomHorizontalFlip (He et al. 2022, for Tiny ImageNet): ratios of width to
    height of 3/4 to 4/3, bilinear with antialiasing, rounded to bytes. Raises UsageError for a share not in (0, 1].
    """
    if not 0 < smallest <= 1:
        raise UsageError(f"smallest is a share of the image's area, above 0 and up to 1, not {smallest}")

    def draw(n: int, size: Size, generator: np.random.Generator) -> NDArray[np.int64]:
        height, width = size
        areas = height * width * generator.uniform(smallest, 1, size=(n, TRIES))
        ratios = np.exp(generator.uniform(np.log(RATIOS[0]), np.log(RATIOS[1]), size=(n, TRIES)))
        sides = np.stack([np.rint(np.sqrt(areas / ratios)), np.rint(np.sqrt(areas * ratios))], axis=2)  # (N, TRIES, 2)
        fits = np.all((sides > 0) & (sides <= size), axis=2)
        chosen = sides[np.arange(n), fits.argmax(1)]
        # Where none fits, the middle of the image, as much of it as has such a ratio.
        most = min(height, round(width / RATIOS[0])), min(width, round(height * RATIOS[1]))
        middle = ~np.any(fits, axis=1)
        chosen[middle] = most
        chosen = chosen.astype(np.int64)
        corner = generator.integers(0, np.array(size) - chosen + 1)
        corner[middle] = (np.array(size) - most) // 2
        return np.column_stack([corner, chosen, generator.integers(0, 2, size=n)])

    def apply(x: Tensor, draws: Tensor, size: Size) -> Tensor:
        rows = _stretching(draws[:, 0], draws[:, 2], x.shape[2], size[0])
        columns = _stretching(draws[:, 1], draws[:, 3], x.shape[3], size[1])
        columns = torch.where(draws[:, 4, None, None] == 1, columns.flip(1), columns)
        stretched = rows.unsqueeze(1) @ x.float() @ columns.transpose(1, 2).unsqueeze(1)
        return stretched.add_(0.5).to(torch.uint8)

    return Augmentation(draw, apply, large=True)


def _stretching(start: Tensor, length: Tensor, n_in: int, n_out: int) -> Tensor:
    """(B, n_out, n_in) weights that bring the pixels from (B,) `start` on, (B,) `length` many, to n_out of them.

    Triangles around each place, as wide as what it stands for, but no narrower than a pixel: PIL's bilinear.
    """
    start, length = (each.view(-1, 1, 1).float() for each in (start, length))
    pixels = torch.arange(n_in, device=start.device) + 0.5
    scale = length / n_out
    places = start + scale * (torch.arange(n_out, device=start.device) + 0.5).unsqueeze(1)
    weights = (1 - ((pixels - places) / scale.clamp(min=1)).abs()).clamp(min=0)
    weights = weights * ((pixels > start) & (pixels < start + length))
    return weights / weights.sum(2, keepdim=True)


def none() -> None:
    """Images as they are."""


AUGMENTATIONS: dict[str, Callable[[], Augmentation | None]] = {
    "none": none,
    "crop-flip": crop_flip,
    "resized-crop-flip": resized_crop_flip,
}
