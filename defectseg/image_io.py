"""The only place where image files are read and written, and where array forms change.

Three array forms are used everywhere: an image is ``(H, W)`` or ``(H, W, 3)`` uint8 RGB; a mask is
``(H, W)`` uint8, 0 or 1 in memory and 0 or 255 on disk; a probability is ``(H, W)`` float32 in
[0, 1].
"""

import io
import os
import stat
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from defectseg.atomic import write_atomically
from defectseg.errors import DataError, ImageReadError
from defectseg.image_checks import check_png, check_tiff

# The second line is of formats that cannot be read: such a file is an error, not passed over.
IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}
    | {".webp", ".gif", ".jp2", ".heic", ".avif", ".pgm", ".ppm", ".jfif", ".dng", ".raw"}
)
FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
MAX_PIXELS = 200_000_000
MASK_THRESHOLD = 128
SMALLEST_STD = 1e-3  # of gray levels; a constant image is divided by this

# Pillow's own limit would print a warning and name another figure; ours is checked in `_to_array`,
# likewise before a decompression bomb is unpacked.
Image.MAX_IMAGE_PIXELS = None

# Damaged tags are no news to the user: the image is read without them, or is an error.
warnings.filterwarnings("ignore", module=r"PIL\.")

Number = TypeVar("Number", np.uint8, np.float32)

# By the EXIF orientation, what brings the picture upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WHITE_IS_ZERO = (262, 0)  # a tag of TIFF, and its value
_JPEG_QUALITY = 80  # pictures for people; a textured one is a third of what 95 makes it

_SUPPORTED = "an 8- or 16-bit gray or colour image (PNG, JPEG, BMP or TIFF)"


@dataclass(frozen=True)
class FoundFile:
    """A file that is meant to be an image.

    Attributes
    ----------
    path : Path
        Where it lies.
    relative : str
        The path below the searched folder, with ``/`` between the parts.
    problem : str
        Why it cannot be read at all; empty for a regular file.
    """

    path: Path
    relative: str
    problem: str = ""


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Read an image file; see `decode_image`.

    Raises
    ------
    ImageReadError
        If it cannot be opened or decoded.
    """
    return decode_image(read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """Read a file whole, or raise `ImageReadError`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageReadError(f"cannot be opened: {error.strerror or error}") from error


def decode_image(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode the bytes of an image file.

    Parameters
    ----------
    data : bytes
        A PNG, JPEG, BMP or TIFF file. What it is, is told by its content, not by its name.

    Returns
    -------
    ndarray of shape (H, W) or (H, W, 3), uint8
        Gray, or RGB. An alpha channel is dropped, a palette and CMYK are turned to RGB, 1-bit
        becomes 0 and 255, 16-bit is divided by 257 (65535 becomes 255). An EXIF orientation is
        applied.

    Raises
    ------
    ImageReadError
        If the data is empty, damaged, cut off, of more than one page, larger than `MAX_PIXELS`
        or of another pixel type.
    """
    if not data:
        raise ImageReadError(f"the file is empty (0 bytes); expected {_SUPPORTED}")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            return _to_array(picture, data)
    except ImageReadError:
        raise
    except Exception as error:  # decoders raise almost anything on damaged data
        reason = str(error).split(" <_io.BytesIO")[0]
        raise ImageReadError(f"cannot be decoded ({reason}); expected {_SUPPORTED}") from error


def _to_array(picture: Image.Image, data: bytes) -> npt.NDArray[np.uint8]:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise ImageReadError(
            f"{width}×{height} pixels are more than the {MAX_PIXELS:,} that are accepted"
        )
    # JPEGs with a preview or a depth map count as several pictures; the first is the photograph.
    pages = getattr(picture, "n_frames", 1) if picture.format == "TIFF" else 1
    if pages != 1:
        raise ImageReadError(f"the file has {pages} pages; expected a single image")
    if picture.format == "TIFF":
        check_tiff(picture)
    picture.load()
    if picture.format == "PNG":
        check_png(data, picture)
    white_is_zero = picture.format == "TIFF" and _has_tag(picture, *_WHITE_IS_ZERO)
    turn = _UPRIGHT.get(_read_orientation(picture))
    if turn is not None:
        picture = picture.transpose(turn)
    if picture.mode.startswith("I;16"):
        # Rounded, so that 65535 is 255 and 0 is 0.
        levels = ((np.asarray(picture).astype(np.uint32) + 128) // 257).astype(np.uint8)
        return 255 - levels if white_is_zero else levels  # of 8 bits Pillow turns them itself
    if picture.mode in {"1", "L", "LA", "La"}:
        return np.array(picture.convert("L"))
    if picture.mode in {"I", "F"}:
        raise ImageReadError(f"pixels are 32-bit (mode {picture.mode}); expected {_SUPPORTED}")
    if picture.mode == "P":
        picture = picture.convert("RGBA")  # Pillow warns if RGB is made of a transparent palette
    return np.array(picture.convert("RGB"))


def _has_tag(picture: Image.Image, tag: int, value: int) -> bool:
    return bool(picture.tag_v2.get(tag) == value)  # type: ignore[attr-defined]


def _read_orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation; that of an upright picture, if the tags cannot be read."""
    try:
        return int(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged tags raise almost anything
        return 1


def is_turned(data: bytes) -> bool:
    """Tell whether an EXIF orientation exchanges the width and height of an image file's bytes."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return _read_orientation(picture) in {5, 6, 7, 8}
    except Exception:  # decoders raise almost anything on damaged data
        return False


def read_time_taken(data: bytes) -> datetime | None:
    """Return the EXIF DateTimeOriginal of an image file's bytes; None if there is none."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as picture:
            tags = picture.getexif().get_ifd(ExifTags.IFD.Exif)
            text = str(tags.get(ExifTags.Base.DateTimeOriginal, ""))
            return datetime.strptime(text.strip("\0 "), "%Y:%m:%d %H:%M:%S")
    except Exception:  # damaged tags raise almost anything, and cameras write 0000:00:00
        return None


def read_mask(path: Path) -> npt.NDArray[np.uint8]:
    """Read a mask file.

    Returns
    -------
    ndarray of shape (H, W), uint8
        1 where the file's gray value is at least 128, else 0: drawn masks hold in-between values.

    Raises
    ------
    ImageReadError
        As `read_image`; and if the mask is neither empty nor reaches 128, as one of 0 and 1.
    """
    gray = to_gray(read_image(path))
    largest = int(gray.max())
    if 0 < largest < MASK_THRESHOLD:
        raise ImageReadError(
            f"the mask's largest value is {largest}, so that no pixel would be a defect; expected "
            f"0 and 255 (a defect is {MASK_THRESHOLD} or more)"
        )
    return (gray >= MASK_THRESHOLD).astype(np.uint8)


def encode_mask(mask: npt.NDArray[np.uint8]) -> bytes:
    """Return a mask of 0 and 1 as the bytes of a PNG file of 0 and 255.

    Raises
    ------
    ValueError
        If it is not a two-dimensional uint8 array of 0 and 1.
    """
    if mask.ndim != 2 or mask.dtype != np.uint8 or mask.max(initial=0) > 1:
        raise ValueError(
            f"Expected a mask of shape (H, W), uint8, 0 or 1. Received: shape {mask.shape}, "
            f"{mask.dtype}, largest value {mask.max(initial=0)}."
        )
    return _encode(".png", mask * np.uint8(255))


def write_mask(path: Path, mask: npt.NDArray[np.uint8]) -> None:
    """Write a mask as `encode_mask`, atomically."""
    write_atomically(path, encode_mask(mask))


def write_gray(path: Path, image: npt.NDArray[np.uint8]) -> None:
    """Write a ``(H, W)`` uint8 image as a PNG, atomically."""
    write_atomically(path, _encode(".png", image))


def write_picture(path: Path, picture: npt.NDArray[np.uint8]) -> None:
    """Write a picture as `encode_picture`, atomically; PNG or JPEG by the path's suffix."""
    write_atomically(path, encode_picture(picture, path.suffix))


def encode_picture(picture: npt.NDArray[np.uint8], suffix: str = ".jpg") -> bytes:
    """Return a gray ``(H, W)`` or RGB ``(H, W, 3)`` uint8 picture as a JPEG or PNG file's bytes."""
    return _encode(suffix, picture if picture.ndim == 2 else picture[..., ::-1])


def read_thumbnail(path: Path, longest: int) -> npt.NDArray[np.uint8]:
    """Read an image of ours in small, ``(h, w)`` or ``(h, w, 3)`` uint8.

    Its longer side is at most `longest` pixels. A JPEG is not even decoded in full.

    Raises
    ------
    ImageReadError
        If it is not there, or cannot be read.
    """
    try:
        with Image.open(path, formats=FORMATS) as picture:
            picture.draft(None, (longest, longest))
            picture.thumbnail((longest, longest), Image.Resampling.BOX)
            return np.asarray(picture)
    except Exception as error:  # decoders raise almost anything
        raise ImageReadError(f"cannot be read: {error}") from error


def read_size(data: bytes) -> tuple[int, int]:
    """Return height and width that an image file's header tells; (0, 0) if it tells none."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            return picture.height, picture.width
    except Exception:  # damaged: `decode_image` will say how
        return 0, 0


def _encode(suffix: str, array: npt.NDArray[np.uint8]) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if suffix == ".jpg" else []
    done, encoded = cv2.imencode(suffix, array, options)
    if not done:
        raise ValueError(f"OpenCV could not write {array.shape} as {suffix!r}.")
    return encoded.tobytes()


def to_gray(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the ``(H, W)`` luma (ITU-R BT.601) of an image; a gray one is returned as it is."""
    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))


def to_rgb(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the ``(H, W, 3)`` form of an image."""
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def to_channels(image: npt.NDArray[np.uint8], channels: int) -> npt.NDArray[np.uint8]:
    """Return the ``(H, W, channels)`` form, of 1 or 3 channels, that a network is fed with."""
    return to_gray(image)[..., None] if channels == 1 else to_rgb(image)


def pad_to_multiple(array: npt.NDArray[Number], multiple: int) -> npt.NDArray[Number]:
    """Pad height and width, below and to the right, by reflection up to a multiple.

    Reflection goes on as often as needed, so that a 1×1 image can be padded too.
    """
    height, width = array.shape[:2]
    below, right = -height % multiple, -width % multiple
    if not below and not right:
        return array
    return np.pad(array, [(0, below), (0, right)] + [(0, 0)] * (array.ndim - 2), mode="reflect")


def measure_levels(image: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Return mean and divisor by which the network standardises an image.

    For those who show it a part of the image: the whole one's numbers count.
    """
    mean, deviation = cv2.meanStdDev(np.ascontiguousarray(image).reshape(len(image), -1))
    return float(mean[0, 0]), max(float(deviation[0, 0]), SMALLEST_STD)


def standardise(
    part: npt.NDArray[Any], levels: tuple[float, float] | tuple[npt.NDArray[Any], npt.NDArray[Any]]
) -> npt.NDArray[np.float32]:
    """Standardise images, or parts of them, by the numbers of `measure_levels`."""
    mean, divisor = levels
    return ((part - mean) / divisor).astype(np.float32, copy=False)


def printable(name: str) -> str:
    """Return a file's name as text: what is not Unicode in it is escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


def find_images(root: Path) -> tuple[list[FoundFile], list[str]]:
    """Find the image files below a folder.

    Parameters
    ----------
    root : Path
        Searched with all its subfolders, links to folders excepted.

    Returns
    -------
    images : list of FoundFile
        Sorted by relative path. A file counts by its suffix or, with another suffix, by its first
        bytes. What has an image's name but is no regular file, and a folder that may not be
        opened, are in the list with a `problem`.
    ignored : list of str
        Relative paths of all other files, and of links to folders.

    Raises
    ------
    DataError
        If the folder itself cannot be opened.
    """
    images: list[FoundFile] = []
    ignored: list[str] = []
    for path in _walk(root, images):
        relative = path.relative_to(root).as_posix()
        if path.suffix.lower() in IMAGE_SUFFIXES:
            images.append(FoundFile(path, relative, _not_regular(path)))
        elif _has_image_content(path):
            images.append(FoundFile(path, relative))
        elif os.path.islink(path) or not os.path.isdir(path):  # noqa: PTH112, PTH114 - never raise
            ignored.append(relative)
    return sorted(images, key=lambda found: found.relative), sorted(ignored)


def require_images(root: Path) -> tuple[list[FoundFile], list[str]]:
    """Find the image files below a folder, as `find_images`; none at all is an error.

    Raises
    ------
    DataError
        If it is no folder, cannot be opened, holds no images, or two whose names are one as text.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; expected one with images.")
    images, ignored = find_images(root)
    if not images:
        raise DataError(
            f"{root} holds no images (PNG, JPEG, BMP or TIFF); {len(ignored)} other file(s)."
        )
    _check_names(images)
    return images, ignored


def _check_names(images: Iterable[FoundFile]) -> None:
    """Check that no row, which knows its image by its name as text, can be taken for another's."""
    escaped: dict[str, str] = {}
    for image in images:
        name = printable(image.relative)
        if "\\" not in name:
            continue
        other = escaped.setdefault(name, image.relative)
        if other != image.relative:
            raise DataError(
                f"{os.fsencode(image.relative)!r} and {os.fsencode(other)!r} would both be called "
                f"{name} in the results: what is not UTF-8 in a name is escaped there. Expected "
                "names that differ as text; rename one of the two."
            )


def _walk(root: Path, unreadable: list[FoundFile]) -> Iterator[Path]:
    def keep(error: OSError) -> None:
        path = Path(error.filename)
        if path == root:
            raise DataError(f"{root} cannot be opened: {error.strerror}.") from error
        relative = path.relative_to(root).as_posix()
        unreadable.append(
            FoundFile(path, relative, f"the folder cannot be opened: {error.strerror}")
        )

    for folder, subfolders, files in os.walk(root, onerror=keep):
        for name in subfolders + files:
            yield Path(folder) / name


def _not_regular(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return f"cannot be opened: {error.strerror}"
    if stat.S_ISDIR(mode):
        return "is a folder with the name of an image; expected a file"
    return "" if stat.S_ISREG(mode) else "is not a regular file; expected an image file"


def _has_image_content(path: Path) -> bool:
    if not os.path.isfile(path):  # noqa: PTH113 - never raises
        return False  # opening a pipe would wait for ever
    try:
        with Image.open(path, formats=FORMATS):
            return True
    except Exception:  # not an image, or not readable: named to the user as ignored
        return False
