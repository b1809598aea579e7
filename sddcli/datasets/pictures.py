"""Pictures: image files -> bytes (N, 3, height, width), all of one size."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sddcli.datasets.files import Tell

Bytes = NDArray[np.uint8]
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
EVERY = 500


def decode(
    paths: Sequence[Path], resize: int, crop: int, skip: bool, tell: Tell, what: str
) -> tuple[Bytes, NDArray[np.bool_]]:
    """The images, (N, 3, H, W) in RGB, and which of `paths`, (P,), they are: all, unless damaged ones are skipped.

    resize, crop: the shorter side is brought to the first and the middle square of the second is taken, as
    torchvision's Resize and CenterCrop; 0 leaves images as they are. Raises OSError naming a damaged image, or
    the first whose size is not that of the one before.
    """
    found: list[Bytes | None] = []
    with ThreadPoolExecutor(4) as pool:
        for done, image in enumerate(pool.map(partial(_read, resize=resize, crop=crop), paths), 1):
            if isinstance(image, OSError):
                if not skip:
                    raise OSError(f"{paths[done - 1]} is damaged ({image}); corrupt=skip leaves such images out")
                found.append(None)
            else:
                found.append(image)
            if done % EVERY == 0 or done == len(paths):
                tell(what, done, len(paths))
    whole = [image for image in found if image is not None]
    kept = [path for path, image in zip(paths, found, strict=True) if image is not None]
    for path, image in zip(kept, whole, strict=True):
        if image.shape != whole[0].shape:
            sizes = [f"{shown.shape[2]}x{shown.shape[1]}" for shown in (image, whole[0])]
            raise OSError(f"{path} has {sizes[0]} pixels and {kept[0]} {sizes[1]}; size=N brings all images to NxN")
    return np.stack(whole) if whole else np.empty((0, 3, 1, 1), np.uint8), np.array([i is not None for i in found])


def _read(path: Path, resize: int, crop: int) -> Bytes | OSError:
    try:
        with Image.open(path) as image:
            picture = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return OSError(" ".join(str(error).split()).replace(f" '{path}'", "") or type(error).__name__)
    if resize and min(picture.size) != resize:
        share = resize / min(picture.size)
        size = [max(resize, int(side * share)) for side in picture.size]
        picture = picture.resize((size[0], size[1]), Image.Resampling.BILINEAR)
    if crop:
        left, top = (round((side - crop) / 2) for side in picture.size)
        picture = picture.crop((left, top, left + crop, top + crop))
    return np.asarray(picture).transpose(2, 0, 1)
