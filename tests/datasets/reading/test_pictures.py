"""Pictures: every kind of pixel that Pillow opens, brought to bytes as by hand, or refused with the reason."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from sddcli.datasets.reading.pictures import Unreadable, decode, rgb, size_of, written

GREY = np.array([[0, 1, 127], [128, 200, 255]], np.uint8)
DEEP = np.array([[0, 128, 129, 257], [32767, 32768, 52428, 65535]], np.uint16)
BY_HAND = [[0, 0, 1, 1], [127, 128, 204, 255]]  # value / 257, to the nearest
COLOURS = np.array([[[255, 0, 0], [10, 200, 30]], [[0, 0, 0], [250, 250, 250]]], np.uint8)


def decoded(path: Path) -> tuple[np.ndarray, dict[str, int]]:
    result = decode([path], 0, 0, False, lambda *_: None, "")
    return result.x[0], dict(result.changes)


def grey(values: object) -> np.ndarray:
    return np.stack([np.array(values, np.uint8)] * 3)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "PA"])
def test_grey_bytes_stay(mode: str) -> None:
    image = Image.fromarray(GREY)
    channels = [image] + [Image.new("L", image.size, 7)] * (mode[-1] == "A")
    if mode[0] == "P":
        image = Image.fromarray(GREY, "P")
        image.putpalette([value for level in range(256) for value in (level, 255 - level, 3)])
        image = image.convert("PA") if mode == "PA" else image
        expected = np.stack([GREY, 255 - GREY, np.full_like(GREY, 3)])
    else:
        image, expected = Image.merge(mode, channels), grey(GREY)
    picture, changes = rgb(image)
    assert np.array_equal(np.asarray(picture).transpose(2, 0, 1), expected)
    assert changes == (["transparency left out"] if mode[-1] == "A" else [])


def test_black_and_white() -> None:
    picture, changes = rgb(Image.fromarray(GREY > 127))
    assert np.array_equal(np.asarray(picture)[:, :, 0], np.where(GREY > 127, 255, 0)) and changes == []


@pytest.mark.parametrize("mode", ["RGB", "RGBX", "RGBA"])
def test_colours_stay(mode: str) -> None:
    picture, changes = rgb(Image.fromarray(COLOURS).convert(mode))
    assert np.array_equal(picture, COLOURS) and changes == (["transparency left out"] if mode == "RGBA" else [])


def cmyk(c: float, m: float, y: float, k: float) -> list[float]:
    return [255 * (1 - ink / 255) * (1 - k / 255) for ink in (c, m, y)]


def ycbcr(y: float, cb: float, cr: float) -> list[float]:
    """ITU-R BT.601 as JPEG takes it."""
    red, blue = cr - 128, cb - 128
    return [y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue]


def hsv(h: float, s: float, v: float) -> list[float]:
    import colorsys

    return [255 * value for value in colorsys.hsv_to_rgb(h / 255, s / 255, v / 255)]


def lab(lightness: float, a: float, b: float) -> list[float]:
    """CIE L*a*b* with the white of D50, as ICC profiles have it, to sRGB (Bradford-adapted matrix)."""
    y = (lightness / 255 * 100 + 16) / 116
    a, b = (value - 256 * (value > 127) for value in (a, b))  # signed bytes, as TIFF has them
    x, z = y + a / 500, y - b / 200
    cubes = [t**3 if t > 6 / 29 else 3 * (6 / 29) ** 2 * (t - 4 / 29) for t in (x, y, z)]
    xyz = np.array([0.9642, 1.0, 0.8249]) * cubes
    to_srgb = [[3.1339, -1.6169, -0.4906], [-0.9788, 1.9161, 0.0335], [0.0719, -0.2290, 1.4052]]
    linear = np.clip(np.array(to_srgb) @ xyz, 0, 1)
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return [float(value) for value in 255 * curve]


CONVERSIONS = {
    "CMYK": (cmyk, [(0, 0, 0, 0), (255, 0, 0, 0), (30, 60, 90, 120), (200, 10, 5, 255)]),
    "YCbCr": (ycbcr, [(100, 128, 128), (120, 100, 150), (180, 140, 110), (0, 128, 128)]),
    "HSV": (hsv, [(0, 0, 77), (0, 255, 255), (85, 128, 200), (200, 60, 30)]),
    "LAB": (lab, [(0, 0, 0), (255, 0, 0), (128, 0, 0), (150, 22, 238), (190, 246, 40)]),
}


@pytest.mark.parametrize("mode", CONVERSIONS)
def test_other_colours_by_their_formulas(mode: str) -> None:
    formula, pixels = CONVERSIONS[mode]
    image = Image.frombytes(mode, (len(pixels), 1), bytes(value for pixel in pixels for value in pixel))
    picture, changes = rgb(image)
    assert changes == [f"{mode} colours brought to RGB"]
    assert np.abs(np.asarray(picture)[0] - np.array([formula(*pixel) for pixel in pixels])).max() <= 3


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_sixteen_bits_in_memory(mode: str) -> None:
    order = {"I;16B": ">u2", "I;16N": "=u2"}.get(mode, "<u2")
    picture, changes = rgb(Image.frombytes(mode, (4, 2), DEEP.astype(order).tobytes()))
    assert np.asarray(picture)[:, :, 0].tolist() == BY_HAND and changes == ["16-bit grey brought to bytes"]


@pytest.mark.parametrize("ending", ["png", "tif", "pgm", "big.tif", "jp2.png"])
def test_sixteen_bits_in_files(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    image = Image.fromarray(DEEP)
    if ending == "big.tif":
        image = Image.frombytes("I;16B", (4, 2), DEEP.astype(">u2").tobytes())
    image.save(path, "JPEG2000" if ending == "jp2.png" else None)
    x, changes = decoded(path)
    assert np.array_equal(x, grey(BY_HAND)) and changes == {"16-bit grey brought to bytes": 1}


def tiff(path: Path, content: bytes, size: tuple[int, int], bits: int, numbers: int = 1, white: int = 1) -> None:
    """A grey TIFF by hand: `numbers` 1 unsigned, 2 signed, 3 floating-point; white 0: 0 is white."""
    tags = [(256, size[0]), (257, size[1]), (258, bits), (259, 1), (262, white), (273, 8), (277, 1), (278, size[1])]
    tags = sorted([*tags, (279, len(content)), (339, numbers)])
    entries = b"".join(struct.pack("<HHIHH", number, 3, 1, value, 0) for number, value in tags)
    body = content + b"\0" * (len(content) % 2)
    path.write_bytes(
        struct.pack("<2sHI", b"II", 42, 8 + len(body)) + body + struct.pack("<H", len(tags)) + entries + b"\0" * 4
    )


def test_the_range_is_that_of_the_type(tmp_path: Path) -> None:
    """Twelve bits go up to 4095; where 0 is white, white stays white; PGM says its highest value itself."""
    tiff(tmp_path / "12.tif", bytes([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x10]), (4, 1), 12)  # 0, 4095, 2048, 16
    assert decoded(tmp_path / "12.tif")[0][0].tolist() == [[0, 255, 128, 1]]
    assert decoded(tmp_path / "12.tif")[1] == {"12-bit grey brought to bytes": 1}
    tiff(tmp_path / "white.tif", DEEP.tobytes(), (4, 2), 16, white=0)
    assert decoded(tmp_path / "white.tif")[0][0].tolist() == (255 - np.array(BY_HAND)).tolist()
    (tmp_path / "a.pgm").write_bytes(b"P5 3 1 1000 " + np.array([0, 500, 1000], ">u2").tobytes())
    assert decoded(tmp_path / "a.pgm")[0][0].tolist() == [[0, 128, 255]]


@pytest.mark.parametrize(
    ("kind", "bits", "numbers", "words"),
    [
        ("i1", 8, 2, "8-bit signed whole numbers"),
        ("<i2", 16, 2, "16-bit signed whole numbers"),
        ("<i4", 32, 2, "32-bit signed whole numbers"),
        ("<u4", 32, 1, "32-bit whole numbers"),
        ("<f4", 32, 3, "32-bit floating-point numbers"),
    ],
)
def test_pixels_whose_range_nobody_knows_are_refused(
    tmp_path: Path, kind: str, bits: int, numbers: int, words: str
) -> None:
    path = tmp_path / "a.tif"
    tiff(path, np.arange(8).astype(kind).tobytes(), (4, 2), bits, numbers)
    with pytest.raises(Unreadable, match=f"a.tif cannot be used: its pixels are {words}, .* save it with"):
        decoded(path)
    result = decode([path], 0, 0, True, lambda *_: None, "")
    assert len(result.x) == 0 and words in result.unread[path]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_such_pixels_in_memory_are_refused_too(mode: str) -> None:
    with pytest.raises(Unreadable, match="32-bit"):
        rgb(Image.new(mode, (2, 2)))


def test_every_mode_that_pillow_knows_is_tried_here() -> None:
    tried = {"1", "L", "LA", "P", "PA", "RGB", "RGBX", "RGBA", *CONVERSIONS, "I", "F", "La", "RGBa"}
    tried |= {"I;16", "I;16L", "I;16B", "I;16N"}
    opened = {mode for mode, _ in TiffImagePlugin.OPEN_INFO.values()}
    assert {*Image.MODES, *opened} <= tried
    for mode in ("La", "RGBa"):
        assert rgb(Image.new(mode, (1, 1)))[1] == ["transparency left out"]


def test_what_a_file_holds_beside_its_picture_is_said(tmp_path: Path) -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    x, changes = decoded(tmp_path / "a.tif")
    assert np.array_equal(x, grey(GREY)) and changes == {"the first of several pictures in one file taken": 1}
    image = Image.fromarray(GREY, "P")
    image.save(tmp_path / "b.png", transparency=0)
    assert decoded(tmp_path / "b.png")[1] == {"transparency left out": 1}


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_images_are_turned_upright(tmp_path: Path, mode: str) -> None:
    values = DEEP if mode == "I;16" else np.array(BY_HAND, np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right by 90 degrees
    image = Image.fromarray(values) if mode == "I;16" else Image.fromarray(values).convert(mode)
    image.save(tmp_path / "a.png", exif=exif)
    assert decoded(tmp_path / "a.png")[0][0].tolist() == np.rot90(BY_HAND, -1).tolist()
    assert size_of(tmp_path / "a.png") == (2, 4)


def test_names_that_are_no_utf8_are_written_so_that_all_can_read_them() -> None:
    import os

    assert written(Path(os.fsdecode(b"caf\xe9/\xc3\xa9.png"))) == r"caf\xe9/é.png"
