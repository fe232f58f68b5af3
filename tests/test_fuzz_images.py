"""The image reader on bytes that nobody chose: an image, or an `ImageReadError`."""

import io
import struct
import zlib
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from defectseg.errors import ImageReadError
from defectseg.image_io import (
    MAX_PIXELS,
    decode_image,
    encode_picture,
    read_mask,
    read_size,
    read_time_taken,
    write_mask,
)

Array = npt.NDArray[np.uint8]

# The same examples each time, however slow the machine.
steady = settings(
    deadline=None,
    derandomize=True,
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow],
)


def encode(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def decode(data: bytes) -> Array | None:
    """Read an image; None if it is refused. Whatever else happens fails the test."""
    try:
        image = decode_image(data)
    except ImageReadError:
        return None
    assert image.dtype == np.uint8
    assert image.ndim == 2 or image.shape[2:] == (3,)
    assert 0 < image.shape[0] * image.shape[1] <= MAX_PIXELS
    return image


GRAY = (np.add.outer(np.arange(24) * 5, np.arange(20) * 4) + 30).astype(np.uint8)
RGB = np.dstack([GRAY, GRAY[::-1], GRAY[:, ::-1]])
EXIF = Image.Exif()
EXIF[0x0112] = 6
EXIF.get_ifd(0x8769)[0x9003] = "2024:01:31 10:20:30"
PNG = encode(Image.fromarray(RGB))
JPEG = encode(Image.fromarray(RGB), "JPEG", exif=EXIF)
FILES = {
    "png": PNG,
    "16-bit png": encode(Image.fromarray(GRAY.astype(np.uint16) * 257)),
    "palette png": encode(Image.fromarray(RGB).quantize(16)),
    "animated png": encode(
        Image.fromarray(GRAY), save_all=True, append_images=[Image.fromarray(255 - GRAY)]
    ),
    "jpeg": JPEG,
    "progressive jpeg": encode(Image.fromarray(RGB), "JPEG", progressive=True),
    "cmyk jpeg": encode(Image.fromarray(RGB).convert("CMYK"), "JPEG"),
    "bmp": encode(Image.fromarray(RGB), "BMP"),
    "1-bit bmp": encode(Image.fromarray(GRAY > 99), "BMP"),
    "tiff": encode(Image.fromarray(RGB), "TIFF"),
    "16-bit tiff": encode(Image.fromarray(GRAY.astype(np.uint16) * 257), "TIFF"),
    "lzw tiff": encode(Image.fromarray(RGB), "TIFF", compression="tiff_lzw"),
    "deflate tiff": encode(Image.fromarray(RGB), "TIFF", compression="tiff_adobe_deflate"),
    "fax tiff": encode(Image.fromarray(GRAY > 99), "TIFF", compression="group4"),
}
STARTS = (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good file with up to four places changed, taken out, doubled or filled in."""
    data = draw(st.sampled_from(list(FILES.values())))
    for _ in range(draw(st.integers(1, 4))):
        # Half of them among the first bytes, where the header is.
        end = draw(st.sampled_from([min(200, len(data)), len(data)]))
        start = draw(st.integers(0, end))
        stop = draw(st.integers(start, min(start + 12, len(data))))
        new = draw(
            st.one_of(
                st.just(b""),
                st.binary(max_size=12),
                st.just(data[start:stop] * 2),
                # Sizes, counts and offsets of every kind.
                st.sampled_from([0, 1, 255, 65535, 2**31 - 1, 2**31, 2**32 - 1]).map(
                    lambda number: struct.pack("<I", number)
                ),
                st.sampled_from([0, 1, 65535, 2**31 - 1]).map(lambda n: struct.pack(">I", n)),
            )
        )
        data = data[:start] + new + data[stop:]
    return data


@given(st.sampled_from(STARTS), st.binary(max_size=300))
@example(b"", b"")
@steady
def test_any_bytes_are_an_image_or_refused(start: bytes, rest: bytes) -> None:
    decode(start + rest)
    assert all(side >= 0 for side in read_size(start + rest))


@given(damaged())
@settings(steady, max_examples=800)
def test_any_damaged_file_is_an_image_or_refused(data: bytes) -> None:
    image = decode(data)
    if image is not None:
        # The header is all that `read_size` sees, and it does not turn the image.
        assert sorted(image.shape[:2]) == sorted(read_size(data))


@given(st.sampled_from(list(FILES.values())), st.data())
@steady
def test_a_cut_file_is_refused_or_nothing_is_missing_in_it(
    whole: bytes, data: st.DataObject
) -> None:
    image = decode(whole[: data.draw(st.integers(0, len(whole) - 1))])
    if image is not None:  # what was lost comes after the pixels
        np.testing.assert_array_equal(image, decode_image(whole))


@given(st.integers(0, len(PNG) - 4), st.binary(min_size=1, max_size=4))
@steady
def test_wrong_bytes_in_a_png_are_refused_or_of_no_account(place: int, new: bytes) -> None:
    # All that counts is under a checksum: CRC-32 sees any wrong run of up to 32 bits.
    image = decode(PNG[:place] + new + PNG[place + len(new) :])
    if image is not None:
        np.testing.assert_array_equal(image, RGB)


images = hnp.arrays(
    np.uint8,
    st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([(), (3,)])).map(
        lambda shape: (shape[0], shape[1], *shape[2])
    ),
)


@given(images, st.sampled_from(["PNG", "BMP", "TIFF", "tiff_lzw", "tiff_adobe_deflate"]))
@steady
def test_any_image_comes_back_from_a_lossless_file(image: Array, kind: str) -> None:
    options = {"compression": kind} if kind.startswith("tiff") else {}
    data = encode(Image.fromarray(image), kind.partition("_")[0].upper(), **options)
    np.testing.assert_array_equal(decode_image(data), image)
    assert read_size(data) == image.shape[:2]


@given(images)
@steady
def test_any_picture_that_we_write_is_read_back(image: Array) -> None:
    np.testing.assert_array_equal(decode_image(encode_picture(image, ".png")), image)
    assert decode_image(encode_picture(image, ".jpg")).shape == image.shape


@given(
    hnp.arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    st.sampled_from(["PNG", "TIFF"]),
)
@steady
def test_16_bits_are_divided_by_257_and_rounded(levels: npt.NDArray[np.uint16], kind: str) -> None:
    image = decode_image(encode(Image.fromarray(levels), kind))
    np.testing.assert_array_equal(image, np.round(levels / 257))  # never halfway: 257 is odd


# Numbers that fit a PNG's header, sound ones oftener than not.
small = st.integers(0, 40)
header = st.tuples(
    st.one_of(small, st.integers(0, 2**32 - 1)),
    st.one_of(small, st.integers(0, 2**32 - 1)),
    st.one_of(st.sampled_from([1, 2, 4, 8, 16]), st.integers(0, 255)),
    st.one_of(st.sampled_from([0, 2, 3, 4, 6]), st.integers(0, 255)),
    st.sampled_from([0, 0, 0, 1, 255]),
    st.sampled_from([0, 0, 0, 1, 255]),
    st.sampled_from([0, 0, 0, 1, 2, 255]),
)


@given(header, st.binary(max_size=200), st.integers(1, 20))
@example((20, 24, 8, 0, 0, 0, 0), bytes(21), 10)  # 10 of 24 rows
@settings(steady, max_examples=400)
def test_a_png_of_any_header_has_the_size_that_it_says(
    fields: tuple[int, ...], rows: bytes, times: int
) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + crc

    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", *fields)),
        (b"PLTE", bytes(range(48))),
        (b"IDAT", zlib.compress(rows * times)),
        (b"IEND", b""),
    )
    kept = [part for part in parts if part[0] != b"PLTE" or fields[3] == 3]
    image = decode(STARTS[1] + b"".join(chunk(*part) for part in kept))
    if image is not None:
        width, height, depth, colour = fields[:4]
        assert image.shape[:2] == (height, width)
        # A row has at least a bit a pixel, after a byte that says how it is filtered.
        channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
        least = height * ((width * depth * channels + 7) // 8)
        assert len(rows) * times >= least, "rows were made up"


@given(st.binary(max_size=200))
@example(b"")
@steady
def test_any_exif_data_leaves_the_picture_or_refuses_it(block: bytes) -> None:
    data = encode(Image.fromarray(GRAY), "JPEG", exif=b"Exif\0\0" + block)
    image = decode(data)
    assert image is None or sorted(image.shape) == [20, 24]
    taken = read_time_taken(data)
    assert taken is None or isinstance(taken, datetime)


@given(damaged())
@steady
def test_the_time_of_a_damaged_file_is_a_time_or_none(data: bytes) -> None:
    taken = read_time_taken(data)
    assert taken is None or isinstance(taken, datetime)


@pytest.fixture(scope="module")
def mask_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("masks") / "mask.png"


@given(data=damaged())
@steady
def test_a_damaged_mask_is_of_0_and_1_or_refused(mask_path: Path, data: bytes) -> None:
    mask_path.write_bytes(data)
    try:
        mask = read_mask(mask_path)
    except ImageReadError:
        return
    assert (mask.ndim, mask.dtype) == (2, np.uint8)
    assert set(np.unique(mask)) <= {0, 1}


@given(
    mask=hnp.arrays(
        np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 30)), elements=st.integers(0, 1)
    )
)
@steady
def test_any_mask_comes_back_from_its_file(mask_path: Path, mask: Array) -> None:
    write_mask(mask_path, mask)
    np.testing.assert_array_equal(read_mask(mask_path), mask)
