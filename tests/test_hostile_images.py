"""Hundreds of damaged, lying and rare image files: each is read rightly or refused.

All of them go through one process of its own, whose memory is limited: none may crash it, warn,
or take more time or memory than an image of the largest size that is accepted.
"""

import hashlib
import io
import itertools
import json
import os
import resource
import struct
import subprocess
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from defectseg.errors import ImageReadError
from defectseg.image_io import (
    MAX_PIXELS,
    decode_image,
    find_images,
    read_size,
    read_time_taken,
    to_gray,
    write_mask,
    write_picture,
)
from defectseg.inference.pipeline import inspect_files
from defectseg.inference.predictor import Inspection, Predictor
from defectseg.inference.results import draw_overlay
from tests.inference.test_predictor import CALIBRATION

ROOT = Path(__file__).parents[1]
MIB = 1 << 20

# Of the process that reads them, and of all its libraries.
ADDRESS_SPACE = 3072 * MIB
# Pillow has 4 bytes for each of the 200 million pixels that are accepted, 763 MiB. None of these
# files may take more than that beside the libraries, which have less than 300 MiB.
MOST_MEMORY = 1100 * MIB
MOST_SECONDS = (
    3.0  # of one core, for one file; on the slowest machine that was tried most take 2 ms
)
TIMEOUT_S = 150.0

Array = npt.NDArray[np.uint8]
RNG_SEED = 7


@dataclass(frozen=True)
class Case:
    """An image file, and what may come of it.

    Attributes
    ----------
    data : bytes
    readable : bool or None
        Whether it must be read, or refused. None: one or the other.
    pixels : tuple of ndarray
        If it is read, then as one of these. Empty: as any image.
    apart : int
        How many gray levels it may be off.
    """

    data: bytes
    readable: bool | None = None
    pixels: tuple[Array, ...] = ()
    apart: int = 0


Cases = dict[str, Case]


# --- Files made by hand, for what Pillow does not write ---------------------------------------


def encode(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    crc = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)


def make_png(
    shape_hw: tuple[int, int],
    rows: bytes,
    *,
    depth: int = 8,
    colour: int = 0,
    rest: tuple[int, int, int] = (0, 0, 0),
    between: bytes = b"",
) -> bytes:
    """A PNG of any header; `rest` are compression, filter and interlace, `rows` are not packed."""
    height, width = shape_hw
    header = struct.pack(">IIBBBBB", width, height, depth, colour, *rest)
    body = between + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body


def png_rows(image: npt.NDArray[Any]) -> bytes:
    """The rows of a PNG, each after a 0: not filtered."""
    big_endian = image.astype(image.dtype.newbyteorder(">"))
    return b"".join(b"\0" + row.tobytes() for row in big_endian)


# First row, first column and their steps in each of the seven passes of an interlaced PNG.
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))


def interlaced_rows(image: Array) -> bytes:
    passes = [image[y::dy, x::dx] for y, x, dy, dx in (*ADAM7, (1, 0, 2, 1))]
    return b"".join(png_rows(part) for part in passes if part.size)


Tag = tuple[int, int, Sequence[int]]  # number, type (3: 16 bits, 4: 32 bits), values
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
OFFSETS, SAMPLES, ROWS_PER_STRIP, COUNTS, FORMAT = 273, 277, 278, 279, 339
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS = 322, 323, 324, 325


def make_tiff(data: bytes, tags: Sequence[Tag], order: str = "<", following: int = 0) -> bytes:
    """A TIFF of any tags; the data lies behind them, where 0 among the offsets points to."""
    end = 8 + 2 + 12 * len(tags) + 4
    length = sum(
        size for _, kind, values in tags if (size := len(values) * (2 if kind == 3 else 4)) > 4
    )
    entries, outside = b"", b""
    for number, kind, values in sorted(tags):
        if number in {OFFSETS, TILE_OFFSETS}:
            values = [value or end + length for value in values]
        packed = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
        entries += struct.pack(f"{order}HHI", number, kind, len(values))
        if len(packed) > 4:
            entries += struct.pack(f"{order}I", end + len(outside))
            outside += packed
        else:
            entries += packed.ljust(4, b"\0")
    start = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    count = struct.pack(f"{order}H", len(tags))
    return start + count + entries + struct.pack(f"{order}I", following) + outside + data


def strip_tags(
    shape_hw: tuple[int, int], data: bytes, *, bits: int = 8, white: int = 1, packing: int = 1
) -> list[Tag]:
    """The tags of a gray image in one strip; `white` is 0 where 0 is white."""
    height, width = shape_hw
    return [
        (WIDTH, 4, [width]),
        (HEIGHT, 4, [height]),
        (BITS, 3, [bits]),
        (COMPRESSION, 3, [packing]),
        (PHOTOMETRIC, 3, [white]),
        (OFFSETS, 4, [0]),
        (SAMPLES, 3, [1]),
        (ROWS_PER_STRIP, 4, [height]),
        (COUNTS, 4, [len(data)]),
    ]


def change(tags: Sequence[Tag], **new: Sequence[int]) -> list[Tag]:
    """The same tags with other values: ``change(tags, BITS=[12])``."""
    numbers = {globals()[name]: values for name, values in new.items()}
    return [(number, kind, numbers.get(number, values)) for number, kind, values in tags]


# --- Good files, of which the others are made --------------------------------------------------


def draw(seed: int) -> Array:
    """A slope with some noise, 48 rows of 40; no pixel is 0, which is what is missing in a PNG."""
    slope = np.add.outer(np.arange(48) * 3, np.arange(40))
    noise = np.random.default_rng(seed).integers(0, 20, slope.shape)
    return (20 + slope + noise).astype(np.uint8)


GRAY = draw(0)
RGB = np.dstack([draw(1), draw(2)[::-1], draw(3)[:, ::-1]])
# 257 times an 8-bit level is the same level in 16 bits: 255 · 257 = 65535.
LEVELS_16 = GRAY.astype(np.uint16) * 257
GRAY_AS_RGB = np.dstack([GRAY] * 3)


def palette() -> Image.Image:
    picture = Image.fromarray(GRAY).convert("P")
    picture.putpalette([level for value in range(256) for level in (value, value, value)])
    return picture


GRAY_STRIP = zlib.compress(GRAY.tobytes())
EXACT: dict[str, tuple[bytes, Array]] = {
    "gray.png": (encode(Image.fromarray(GRAY)), GRAY),
    "rgb.png": (encode(Image.fromarray(RGB)), RGB),
    "16.png": (encode(Image.fromarray(LEVELS_16)), GRAY),
    "palette.png": (encode(palette()), GRAY_AS_RGB),
    "interlaced.png": (make_png(GRAY.shape, interlaced_rows(GRAY), rest=(0, 0, 1)), GRAY),
    "gray.bmp": (encode(Image.fromarray(GRAY), "BMP"), GRAY),
    "rgb.bmp": (encode(Image.fromarray(RGB), "BMP"), RGB),
    "gray.tif": (encode(Image.fromarray(GRAY), "TIFF"), GRAY),
    "lzw.tif": (encode(Image.fromarray(RGB), "TIFF", compression="tiff_lzw"), RGB),
    "deflate.tif": (encode(Image.fromarray(RGB), "TIFF", compression="tiff_adobe_deflate"), RGB),
    "16.tif": (encode(Image.fromarray(LEVELS_16), "TIFF"), GRAY),
}
LOSSY: dict[str, tuple[bytes, Array]] = {
    "gray.jpg": (encode(Image.fromarray(GRAY), "JPEG", quality=95), GRAY),
    "rgb.jpg": (encode(Image.fromarray(RGB), "JPEG", quality=95, subsampling=0), RGB),
    "progressive.jpg": (
        encode(Image.fromarray(RGB), "JPEG", quality=95, subsampling=0, progressive=True),
        RGB,
    ),
}
# What Pillow makes of the JPEGs, which a damaged one can be compared with pixel by pixel.
DECODED = {
    name: (data, np.array(Image.open(io.BytesIO(data)))) for name, (data, _) in LOSSY.items()
}
GOOD = EXACT | DECODED
# Levels that quality 95 may cost, with so much noise; in blue, an error of Cb counts 1.77 times.
LOSS_GRAY, LOSS_COLOUR = 10, 24


def whole_files() -> Iterator[tuple[str, Case]]:
    for name, (data, pixels) in EXACT.items():
        yield name, Case(data, True, (pixels,))
    for name, (data, pixels) in LOSSY.items():
        yield (
            name,
            Case(data, True, (pixels,), apart=LOSS_GRAY if pixels.ndim == 2 else LOSS_COLOUR),
        )


# --- Damage ------------------------------------------------------------------------------------


def cut_files() -> Iterator[tuple[str, Case]]:
    """Truncations: refused, or, where only what comes after the pixels is lost, the same image."""
    for name, (data, pixels) in GOOD.items():
        size = len(data)
        lengths = [1, 4, 9, 30, size // 4, size // 2, size * 3 // 4, size * 9 // 10]
        for length in (*lengths, size - 40, size - 12, size - 3, size - 1):
            yield f"{length:05}-{name}", Case(data[:length], None, (pixels,))
        if name.endswith(".jpg"):
            # With the mark of its end it is whole to Pillow, which fills it up with gray.
            yield f"ended-{name}", Case(data[: size // 2] + b"\xff\xd9")


def flipped_files() -> Iterator[tuple[str, Case]]:
    """Single wrong bits, and runs of wrong bytes.

    A PNG has a checksum over each of its parts, so that a wrong bit is refused or was of no
    account. In the other formats nothing tells that a gray level is not what it was.
    """
    rng = np.random.default_rng(RNG_SEED)
    # Packed to a few bytes, each of which stands for many pixels.
    slope = np.add.outer(np.arange(128), np.arange(120)).astype(np.uint8)
    data = encode(Image.fromarray(slope))
    for place in range(0, len(data), 3):
        bit = place // 3 % 8
        damaged = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
        yield f"bit-{place:05}-{bit}-slope.png", Case(damaged, None, (slope,))
    for name, (data, pixels) in GOOD.items():
        known = (pixels,) if name.endswith(".png") else ()
        places = [*rng.integers(0, min(200, len(data)), 4), *rng.integers(0, len(data), 4)]
        for place in map(int, places):
            bit = int(rng.integers(8))
            damaged = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
            yield f"bit-{place:05}-{bit}-{name}", Case(damaged, None, known)
        for fill in (0, 255, None):
            place = int(rng.integers(8, len(data) - 8))
            new = rng.bytes(8) if fill is None else bytes([fill] * 8)
            damaged = data[:place] + new + data[place + 8 :]
            yield f"run-{place:05}-{fill}-{name}", Case(damaged, None, known)


MAGIC = {
    "png": b"\x89PNG\r\n\x1a\n",
    "jpg": b"\xff\xd8\xff\xe0",
    "bmp": b"BM",
    "tif": b"II*\0\x08\0\0\0",
}


def swapped_files() -> Iterator[tuple[str, Case]]:
    """The beginning of one format before the content of another: nothing can be made of it."""
    for name in ("gray.png", "gray.jpg", "gray.bmp", "lzw.tif"):
        own = name[-3:]
        for kind, magic in MAGIC.items():
            if kind != own:
                data = magic + GOOD[name][0][len(MAGIC[own]) :]
                yield f"{kind}-before-{name}", Case(data, False)


def extended_files() -> Iterator[tuple[str, Case]]:
    """Garbage after the image, which no format minds, and before it, with which it is none."""
    noise = np.random.default_rng(RNG_SEED).bytes(1000)
    for name, (data, pixels) in GOOD.items():
        for what, more in (("zeros", bytes(512)), ("noise", noise), ("again", data)):
            yield f"{what}-after-{name}", Case(data + more, True, (pixels,))
        yield f"before-{name}", Case(b"\n" + data, False)


def other_files() -> Iterator[tuple[str, Case]]:
    """What is no image of the four formats, though it is named so."""
    picture = Image.fromarray(GRAY)
    for kind in ("GIF", "WEBP", "PPM", "JPEG2000", "ICO", "TGA", "PCX", "SGI", "AVIF", "PDF"):
        yield f"{kind}.png", Case(encode(picture, kind), False)
    texts = {
        "empty": b"",
        "newline": b"\n",
        "text": b"no image at all\n" * 50,
        "html": b"<!doctype html><title>404</title>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "utf16": "no image".encode("utf-16"),
        "zip": b"PK\x03\x04" + bytes(100),
        "program": b"\x7fELF\x02\x01\x01" + bytes(100),
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "zeros": bytes(5000),
        "ones": b"\xff" * 5000,
        "noise": np.random.default_rng(RNG_SEED).bytes(5000),
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    }
    for name, data in texts.items():
        yield f"{name}.png", Case(data, False)
    for kind, magic in MAGIC.items():
        yield f"only-magic-{kind}.png", Case(magic, False)
        yield f"magic-and-zeros-{kind}.png", Case(magic + bytes(2000), False)


# --- Headers that lie --------------------------------------------------------------------------

LARGEST = (2**31 - 1, 2**31 - 1)


def png_headers() -> Iterator[tuple[str, Case]]:
    """Headers with a valid checksum that say what is not so."""
    rows = png_rows(GRAY)
    too_large = [LARGEST, (1, 2**31 - 1), (2**32 - 1, 1), (2**31, 2**31), (20_000, 20_000)]
    for height, width in [(0, 40), (48, 0), (0, 0), *too_large]:
        yield f"{height}x{width}.png", Case(make_png((height, width), rows), False)
    # Rows that do not exist must not be made up: Pillow leaves them black, without an error.
    for height in (49, 96, 5000, 60_000):
        yield f"{height}x40.png", Case(make_png((height, 40), rows), False)
    more = {"interlaced": (8, 0, 1), "16": (16, 0, 0), "palette": (8, 3, 0), "rgb": (8, 2, 0)}
    for name, (depth, colour, interlace) in more.items():
        image = {"16": LEVELS_16, "rgb": RGB}.get(name, GRAY)
        part = interlaced_rows(GRAY) if interlace else png_rows(image)
        data = make_png(
            (60, 40),
            part,
            depth=depth,
            colour=colour,
            rest=(0, 0, interlace),
            between=chunk(b"PLTE", bytes(range(255, 0, -1))) if colour == 3 else b"",
        )
        yield f"60x40-{name}.png", Case(data, False)
    # All but the last of the seven passes, whose rows are every second one but not the lowest.
    uneven = GRAY[:47]
    some = interlaced_rows(uneven)[: -23 * (1 + 40)]
    data = make_png(uneven.shape, some, rest=(0, 0, 1))
    yield "47x40-six-passes.png", Case(data, False)
    # Fewer than there are: what is there is right, but a decoder may also mind the rest.
    for height in (1, 24, 47):
        yield f"{height}x40.png", Case(make_png((height, 40), rows), None, (GRAY[:height],))
    for width in (1, 39, 41, 80, 60_000):  # the rows' first bytes are then among the pixels
        yield f"48x{width}.png", Case(make_png((48, width), rows))
    for depth, colour in [(0, 0), (3, 0), (32, 0), (255, 0), (8, 1), (8, 5), (8, 255), (4, 2)]:
        data = make_png(GRAY.shape, rows, depth=depth, colour=colour)
        yield f"depth-{depth}-colour-{colour}.png", Case(data, False)
    for depth, colour in [(1, 0), (2, 3), (8, 3), (8, 4), (16, 6)]:
        yield (
            f"depth-{depth}-colour-{colour}.png",
            Case(make_png(GRAY.shape, rows, depth=depth, colour=colour)),
        )
    for rest in [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 2), (255, 255, 255)]:
        yield f"rest-{'-'.join(map(str, rest))}.png", Case(make_png(GRAY.shape, rows, rest=rest))
    whole = EXACT["gray.png"][0]
    yield "two-headers.png", Case(whole[:33] + whole[8:])
    yield "no-header.png", Case(MAGIC["png"] + whole[33:], False)
    yield "no-data.png", Case(whole[:33] + chunk(b"IEND", b""), False)
    # Its only data, though whole, is said to go on far beyond the file's end.
    long = whole[:33] + struct.pack(">I", 2**31 - 1) + whole[37:]
    yield "long-chunk.png", Case(long, None, (GRAY,))
    yield "odd-chunk.png", Case(whole[:33] + chunk(b"ab\0\xff", b"") + whole[33:], False)
    unknown = whole[:33] + chunk(b"prVt", b"of a camera") + whole[33:]
    yield "private-chunk.png", Case(unknown, True, (GRAY,))
    no_palette = make_png(GRAY.shape, rows, colour=3)
    yield "no-palette.png", Case(no_palette)


def other_headers() -> Iterator[tuple[str, Case]]:
    """The same of the other formats."""
    sizes = [(0, 40), (48, 0), (1, 40), (48, 1), (24, 40), (48, 39), (48, 41), (65535, 1)]
    jpeg, bmp = GOOD["gray.jpg"][0], GOOD["gray.bmp"][0]
    frame = jpeg.find(b"\xff\xc0") + 5  # height and width stand five bytes into the frame header
    for height, width in [*sizes, (65535, 65535), (65535, 40), (48, 65535)]:
        data = jpeg[:frame] + struct.pack(">HH", height, width) + jpeg[frame + 4 :]
        refused = 0 in (height, width) or height * width > MAX_PIXELS
        yield f"{height}x{width}.jpg", Case(data, False if refused else None)
    signed = [(-48, 40), (48, -40), (96, 40), (-(2**31), 1), (1, -(2**31)), LARGEST]
    for height, width in [*sizes, *signed]:
        data = bmp[:18] + struct.pack("<ii", width, height) + bmp[26:]
        # A negative height is allowed: the rows stand from the top down.
        if (height, width) == (-48, 40):
            yield "top-down.bmp", Case(data, True, (GRAY[::-1],))
            continue
        refused = width < 1 or height < 1 or height * width > 48 * 40
        yield f"{height}x{width}.bmp", Case(data, False if refused else None)
    for place, values in {28: (0, 3, 7, 33, 64), 30: (1, 2, 3, 4, 5, 99)}.items():
        for value in values:  # bits a pixel; compression
            data = bmp[:place] + struct.pack("<H", value) + bmp[place + 2 :]
            yield f"{place}-{value}.bmp", Case(data)
    for start in (0, 5, 54, 2**31, 2**32 - 1):
        yield f"start-{start}.bmp", Case(bmp[:10] + struct.pack("<I", start) + bmp[14:])
    yield from tiff_headers()


def tiff_headers() -> Iterator[tuple[str, Case]]:
    raw = GRAY.tobytes()
    tags = strip_tags(GRAY.shape, raw)
    yield "sound.tif", Case(make_tiff(raw, tags), True, (GRAY,))
    yield "sound-big-endian.tif", Case(make_tiff(raw, tags, ">"), True, (GRAY,))
    lies: dict[str, Sequence[int]] = {"WIDTH": (0, 1, 41, 2**31 - 1, 2**32 - 1)}
    lies["HEIGHT"] = (0, 1, 49, 2**31 - 1, 2**32 - 1)
    lies["BITS"] = (0, 1, 7, 12, 64, 65535)
    lies["COMPRESSION"] = (0, 2, 3, 5, 6, 7, 8, 99, 65535)
    lies["PHOTOMETRIC"] = (2, 3, 5, 6, 8, 99)
    lies["OFFSETS"] = (1, 2000, 2**31, 2**32 - 1)
    lies["SAMPLES"] = (0, 2, 3, 5, 65535)
    lies["ROWS_PER_STRIP"] = (0, 1, 49, 2**32 - 1)
    lies["COUNTS"] = (0, 1, 2**31 - 1)
    too_large = {("WIDTH", 2**31 - 1), ("WIDTH", 2**32 - 1)}
    too_large |= {("HEIGHT", 2**31 - 1), ("HEIGHT", 2**32 - 1)}
    missing = {("WIDTH", 0), ("HEIGHT", 0), ("HEIGHT", 49), ("WIDTH", 41), ("OFFSETS", 2**31)}
    for name, values in lies.items():
        for value in values:
            data = make_tiff(raw, change(tags, **{name: [value]}))
            refused = (name, value) in too_large | missing
            yield f"{name.lower()}-{value}.tif", Case(data, False if refused else None)
    for number, _, _ in tags:
        data = make_tiff(raw, [tag for tag in tags if tag[0] != number])
        yield f"without-{number}.tif", Case(data)
    # The next image is this one, the file's header, or beyond the end.
    for following in (8, 1, 2**31, 2**32 - 1):
        yield f"following-{following}.tif", Case(make_tiff(raw, tags, following=following))


# --- Bombs -------------------------------------------------------------------------------------


def bombs() -> Iterator[tuple[str, Case]]:
    """Small files that would fill the memory, or take for ever."""
    few = zlib.compress(bytes(100))
    for height, width in [(60_000, 60_000), (20_000, 15_000), (1, MAX_PIXELS + 1)]:
        yield f"{height}x{width}.png", Case(make_png((height, width), bytes(1)), False)
        tags = strip_tags((height, width), few, packing=8)
        yield f"{height}x{width}.tif", Case(make_tiff(few, tags), False)
    # Not too large to be accepted, but not there: nothing is to be set up for them in vain.
    for depth, colour in [(1, 0), (8, 0), (16, 0), (8, 6)]:
        data = make_png((14_000, 13_600), bytes(1), depth=depth, colour=colour)
        yield f"absent-{depth}-{colour}.png", Case(data, False)
    tags = strip_tags((14_000, 13_600), few, packing=8)
    yield "absent.tif", Case(make_tiff(few, tags), False)
    # Texts and profiles that unpack to a hundred times what Pillow allows, 1 MiB each.
    packed = zlib.compress(bytes(100 * MIB))
    whole = EXACT["gray.png"][0]
    for name, start in {
        "zTXt": b"a\0\0",
        "iTXt": b"a\0\1\0\0\0",
        "iCCP": b"a\0\0",
    }.items():
        large = chunk(name.encode(), start + packed)
        yield f"before-{name}.png", Case(whole[:33] + large + whole[33:], None, (GRAY,))
        yield f"after-{name}.png", Case(whole[:-12] + large + whole[-12:], None, (GRAY,))
    allowed = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(MIB - 1)))
    yield "many-zTXt.png", Case(whole[:33] + allowed * 100 + whole[33:], None, (GRAY,))
    # 64 MiB of rows for an image of 48 of them.
    rows = png_rows(GRAY)
    yield "long-data.png", Case(make_png(GRAY.shape, rows + bytes(64 * MIB)), None, (GRAY,))
    strip = zlib.compress(GRAY.tobytes() + bytes(64 * MIB))
    tags = strip_tags(GRAY.shape, strip, packing=8)
    yield "long-strip.tif", Case(make_tiff(strip, tags), None, (GRAY,))
    # 16×16 pixels, in tiles of a billion.
    for side in (32_768, 46_000, 2**20, 2**31 - 16):
        tiled: list[Tag] = [
            (WIDTH, 4, [16]),
            (HEIGHT, 4, [16]),
            (BITS, 3, [8]),
            (COMPRESSION, 3, [8]),
            (PHOTOMETRIC, 3, [1]),
            (SAMPLES, 3, [1]),
            (TILE_WIDTH, 4, [side]),
            (TILE_HEIGHT, 4, [side]),
            (TILE_OFFSETS, 4, [0]),
            (TILE_COUNTS, 4, [len(few)]),
        ]
        yield f"tile-{side}.tif", Case(make_tiff(few, tiled), False)
    yield "pages.tif", Case(many_pages(3000), False)
    gif = bytearray(encode(Image.fromarray(GRAY), "GIF"))
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    yield "gif.png", Case(bytes(gif), False)


def many_pages(count: int) -> bytes:
    """A TIFF of many directories, each of the same pixels."""
    tags = strip_tags((2, 3), bytes(6))
    size = 2 + 12 * len(tags) + 4
    parts = [
        make_tiff(b"", tags, following=8 + size * (page + 1) if page + 1 < count else 0)[8:]
        for page in range(count)
    ]
    return b"II*\0\x08\0\0\0" + b"".join(parts)


# --- Rare sizes and kinds ----------------------------------------------------------------------


def sizes() -> Iterator[tuple[str, Case]]:
    for shape in [(1, 60_000), (60_000, 1), (1, 1), (1, 2), (2, 1), (3, 3), (1, 7), (300, 2)]:
        image = np.random.default_rng(shape).integers(1, 256, shape, np.uint8)
        for kind in ("PNG", "BMP", "TIFF"):
            data = encode(Image.fromarray(image), kind)
            yield f"{shape[0]}x{shape[1]}.{kind.lower()}", Case(data, True, (image,))
        flat = np.full(shape, 90, np.uint8)
        data = encode(Image.fromarray(flat), "JPEG", quality=95)
        yield f"{shape[0]}x{shape[1]}.jpg", Case(data, True, (flat,), apart=2)


def kinds() -> Iterator[tuple[str, Case]]:
    """Every kind of pixel, with the answer that `decode_image` promises where it is known."""
    black_white = (GRAY > 110).astype(np.uint8) * 255
    bits = Image.fromarray(GRAY > 110)
    for kind in ("PNG", "BMP", "TIFF"):
        yield f"1-bit.{kind.lower()}", Case(encode(bits, kind), True, (black_white,))
    for packing in ("group3", "group4", "packbits"):
        data = encode(bits, "TIFF", compression=packing)
        yield f"1-bit-{packing}.tif", Case(data, True, (black_white,))
    # Four pixels of 2 bits in a byte: 00 01 10 11; and two of 4 bits: 0001 1111.
    yield (
        "2-bit.png",
        Case(
            make_png((1, 4), b"\0\x1b", depth=2), True, (np.array([[0, 85, 170, 255]], np.uint8),)
        ),
    )
    yield (
        "4-bit.png",
        Case(make_png((1, 2), b"\0\x1f", depth=4), True, (np.array([[17, 255]], np.uint8),)),
    )
    alpha = 255 - GRAY
    gray_alpha = encode(Image.fromarray(np.dstack([GRAY, alpha])))
    yield "gray-alpha.png", Case(gray_alpha, True, (GRAY,))
    rgba = Image.fromarray(np.dstack([RGB, alpha]))
    for kind in ("PNG", "TIFF", "BMP"):
        yield f"rgba.{kind.lower()}", Case(encode(rgba, kind), True, (RGB,))
    transparent = encode(palette(), transparency=bytes(range(256)))
    yield "palette-transparent.png", Case(transparent, True, (GRAY_AS_RGB,))
    yield "palette.tif", Case(encode(palette(), "TIFF"), True, (GRAY_AS_RGB,))
    # CMYK 0 is white; black ink alone makes gray.
    ink = [Image.new("L", (40, 48))] * 3 + [Image.fromarray(255 - GRAY)]
    cmyk = Image.merge("CMYK", ink)
    yield "cmyk.tif", Case(encode(cmyk, "TIFF"), True, (GRAY_AS_RGB,))
    data = encode(cmyk, "JPEG", quality=95)
    yield "cmyk.jpg", Case(data, True, (GRAY_AS_RGB,), apart=LOSS_GRAY)
    # Of Y, Cb and Cr, 128 is no colour.
    ycc = Image.merge("YCbCr", [Image.fromarray(GRAY)] + [Image.new("L", (40, 48), 128)] * 2)
    yield "ycbcr.tif", Case(encode(ycc, "TIFF"), True, (GRAY_AS_RGB,), apart=1)
    white = Image.new("LAB", (40, 48), (255, 128, 128))
    full = np.full((48, 40, 3), 255, np.uint8)
    yield "lab.tif", Case(encode(white, "TIFF"), True, (full,), apart=2)
    yield from deep_kinds()
    yield from several_pictures()


def deep_kinds() -> Iterator[tuple[str, Case]]:
    """More than 8 bits a pixel, and pixels of which 0 is white."""
    rows = png_rows(np.dstack([LEVELS_16] * 3))
    data = make_png(GRAY.shape, rows, depth=16, colour=2)
    yield "16-rgb.png", Case(data, True, (GRAY_AS_RGB,))
    rows = png_rows(np.dstack([LEVELS_16, LEVELS_16]))
    data = make_png(GRAY.shape, rows, depth=16, colour=4)
    yield "16-gray-alpha.png", Case(data, True, (GRAY, GRAY_AS_RGB))
    for order, name in (("<", "little"), (">", "big")):
        raw = LEVELS_16.astype(f"{order}u2").tobytes()
        tags = strip_tags(GRAY.shape, raw, bits=16)
        yield f"16-{name}.tif", Case(make_tiff(raw, tags, order), True, (GRAY,))
        tags = strip_tags(GRAY.shape, raw, bits=16, white=0)
        inverted = Case(make_tiff(raw, tags, order), None, (255 - GRAY,))
        yield f"16-{name}-0-is-white.tif", inverted
    raw = GRAY.tobytes()
    tags = strip_tags(GRAY.shape, raw, white=0)
    yield "8-0-is-white.tif", Case(make_tiff(raw, tags), True, (255 - GRAY,))
    # Two pixels of 12 bits in three bytes. Read as 16 bits they would be black: 4095 / 257 is 16.
    high = GRAY.astype(np.uint16) * 4095 // 255
    pairs = high.reshape(-1, 2)
    raw = np.stack(
        [pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], axis=1
    )
    packed = raw.astype(np.uint8).tobytes()
    tags = strip_tags(GRAY.shape, packed, bits=12)
    yield "12-bit.tif", Case(make_tiff(packed, tags), None, (GRAY,), apart=1)
    for name, pixels in {
        "float": GRAY.astype(np.float32),
        "int": GRAY.astype(np.int32) * 1000,
    }.items():
        yield f"32-{name}.tif", Case(encode(Image.fromarray(pixels), "TIFF"), False)
    for name, dtype, sample_format in [("64-float", "<f8", 3), ("16-signed", "<i2", 2)]:
        raw = GRAY.astype(dtype).tobytes()
        tags = strip_tags(GRAY.shape, raw, bits=8 * np.dtype(dtype).itemsize)
        data = make_tiff(raw, [*tags, (FORMAT, 3, [sample_format])])
        yield f"{name}.tif", Case(data, False)


def several_pictures() -> Iterator[tuple[str, Case]]:
    first, second = Image.fromarray(GRAY), Image.fromarray(255 - GRAY)
    for count in (1, 2, 7):
        more = [second] * count
        data = encode(first, "TIFF", save_all=True, append_images=more)
        yield f"{count + 1}-pages.tif", Case(data, False)
    for shown in (True, False):
        data = encode(first, save_all=True, append_images=[second], default_image=shown)
        yield f"animated-{shown}.png", Case(data, None, (GRAY,))
    # A photograph with another behind it, as some cameras write them: the first counts.
    data = encode(first, "MPO", save_all=True, append_images=[second], quality=95)
    yield "two.jpg", Case(data, True, (GRAY,), apart=LOSS_GRAY)
    broken = data.replace(b"MPF\0", b"MPF\0\xff\xff", 1)
    yield "two-broken.jpg", Case(broken, None, (GRAY,), apart=LOSS_GRAY)


# --- What stands beside the pixels -------------------------------------------------------------

# What is done to the stored picture so that the scene stands upright, by the EXIF standard: 2 is
# mirrored left to right, 3 upside down, 4 mirrored top to bottom, 5 mirrored about the diagonal;
# of 6 the top of the scene is at the stored picture's right; 7 and 8 likewise.
TURNS: dict[int, Callable[[Array], Array]] = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: np.rot90(image),
}
ORIENTATION = 0x0112


def orientations() -> Iterator[tuple[str, Case]]:
    jpeg = DECODED["rgb.jpg"][1]
    for number in range(11):
        exif = Image.Exif()
        exif[ORIENTATION] = number
        turn = TURNS.get(number, TURNS[1])  # there is no 0, 9 and 10
        data = encode(Image.fromarray(RGB), "JPEG", quality=95, subsampling=0, exif=exif)
        yield f"{number}.jpg", Case(data, True, (turn(jpeg),))
        data = encode(Image.fromarray(RGB), exif=exif)
        yield f"{number}.png", Case(data, True, (turn(RGB),))
        data = encode(Image.fromarray(GRAY), "TIFF", exif=exif)
        yield f"{number}.tif", Case(data, True, (turn(GRAY),))


def metadata() -> Iterator[tuple[str, Case]]:
    """Damaged EXIF data, colour profiles and texts: the picture is the same, or it is refused."""
    rng = np.random.default_rng(RNG_SEED)
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x010E], exif[0x011A] = 6, "of a camera", 72.0
    exif.get_ifd(0x8769)[0x9003] = "2024:01:31 10:20:30"
    sound = exif.tobytes()
    damaged = {f"cut-{length}": sound[:length] for length in (6, 8, 10, 14, 20, 40)}
    for number in range(24):
        changed = bytearray(sound)
        for place in rng.integers(6, len(sound), 1 + number % 3):
            changed[place] = rng.integers(256)
        damaged[f"changed-{number}"] = bytes(changed)
    damaged["twice"] = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x02\0\6\0\6\0\0\0\0"
    damaged["text"] = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x02\x36\0\0\0\0\0\0\0"
    damaged["noise"] = b"Exif\0\0" + rng.bytes(300)
    # Which way is up may be lost with it.
    turned = tuple(turn(GRAY) for turn in TURNS.values())
    jpeg = tuple(turn(DECODED["gray.jpg"][1]) for turn in TURNS.values())
    for name, block in damaged.items():
        data = encode(Image.fromarray(GRAY), "JPEG", quality=95, exif=block)
        yield f"exif-{name}.jpg", Case(data, None, jpeg)
        whole = EXACT["gray.png"][0]
        data = whole[:33] + chunk(b"eXIf", block[6:]) + whole[33:]
        yield f"exif-{name}.png", Case(data, None, turned)
    for name, profile in {"noise": rng.bytes(3000), "short": b"\0"}.items():
        for kind in ("PNG", "JPEG", "TIFF"):
            data = encode(Image.fromarray(GRAY), kind, icc_profile=profile)
            known = () if kind == "JPEG" else (GRAY,)
            yield f"icc-{name}.{kind.lower()}", Case(data, True, known)
    texts = {
        "iCCP": b"a\0\0not packed",
        "iCCP-method": b"a\0\x07",
        "iCCP-nothing": b"",
        "zTXt": b"a\0\0not packed",
        "tEXt": b"",
        "iTXt": b"a\0\xff\xff",
        "iTXt-xmp": b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="12345"/>',
        "iTXt-xmp-broken": b"XML:com.adobe.xmp\0\0\0\0\0\xff\xfe<<<<",
        "zTXt-exif": b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 9\nzz"),
        "tRNS": b"",
        "pHYs": b"\0",
        "gAMA": b"",
        "acTL": struct.pack(">II", 0, 0),
        "acTL-many": struct.pack(">II", 2**31 - 1, 0),
        "fcTL": bytes(26),
        "fdAT": bytes(3),
        "cHRM": b"\0",
        "sRGB": b"",
    }
    whole = EXACT["gray.png"][0]
    for name, text in texts.items():
        data = whole[:33] + chunk(name[:4].encode(), text) + whole[33:]
        yield f"chunk-{name}.png", Case(data, None, turned)


FAMILIES: dict[str, Callable[[], Iterator[tuple[str, Case]]]] = {
    "whole": whole_files,
    "cut": cut_files,
    "flipped": flipped_files,
    "swapped": swapped_files,
    "extended": extended_files,
    "other": other_files,
    "png headers": png_headers,
    "other headers": other_headers,
    "bombs": bombs,
    "sizes": sizes,
    "kinds": kinds,
    "orientations": orientations,
    "metadata": metadata,
}


# --- The process that reads them all -----------------------------------------------------------


class Luma:
    """Takes bright pixels for defects."""

    name, precision = "luma", "float32"

    def probability(self, image: Array) -> npt.NDArray[np.float32]:
        return to_gray(image).astype(np.float32) / np.float32(255)

    def probabilities(self, images: Sequence[Array]) -> list[npt.NDArray[np.float32]]:
        return [self.probability(image) for image in images]


def read_all(source: Path, output: Path) -> None:
    """Read and inspect every file of a folder, and print a line of JSON for each.

    To be run in a process of its own.
    """
    warned: list[str] = []

    def keep(message: object, *_: object, **__: object) -> None:
        warned.append(str(message))

    warnings.showwarning = keep
    if sys.platform == "linux":  # elsewhere a process cannot limit itself so
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])  # each thread reserves some
    files, ignored = find_images(source)
    assert not ignored, ignored
    for number, file in enumerate(files):
        started, line = time.process_time(), {"image": file.relative, "number": number}
        data = file.path.read_bytes()
        try:
            image = decode_image(data)
            np.save(output / f"{number}.npy", image)
            read_size(data)
            read_time_taken(data)
        except ImageReadError as error:
            line["refused"] = str(error)
        except BaseException as error:
            line["raised"] = repr(error)
        line["seconds"] = time.process_time() - started
        line["peak"] = peak_memory()
        line["warned"], warned[:] = list(warned), []
        print(json.dumps(line), flush=True)

    def save(name: str, image: Array, inspection: Inspection) -> None:
        assert inspection.mask.shape == image.shape[:2]
        stem = output / "pictures" / hashlib.sha256(name.encode()).hexdigest()
        write_mask(stem.with_suffix(".png"), inspection.mask)
        write_picture(stem.with_suffix(".jpg"), draw_overlay(image, inspection.mask))

    predictor = Predictor(Luma(), CALIBRATION)
    for inspected in inspect_files(((file, "P") for file in files), predictor, save):
        print(json.dumps({"row": inspected.row, "peak": peak_memory()}), flush=True)


def peak_memory() -> int:
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts in ru_maxrss what the parent held when it forked
        (line,) = [own for own in status.read_text().splitlines() if own.startswith("VmHWM")]
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@dataclass(frozen=True, repr=False)
class Reading:
    """What the process said of each file."""

    cases: Cases
    lines: dict[str, dict[str, Any]]
    rows: list[dict[str, Any]]
    peaks: list[tuple[str, int]]
    output: Path

    def image(self, name: str) -> npt.NDArray[Any]:
        return np.load(self.output / f"{self.lines[name]['number']}.npy")


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Reading:
    source, output = tmp_path_factory.mktemp("hostile"), tmp_path_factory.mktemp("read")
    cases: Cases = {}
    for family, make in FAMILIES.items():
        (source / family).mkdir()
        for name, case in make():
            path = f"{family}/{name}"
            assert path not in cases, f"two files named {path}"
            cases[path] = case
            (source / path).write_bytes(case.data)
    program = "import sys, pathlib; from tests.test_hostile_images import read_all; "
    program += "read_all(*map(pathlib.Path, sys.argv[1:]))"
    run = subprocess.run(
        [sys.executable, "-W", "always", "-c", program, str(source), str(output)],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "4"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    read = {line["image"]: line for line in lines if "image" in line}
    rows = [line["row"] for line in lines if "row" in line]
    order = sorted(cases)
    killer = order[len(read)] if len(read) < len(order) else "a file that was inspected"
    assert run.returncode == 0, f"{killer} ended it: {run.returncode}\n{run.stderr[-2000:]}"
    peaks = [(line.get("image") or line["row"]["image"], line["peak"]) for line in lines]
    return Reading(cases, read, rows, peaks, output)


def test_there_are_more_than_300_files_no_two_of_them_alike(reading: Reading) -> None:
    # Seeded, so that the number is always the same; a few mutations may meet by chance.
    assert len({case.data for case in reading.cases.values()}) > 300
    assert reading.lines.keys() == reading.cases.keys()


def test_no_file_raises_anything_but_an_image_read_error(reading: Reading) -> None:
    raised = {name: line["raised"] for name, line in reading.lines.items() if "raised" in line}
    assert not raised


def test_every_refusal_has_its_reason(reading: Reading) -> None:
    refused = {name: line["refused"] for name, line in reading.lines.items() if "refused" in line}
    assert refused  # else nothing was tested
    assert not {name: why for name, why in refused.items() if len(why) < 20 or "BytesIO" in why}


def test_what_is_read_has_one_of_the_two_forms(reading: Reading) -> None:
    wrong = {}
    for name, line in reading.lines.items():
        if "refused" in line or "raised" in line:
            continue
        image = reading.image(name)
        form = image.dtype == np.uint8 and (image.ndim == 2 or image.shape[2:] == (3,))
        if not form or not 0 < image.shape[0] * image.shape[1] <= MAX_PIXELS:
            wrong[name] = (image.shape, image.dtype)
    assert not wrong


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_is_read_rightly_or_refused(reading: Reading, family: str) -> None:
    own = {name: case for name, case in reading.cases.items() if name.startswith(f"{family}/")}
    assert own
    problems = {name: judge(case, reading, name) for name, case in own.items()}
    assert not {name: problem for name, problem in problems.items() if problem}


def judge(case: Case, reading: Reading, name: str) -> str:
    """Say what is wrong with what came of a file; nothing, if all is right."""
    line = reading.lines[name]
    if why := line.get("refused"):
        return f"refused: {why}" if case.readable else ""
    if "raised" in line:
        return str(line["raised"])
    image = reading.image(name)
    if case.readable is False:
        return f"read as {image.shape}, though it is no sound image"
    for expected in case.pixels:
        if image.shape == expected.shape:
            difference = np.abs(image.astype(int) - expected.astype(int))
            if difference.max() <= case.apart:
                return ""
    if not case.pixels:
        return ""
    expected = case.pixels[0]
    if image.shape != expected.shape:
        return f"read as {image.shape}, expected {expected.shape}"
    difference = np.abs(image.astype(int) - expected.astype(int))
    share = np.mean(difference > case.apart)
    return f"read wrongly: {share:.0%} of the pixels differ, by up to {difference.max()} levels"


def test_no_file_makes_a_decoder_warn(reading: Reading) -> None:
    warned = {name: line["warned"][0] for name, line in reading.lines.items() if line["warned"]}
    assert not warned


def test_no_file_takes_long(reading: Reading) -> None:
    slow = {name: line["seconds"] for name, line in reading.lines.items()}
    assert not {name: seconds for name, seconds in slow.items() if seconds > MOST_SECONDS}


def test_no_file_takes_more_memory_than_the_largest_image(reading: Reading) -> None:
    # The peak never falls: only what raised it counts.
    before = itertools.chain([0], (peak for _, peak in reading.peaks))
    rises = zip(reading.peaks, before, strict=False)
    assert not {
        name: f"{peak // MIB} MiB"
        for (name, peak), last in rises
        if peak > MOST_MEMORY and peak > last
    }


def test_every_file_has_one_row_in_sorted_order(reading: Reading) -> None:
    assert [row["image"] for row in reading.rows] == sorted(reading.cases)


def test_exactly_the_refused_files_are_errors_with_their_reason(reading: Reading) -> None:
    for row in reading.rows:
        line = reading.lines[row["image"]]
        assert row["sha256"] == hashlib.sha256(reading.cases[row["image"]].data).hexdigest()
        if "refused" in line:
            assert row["outcome"] == "ERROR", row
            assert row["error"] == " ".join(line["refused"].split())
        else:
            assert row["outcome"] in {"PASS", "FAIL", "REVIEW", "RETAKE"}, row
            assert (row["height"], row["width"]) == reading.image(row["image"]).shape[:2]
            assert row["error"] == ""


def test_an_image_too_small_to_be_measured_is_never_passed(reading: Reading) -> None:
    outcomes = {row["image"]: row["outcome"] for row in reading.rows}
    single = [name for name in outcomes if name.startswith("sizes/1x1.")]
    assert len(single) == 4
    assert {outcomes[name] for name in single} == {"RETAKE"}
