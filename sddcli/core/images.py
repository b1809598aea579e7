"""Images: bytes -> normalized numbers, and random augmentations of whole batches, each image by its own draw."""

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
"""How often a part of an image is drawn until one fits, and within which ratios of its width to its height."""


def normalizing(mean: Sequence[float], deviation: Sequence[float]) -> Callable[[Tensor], Tensor]:
    """A function: images (..., channels, height, width), bytes -> float32, (x - mean) / deviation in each channel.

    mean, deviation: (channels,), in units of a byte.
    """
    numbers = [torch.tensor(values).view(len(values), 1, 1) for values in (mean, deviation)]

    @cache  # copied to a device once: within a CUDA graph they could not be
    def numbers_on(device: torch.device) -> list[Tensor]:
        return [each.to(device) for each in numbers]

    def normalize(x: Tensor) -> Tensor:
        means, deviations = numbers_on(x.device)
        return x.float().sub_(means).div_(deviations)

    return normalize


class Augmentation(NamedTuple):
    """A random change of training images.

    draw(N, their (height, width), generator) -> (N, K) int64, the random numbers of N images. apply(images (B, C, H,
    W) bytes, their numbers (B, K), the (height, width) that the network takes) -> images (B, C, height, width) bytes.
    large: where the data set has its images in a larger size too (`Data.large`), it takes those.
    """

    draw: Callable[[int, Size, np.random.Generator], NDArray[np.int64]]
    apply: Callable[[Tensor, Tensor, Size], Tensor]
    large: bool = False


def crop_flip(*, pad: int = 4) -> Augmentation:
    """A random crop of the image with `pad` black pixels around it, flipped left to right half of the time.

    As torchvision's RandomCrop(padding=4) and RandomHorizontalFlip, on bytes (He et al. 2022, for CIFAR).
    """

    def draw(n: int, size: Size, generator: np.random.Generator) -> NDArray[np.int64]:
        corner = generator.integers(0, 2 * pad + 1, size=(n, 2))  # its row and column in the padded image
        return np.column_stack([corner, generator.integers(0, 2, size=n)])

    def apply(x: Tensor, draws: Tensor, size: Size) -> Tensor:
        height, width = x.shape[2:]
        rows = draws[:, :1] + torch.arange(height, device=x.device)  # (B, H)
        columns = torch.arange(width, device=x.device).expand(len(x), -1)
        columns = draws[:, 1:2] + torch.where(draws[:, 2:] == 1, width - 1 - columns, columns)  # (B, W)
        pixels = (rows * (width + 2 * pad)).unsqueeze(2) + columns.unsqueeze(1)  # (B, H, W) in the padded image
        padded = F.pad(x, (pad, pad, pad, pad)).flatten(2)
        return padded.gather(2, pixels.flatten(1).unsqueeze(1).expand(-1, x.shape[1], -1)).view_as(x)

    return Augmentation(draw, apply)


def resized_crop_flip(*, smallest: float = 0.08) -> Augmentation:
    """A random part of the image, resized to what the network takes, flipped left to right half of the time.

    As torchvision's RandomResizedCrop and RandomHorizontalFlip (He et al. 2022, for Tiny ImageNet): a share `smallest`
    to 1 of the image's area, ratios of width to height of 3/4 to 4/3, bilinear with antialiasing, rounded to bytes.
    Raises UsageError for a share not in (0, 1].
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
    """The weights (B, n_out, n_in) that resize `length` pixels from `start` on, of n_in in a row, to n_out pixels.

    start, length: (B,). Each new pixel is a mean of old ones, weighted by a triangle around its centre that is as wide
    as two new pixels, or two old ones where those are wider: PIL's bilinear.
    """
    start, length = (each.view(-1, 1, 1).float() for each in (start, length))
    pixels = torch.arange(n_in, device=start.device) + 0.5
    scale = length / n_out
    centres = start + scale * (torch.arange(n_out, device=start.device) + 0.5).unsqueeze(1)
    weights = (1 - ((pixels - centres) / scale.clamp(min=1)).abs()).clamp(min=0)
    weights = weights * ((pixels > start) & (pixels < start + length))
    return weights / weights.sum(2, keepdim=True)


def none() -> None:
    """Images as they are."""


AUGMENTATIONS: dict[str, Callable[[], Augmentation | None]] = {
    "none": none,
    "crop-flip": crop_flip,
    "resized-crop-flip": resized_crop_flip,
}
