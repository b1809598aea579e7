"""Pictures: image files -> bytes (N, 3, height, width), all of one size."""

import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sddcli.core.words import printable
from sddcli.datasets.reading.files import Pile, Tell

Bytes = NDArray[np.uint8]
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
EVERY = 500
"""After how many images `tell` hears of the next ones."""
AHEAD = 64
"""So many images are decoded before they are asked for."""
NUMBERS = {1: "whole numbers", 2: "signed whole numbers", 3: "floating-point numbers"}
"""What a pixel is, by the number that TIFF has for it in SAMPLE_FORMAT."""
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
CONVERTED = {mode: f"{mode} colours brought to RGB" for mode in ("CMYK", "YCbCr", "LAB", "HSV")} | dict.fromkeys(
    ("LA", "La", "PA", "RGBA", "RGBa"), "transparency left out"
)
"""What bringing an image of some mode to RGB changes; grey and palettes become RGB as they are."""


class Unreadable(OSError):
    """An image that cannot be decoded, or not to bytes without inventing a scale; the message says which and why."""


class Decoded(NamedTuple):
    """What P files gave. x: (N, 3, H, W), the images; kept: (P,) bool, the files that they are of.

    changes: what was done to pixels -> to how many images; unread: each file that was left out -> what is wrong with
    it, "is damaged (...)".
    """

    x: Bytes
    kept: NDArray[np.bool_]
    changes: Mapping[str, int]
    unread: Mapping[Path, str]


def decode(paths: Sequence[Path], resize: int, crop: int, skip: bool, tell: Tell, what: str) -> Decoded:
    """The images of these files in RGB, turned upright as their EXIF says.

    resize: the length that the shorter side is brought to, as torchvision's Resize; crop: the side of the middle
    square that is then taken, as its CenterCrop; 0 leaves out either step. skip: files that cannot be read are left
    out. tell hears of `what` is done, now and then. Raises Unreadable naming the first file that cannot be read,
    unless they are skipped, and OSError naming the first image of another size than the first.
    """
    pile, first = Pile(), -1
    kept, changes, unread = np.zeros(len(paths), bool), Counter[str](), dict[Path, str]()
    shape: tuple[int, ...] = ()
    wrong = ""
    with ThreadPoolExecutor(4) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's: what they are about is read all the same, or is an error
        for done, result in enumerate(_in_order(pool, partial(_read, resize=resize, crop=crop), paths), 1):
            if isinstance(result, OSError):
                if not skip:
                    raise Unreadable(f"{written(paths[done - 1])} {result}")
                unread[paths[done - 1]] = str(result)
            else:
                image, kept[done - 1] = result[0], True
                first, shape = (done - 1, image.shape) if first < 0 else (first, shape)
                if image.shape == shape:
                    pile.add(image)
                elif not wrong:  # said at the end: an image that cannot be read is said before
                    sizes = [f"{each[2]}x{each[1]}" for each in (image.shape, shape)]
                    names = [written(paths[each]) for each in (done - 1, first)]
                    wrong = f"{names[0]} has {sizes[0]} pixels and {names[1]} {sizes[1]}"
                changes.update(result[1])
            if done % EVERY == 0 or done == len(paths):
                tell(what, done, len(paths))
    if wrong:
        raise OSError(f"{wrong}; size=N brings all images to NxN")
    return Decoded(pile.whole(), kept, changes, unread)


def _in_order(pool: ThreadPoolExecutor, read: Callable[[Path], Any], paths: Sequence[Path]) -> Iterator[Any]:
    """What `read` gives of each path, some of them read ahead: all at once would wait in memory."""
    ahead: deque[Future[Any]] = deque()
    for path in paths:
        ahead.append(pool.submit(read, path))
        if len(ahead) > AHEAD:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of an image, upright as `decode` gives it. Raises Unreadable where it cannot be decoded."""
    image = _read(path, 0, 0)
    if isinstance(image, OSError):
        raise Unreadable(f"{written(path)} {image}")
    return image[0].shape[2], image[0].shape[1]


def written(path: Path | str) -> str:
    r"""A path as text that every file and terminal takes: bytes that are no UTF-8 as \xff."""
    return printable(str(path))


def rgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """An image upright and in RGB, a byte a channel, and in words what that changed of its pixels.

    Nothing is changed of 8-bit grey, palettes and RGB.
    Grey of 9 to 16 bits is brought to bytes by the range of its type, value * 255 / (2^bits - 1), rounded; of 16-bit
    colour Pillow takes the upper byte. Raises Unreadable for pixels whose range their type does not say.
    """
    bits, numbers = _type_of_pixels(image)
    if bits > 16 or numbers != NUMBERS[1]:
        raise Unreadable(
            f"cannot be used: its pixels are {bits}-bit {numbers}, and nobody knows which is black and which is white: "
            "save it with unsigned whole numbers of 8 or 16 bits"
        )
    # An MPO is a photograph of a phone, which means the first of its two pictures.
    several = getattr(image, "n_frames", 1) > 1 and image.format != "MPO"
    changes = ["the first of several pictures in one file taken"] if several else []
    picture = ImageOps.exif_transpose(image)
    if picture.mode[:1] == "I":
        most = 2**bits - 1
        values = (np.asarray(picture).astype(np.int64) * 510 + most) // (2 * most)  # rounded to the nearest
        if _tag(image, PHOTOMETRIC, (1,)) == (0,):  # white is 0; for bytes Pillow sees to that itself
            values = 255 - values
        return Image.fromarray(values.astype(np.uint8)).convert("RGB"), [*changes, f"{bits}-bit grey brought to bytes"]
    if picture.mode in CONVERTED or "transparency" in image.info:
        changes.append(CONVERTED.get(picture.mode, CONVERTED["RGBA"]))
    if picture.mode in ("La", "RGBa"):
        picture = picture.convert(picture.mode.upper())
    return picture.convert("RGB"), changes


def _type_of_pixels(image: Image.Image) -> tuple[int, str]:
    """How many bits a channel has, and what their numbers are, a value of NUMBERS: as the file says, or the mode."""
    numbers = max(_tag(image, SAMPLE_FORMAT, (1,)))
    if image.format == "TIFF" and (numbers in (2, 3) or image.mode[:1] == "I"):
        return max(_tag(image, BITS_PER_SAMPLE, (1,))), NUMBERS.get(numbers, NUMBERS[1])
    if image.mode == "F":
        return 32, NUMBERS[3]
    if image.mode == "I":  # 16 bits in PNG, and in PGM, whose numbers Pillow brings to 0 ... 65535
        return (16, NUMBERS[1]) if image.format in ("PNG", "PPM") else (32, NUMBERS[2])
    return (16 if image.mode[:1] == "I" else 8), NUMBERS[1]


def _tag(image: Image.Image, number: int, otherwise: tuple[int, ...]) -> tuple[int, ...]:
    """The values of a tag of a TIFF; `otherwise` where it has none, or the file is no TIFF."""
    value = getattr(image, "tag_v2", {}).get(number, otherwise) if image.format == "TIFF" else otherwise
    return value if isinstance(value, tuple) else (value,)


def _read(path: Path, resize: int, crop: int) -> tuple[Bytes, list[str]] | OSError:
    """One image (3, H, W) and what was changed of it, or what is wrong with its file: an error does not stop a pool."""
    try:
        with Image.open(path) as image:
            picture, changes = rgb(image)
    except Unreadable as error:
        return error
    except FileNotFoundError:
        return OSError("is a link to nothing" if path.is_symlink() else "is gone")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, OSError) and error.strerror:
            return OSError(f"cannot be read ({error.strerror})")
        reason = " ".join(str(error).split()).replace(f" {str(path)!r}", "")
        return OSError(f"is damaged ({reason or type(error).__name__})")
    if resize and min(picture.size) != resize:
        factor = resize / min(picture.size)
        size = [max(resize, int(side * factor)) for side in picture.size]
        picture = picture.resize((size[0], size[1]), Image.Resampling.BILINEAR)
    if crop:
        left, top = (round((side - crop) / 2) for side in picture.size)
        picture = picture.crop((left, top, left + crop, top + crop))
    return np.asarray(picture).transpose(2, 0, 1), changes
