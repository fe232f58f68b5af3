import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from defectseg import image_io
from defectseg.errors import DataError, ImageReadError
from defectseg.image_io import (
    decode_image,
    find_images,
    read_image,
    read_mask,
    read_time_taken,
    require_images,
    write_mask,
)

# Two rows, three columns: a picture whose turning or flipping shows.
GRAY = np.array([[0, 100, 200], [50, 150, 255]], np.uint8)
RGB = np.stack([GRAY, GRAY[::-1], GRAY[:, ::-1]], axis=2)


def encode(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG made by hand, for the kinds that Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def gray_palette() -> Image.Image:
    picture = Image.fromarray(GRAY, "L").convert("P")
    picture.putpalette([level for value in range(256) for level in (value, value, value)])
    return picture


LEVELS_16 = np.array([[0, 257, 65535], [128, 129, 65406]], np.uint16)
# Divided by 257 and rounded: 128/257 = 0.498, 129/257 = 0.502, 65406/257 = 254.498.
LEVELS_16_AS_8 = np.array([[0, 1, 255], [0, 1, 254]], np.uint8)

WITH_ALPHA = Image.fromarray(np.dstack([RGB, np.full_like(GRAY, 7)]))
# CMYK 0 is white; the black channel K alone makes gray.
CMYK = Image.merge("CMYK", [Image.new("L", (3, 2))] * 3 + [Image.fromarray(255 - GRAY)])
GRAY_WITH_ALPHA = Image.fromarray(np.dstack([GRAY, GRAY]))
BLACK_AND_WHITE = Image.fromarray(GRAY >= 128)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(encode(Image.fromarray(GRAY)), GRAY, id="gray"),
        pytest.param(encode(Image.fromarray(GRAY), "BMP"), GRAY, id="gray BMP"),
        pytest.param(encode(Image.fromarray(GRAY), "TIFF"), GRAY, id="gray TIFF"),
        pytest.param(
            encode(Image.fromarray(GRAY), "TIFF", compression="tiff_lzw"), GRAY, id="LZW TIFF"
        ),
        pytest.param(encode(Image.fromarray(RGB)), RGB, id="RGB"),
        pytest.param(encode(Image.fromarray(RGB), "BMP"), RGB, id="RGB BMP"),
        pytest.param(encode(Image.fromarray(RGB), "TIFF"), RGB, id="RGB TIFF"),
        pytest.param(encode(WITH_ALPHA), RGB, id="alpha is dropped, not blended"),
        pytest.param(encode(GRAY_WITH_ALPHA), GRAY, id="gray with alpha"),
        pytest.param(encode(gray_palette()), np.dstack([GRAY] * 3), id="palette"),
        pytest.param(
            encode(gray_palette(), transparency=bytes(range(256))),
            np.dstack([GRAY] * 3),
            id="transparent palette",
        ),
        pytest.param(
            encode(BLACK_AND_WHITE), np.where(GRAY >= 128, 255, 0).astype(np.uint8), id="1-bit"
        ),
        pytest.param(encode(Image.fromarray(LEVELS_16)), LEVELS_16_AS_8, id="16-bit PNG"),
        pytest.param(encode(Image.fromarray(LEVELS_16), "TIFF"), LEVELS_16_AS_8, id="16-bit TIFF"),
        pytest.param(
            # One row of black and white pixels, after its filter byte.
            png(2, 1, 16, 2, bytes(1) + bytes(6) + b"\xff" * 6),
            np.array([[[0] * 3, [255] * 3]], np.uint8),
            id="16-bit RGB",
        ),
        pytest.param(encode(CMYK, "TIFF"), np.dstack([GRAY] * 3), id="CMYK"),
    ],
)
def test_each_kind_of_file_gives_its_pixels(data: bytes, expected: npt.NDArray[np.uint8]) -> None:
    image = decode_image(data)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected)


def test_jpeg_is_close_to_what_was_encoded() -> None:
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    image = decode_image(encode(Image.fromarray(flat), "JPEG", quality=95))
    np.testing.assert_allclose(image.astype(int), flat, atol=4)


def test_cmyk_jpeg_is_rgb() -> None:
    assert decode_image(encode(Image.new("CMYK", (8, 8)), "JPEG")).shape == (8, 8, 3)


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the scene is at the right of the stored picture
    image = decode_image(encode(Image.fromarray(GRAY), "PNG", exif=exif))
    np.testing.assert_array_equal(image, np.rot90(GRAY, -1))


def test_the_time_taken_is_that_of_the_exif_data() -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2024:01:31 10:20:30"  # DateTimeOriginal
    data = encode(Image.fromarray(GRAY), "JPEG", exif=exif)
    assert read_time_taken(data) == datetime(2024, 1, 31, 10, 20, 30)


def test_a_time_that_was_never_set_is_none() -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "0000:00:00 00:00:00"
    assert read_time_taken(encode(Image.fromarray(GRAY), "JPEG", exif=exif)) is None
    assert read_time_taken(encode(Image.fromarray(GRAY), "JPEG")) is None


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff\xe1\x00\x10Exif\x00\x00II*\x00"])
def test_what_holds_no_time_has_none(data: bytes) -> None:
    assert read_time_taken(data) is None


def test_content_counts_not_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "really_a_bmp.jpg"
    path.write_bytes(encode(Image.fromarray(GRAY), "BMP"))
    np.testing.assert_array_equal(read_image(path), GRAY)


NOISE = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
TWO_PAGES = encode(
    Image.fromarray(GRAY), "TIFF", save_all=True, append_images=[Image.fromarray(GRAY)]
)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "empty \\(0 bytes\\)", id="zero bytes"),
        pytest.param(b"not an image\n", "cannot identify image file", id="text"),
        pytest.param(encode(Image.fromarray(NOISE))[:2000], "cannot be decoded", id="cut PNG"),
        pytest.param(
            encode(Image.fromarray(NOISE), "JPEG")[:1000], "cannot be decoded", id="cut JPEG"
        ),
        pytest.param(
            encode(Image.fromarray(NOISE), "BMP")[:2000], "cannot be decoded", id="cut BMP"
        ),
        pytest.param(
            encode(Image.fromarray(NOISE), "TIFF")[:2000], "cannot be decoded", id="cut TIFF"
        ),
        pytest.param(TWO_PAGES, "2 pages; expected a single", id="two pages"),
        pytest.param(
            encode(Image.fromarray(GRAY.astype(np.float32)), "TIFF"), "32-bit", id="float"
        ),
        pytest.param(encode(Image.fromarray(GRAY.astype(np.int32)), "TIFF"), "32-bit", id="int32"),
        pytest.param(encode(Image.fromarray(GRAY), "GIF"), "PNG, JPEG, BMP or TIFF", id="GIF"),
        pytest.param(
            png(60_000, 60_000, 8, 0, bytes(1)),
            "60000×60000 pixels are more than the 200,000,000",
            id="decompression bomb",
        ),
        pytest.param(
            # Between the limit and twice the limit, where Pillow would only warn.
            png(20_000, 15_000, 8, 0, bytes(1)),
            "20000×15000 pixels are more",
            id="too many pixels",
        ),
    ],
)
def test_what_is_no_supported_image_is_refused_with_the_reason(data: bytes, message: str) -> None:
    with pytest.raises(ImageReadError, match=message) as caught:
        decode_image(data)
    assert "BytesIO" not in str(caught.value)


def test_missing_file_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match="cannot be opened: No such file"):
        read_image(tmp_path / "absent.png")


def test_mask_is_1_from_gray_128_on(tmp_path: Path) -> None:
    levels = np.array([[0, 1, 127], [128, 254, 255]], np.uint8)
    image_io.write_gray(tmp_path / "mask.png", levels)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), [[0, 0, 0], [1, 1, 1]])


def test_mask_is_0_or_255_on_disk_and_comes_back(tmp_path: Path) -> None:
    mask = np.array([[0, 1], [1, 0]], np.uint8)
    path = tmp_path / "new folder" / "mask.png"
    write_mask(path, mask)
    np.testing.assert_array_equal(read_image(path), [[0, 255], [255, 0]])
    np.testing.assert_array_equal(read_mask(path), mask)


@pytest.mark.parametrize(
    "wrong",
    [
        np.array([[0, 255]], np.uint8),
        np.array([[0, 1]], np.int64),
        np.zeros((2, 2, 1), np.uint8),
    ],
    ids=["0 and 255", "int64", "three axes"],
)
def test_what_is_no_mask_is_not_written(tmp_path: Path, wrong: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"Expected a mask of shape \(H, W\), uint8, 0 or 1"):
        write_mask(tmp_path / "mask.png", wrong)
    assert not any(tmp_path.iterdir())


def test_picture_keeps_the_order_of_colours(tmp_path: Path) -> None:
    image_io.write_picture(tmp_path / "picture.png", RGB)
    np.testing.assert_array_equal(read_image(tmp_path / "picture.png"), RGB)


def test_gray_and_colour_forms() -> None:
    # BT.601: 0.299 · 255 = 76.2, 0.587 · 255 = 149.7, 0.114 · 255 = 29.1.
    primaries = (np.eye(3, dtype=np.uint8) * 255)[None]
    np.testing.assert_array_equal(image_io.to_gray(primaries), [[76, 150, 29]])
    np.testing.assert_array_equal(image_io.to_gray(GRAY), GRAY)
    np.testing.assert_array_equal(image_io.to_rgb(GRAY), np.dstack([GRAY] * 3))
    assert image_io.to_channels(RGB, 1).shape == image_io.to_channels(GRAY, 1).shape == (2, 3, 1)
    assert image_io.to_channels(RGB, 3).shape == image_io.to_channels(GRAY, 3).shape == (2, 3, 3)


def test_padding_reflects_below_and_to_the_right() -> None:
    # Row 0 is 0 100 200; reflected about its last pixel it goes on 100 0.
    padded = image_io.pad_to_multiple(GRAY, 5)
    assert padded.shape == (5, 5)
    np.testing.assert_array_equal(padded[:2, :3], GRAY)
    np.testing.assert_array_equal(padded[0], [0, 100, 200, 100, 0])


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (33, 2, 3), (64, 64)])
def test_padding_goes_up_to_the_next_multiple(shape: tuple[int, ...]) -> None:
    padded = image_io.pad_to_multiple(np.full(shape, 9, np.uint8), 32)
    assert padded.shape == tuple(-(-side // 32) * 32 for side in shape[:2]) + shape[2:]
    assert (padded == 9).all()


def names(folder: Path) -> tuple[dict[str, str], list[str]]:
    images, ignored = find_images(folder)
    assert [image.relative for image in images] == sorted(image.relative for image in images)
    return {image.relative: image.problem for image in images}, ignored


def test_levels_by_hand_and_of_a_constant_image() -> None:
    # Mean (10 + 30) / 2, deviation (30 − 10) / 2.
    assert image_io.measure_levels(np.array([[10, 30]], np.uint8)) == (20, 10)
    mean, divisor = image_io.measure_levels(np.full((4, 4, 3), 7, np.uint8))
    assert mean == 7
    assert divisor > 0


def test_a_part_is_standardised_by_the_numbers_of_the_whole() -> None:
    image = np.array([[10, 30, 10, 30]], np.uint8)
    got = image_io.standardise(image[:, :1], image_io.measure_levels(image))
    assert (got.dtype, got.tolist()) == (np.float32, [[-1.0]])  # (10 − 20) / 10


def test_images_are_found_by_suffix_or_content_in_sorted_order(tmp_path: Path) -> None:
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    data = encode(Image.fromarray(GRAY))
    for name in ("z.PNG", "sub/deep/b.tif", "sub/a.jpeg", "no_suffix", "picture.dat"):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "text.png").write_text("told by its name to be an image")
    (tmp_path / "labels.txt").write_text("1\t2")
    (tmp_path / "sub" / "empty").touch()
    images, ignored = names(tmp_path)
    expected = ["no_suffix", "picture.dat", "sub/a.jpeg", "sub/deep/b.tif", "text.png", "z.PNG"]
    assert list(images) == expected
    assert not any(images.values())
    assert ignored == ["labels.txt", "sub/empty"]


def test_what_is_named_as_an_image_but_is_no_file_has_its_problem(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png" / "inner.png").write_bytes(encode(Image.fromarray(GRAY)))
    (tmp_path / "broken.png").symlink_to(tmp_path / "absent")
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
    os.mkfifo(tmp_path / "pipe")
    images, ignored = names(tmp_path)
    assert images == {
        "broken.png": "cannot be opened: No such file or directory",
        "folder.png": "is a folder with the name of an image; expected a file",
        "folder.png/inner.png": "",
        "pipe.png": "is not a regular file; expected an image file",
    }
    assert ignored == ["pipe"]


def test_linked_files_are_read_and_linked_folders_named(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_bytes(encode(Image.fromarray(GRAY)))
    (tmp_path / "in" / "file.png").symlink_to(tmp_path / "out" / "a.png")
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "out")
    assert names(tmp_path / "in") == ({"file.png": ""}, ["folder"])


def test_bomb_with_another_suffix_is_found_to_be_an_image(tmp_path: Path) -> None:
    (tmp_path / "bomb.dat").write_bytes(png(60_000, 60_000, 8, 0, bytes(1)))
    assert names(tmp_path) == ({"bomb.dat": ""}, [])


@contextmanager
def without_root() -> Iterator[None]:
    """Run the block as a user without privileges: root may open everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter; `tmp_path` is for its owner alone."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "in").mkdir()
        yield folder / "in"
        for path in folder.rglob("*"):
            path.chmod(0o755)


def test_closed_files_and_folders_have_their_problem(open_folder: Path) -> None:
    data = encode(Image.fromarray(GRAY))
    for folder, mode in (("no_read", 0o300), ("no_entry", 0o644)):
        (open_folder / folder).mkdir()
        for name in ("a.png", "b"):
            (open_folder / folder / name).write_bytes(data)
        (open_folder / folder).chmod(mode)
    (open_folder / "closed.png").write_bytes(data)
    (open_folder / "closed.png").chmod(0)
    with without_root():
        images, ignored = names(open_folder)
        with pytest.raises(ImageReadError, match="cannot be opened: Permission denied"):
            read_image(open_folder / "closed.png")
    assert images == {
        "closed.png": "",  # it is there, and found out when it is read
        "no_entry/a.png": "cannot be opened: Permission denied",
        "no_read": "the folder cannot be opened: Permission denied",
    }
    assert ignored == ["no_entry/b"]


def test_folder_that_cannot_be_opened_is_an_error(open_folder: Path) -> None:
    open_folder.chmod(0)
    with without_root(), pytest.raises(DataError, match="in cannot be opened: Permission denied"):
        find_images(open_folder)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"caf\xe9.png", rb"caf\udce9.png"),
        (rb"\udce9" + b"\xe9.png", b"\xe9" + rb"\udce9.png"),
    ],
)
def test_names_that_are_one_as_text_are_refused(tmp_path: Path, one: bytes, other: bytes) -> None:
    for name in (b"caf.png", b"\xe8.png", rb"\udce7.png", one):
        (tmp_path / os.fsdecode(name)).touch()
    assert len(require_images(tmp_path)[0]) == 4
    (tmp_path / os.fsdecode(other)).touch()
    with pytest.raises(DataError, match="would both be called") as caught:
        require_images(tmp_path)
    assert repr(one) in str(caught.value)
    assert repr(other) in str(caught.value)
