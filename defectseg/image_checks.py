"""Damage that Pillow reads over without a word: what it leaves black, or inflates without end."""

import io
import struct
import zlib

from PIL import Image

from defectseg.errors import ImageReadError

_TILE_WIDTH, _TILE_LENGTH, _BITS_PER_SAMPLE = 322, 323, 258
_LARGEST_TILE_PX = 1 << 24
# First row and column, and their steps, in each pass of an interlaced PNG.
_ADAM7 = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the colour type of a PNG


def check_tiff(picture: Image.Image) -> None:
    """Refuse a TIFF that Pillow would read wrongly, or fill the memory with; before it is loaded.

    Raises
    ------
    ImageReadError
        If a tile is far larger than the image, gray levels have neither 8 nor 16 bits, or there
        are no strips for all rows.
    """
    tags, (width, height) = picture.tag_v2, picture.size  # type: ignore[attr-defined]
    tile_px = tags.get(_TILE_WIDTH, 0) * tags.get(_TILE_LENGTH, 0)
    if tile_px > max(width * height, _LARGEST_TILE_PX):
        raise ImageReadError(f"a tile of {tile_px:,} pixels, though the image has {width}×{height}")
    bits = tags.get(_BITS_PER_SAMPLE, ())
    if picture.mode.startswith("I;16") and set(bits) != {16}:
        raise ImageReadError(f"pixels have {'/'.join(map(str, bits))} bits; expected 8 or 16")
    strips = picture.tile  # type: ignore[attr-defined]
    if not strips or max(strip[1][3] for strip in strips) < height:
        raise ImageReadError(f"there are no strips for all of its {height} rows")


def check_png(data: bytes, picture: Image.Image) -> None:
    """Refuse a PNG whose checksums or rows are wrong; after it was loaded.

    Raises
    ------
    ImageReadError
        If there are fewer rows than its header says.
    Exception
        Of Pillow, if a checksum differs.
    """
    with Image.open(io.BytesIO(data), formats=("PNG",)) as again:
        again.verify()
    # Missing rows are black; to count them takes as long as to decode them.
    width, height = picture.size
    last = picture.crop((0, height - 1, width, height))
    suspect = picture.info.get("interlace") or picture.mode == "P" or last.getbbox() is None
    if suspect and not _has_all_rows(data):
        raise ImageReadError(f"there are fewer than {height} rows in it")


def _has_all_rows(data: bytes) -> bool:
    """Tell whether a PNG holds as many bytes as its header promises."""
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", data[16:29])
    bits = depth * _CHANNELS[colour]
    passes = _ADAM7 if interlace else ((0, 0, 1, 1),)
    sizes = [(-(-(height - y) // dy), -(-(width - x) // dx)) for y, x, dy, dx in passes]
    left = sum(h * (1 + -(-w * bits // 8)) for h, w in sizes if h > 0 and w > 0)
    unpack, place = zlib.decompressobj(), 8
    while left > 0 and place + 8 <= len(data):
        length, name = struct.unpack(">I4s", data[place : place + 8])
        if name == b"IDAT":
            rest = data[place + 8 : place + 8 + length]
            while left > 0 and rest:
                left -= len(unpack.decompress(rest, 1 << 20))
                rest = unpack.unconsumed_tail
        place += 12 + length
    return bool(left <= 0)
