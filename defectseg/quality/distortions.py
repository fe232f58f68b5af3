"""What cameras, light and compression do to an image, in steps from weak to strong.

As Dodge & Karam 2016, doi:10.1109/QoMEX.2016.7498955, and wider. Each function takes an image of
shape (H, W) or (H, W, 3), uint8, and returns a new one of the same form.
"""

import io
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

Image = npt.NDArray[np.uint8]


def blur_gaussian(image: Image, sigma: float) -> Image:
    """Blur by a Gaussian of standard deviation `sigma`, in pixels, cut off at 4·sigma."""
    side = 2 * math.ceil(4 * sigma) + 1
    return np.asarray(cv2.GaussianBlur(image, (side, side), sigma), np.uint8)


def blur_defocus(image: Image, radius: float) -> Image:
    """Blur by a disc of `radius` pixels, its edge softened by a pixel: a lens out of focus."""
    reach = math.ceil(radius)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(rows, columns), 0, 1)
    return _convolve(image, disc)


def blur_motion(image: Image, length: float, angle: float) -> Image:
    """Blur along a line of `length` pixels, at `angle` radians from +x towards +y."""
    reach = math.ceil(length / 2)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along = columns * math.cos(angle) + rows * math.sin(angle)
    across = rows * math.cos(angle) - columns * math.sin(angle)
    # One pixel wide, with ends and sides softened by a pixel.
    ends = np.clip(length / 2 + 0.5 - abs(along), 0, 1)
    return _convolve(image, ends * np.clip(1 - abs(across), 0, 1))


def add_noise(image: Image, sigma: float, rng: np.random.Generator) -> Image:
    """Add independent Gaussian noise of standard deviation `sigma` gray levels; then clip."""
    return _to_levels(image + rng.normal(0, sigma, image.shape))


def compress_jpeg(image: Image, quality: float) -> Image:
    """Return the image after JPEG of `quality` 1 to 100, as libjpeg counts."""
    return _through_file(image, "JPEG", quality=round(quality))


def compress_jpeg2000(image: Image, psnr: float) -> Image:
    """Return the image after JPEG 2000 of a peak signal-to-noise ratio of about `psnr` dB."""
    return _through_file(
        image, "JPEG2000", quality_mode="dB", quality_layers=[psnr], irreversible=True
    )


def lower_contrast(image: Image, factor: float) -> Image:
    """Draw gray levels towards their mean: `factor` of the contrast is left."""
    mean = image.mean(axis=(0, 1))
    return _to_levels(mean + factor * (image - mean))


def add_haze(image: Image, amount: float) -> Image:
    """Mix in `amount` of white, 0 to 1: dust on the lens, stray light."""
    return _to_levels((1 - amount) * image + amount * 255)


def darken(image: Image, factor: float) -> Image:
    """Leave `factor` of the light: a lamp that fades."""
    return _to_levels(factor * image)


@dataclass(frozen=True)
class Kind:
    """A kind of distortion, with the levels it is swept through.

    Attributes
    ----------
    cause : str
        What a person at the camera would look for.
    unit : str
        Of the levels.
    levels : tuple of float
        From weak to strong.
    apply : callable
        ``(image, level, rng) -> image``
    """

    cause: str
    unit: str
    levels: tuple[float, ...]
    apply: Callable[[Image, float, np.random.Generator], Image]


_BLUR, _LIGHT, _NOISE = "defocus or motion", "haze or light", "noise or gain"
_COMPRESSION = "compression"
# Of the mixtures: what a camera of high gain adds, and one whose light fails.
_GAIN_NOISE, _LOW_LIGHT_NOISE = 10.0, 3.0

SWEEP: Mapping[str, Kind] = {
    "gaussian_blur": Kind(
        _BLUR,
        "σ, px",
        (0.5, 1, 1.5, 2, 3, 5, 9),
        lambda image, level, rng: blur_gaussian(image, level),
    ),
    "motion_blur": Kind(
        _BLUR,
        "length, px",
        (2, 3, 5, 9, 15, 25),
        lambda image, level, rng: blur_motion(image, level, rng.uniform(0, math.pi)),
    ),
    "noise": Kind(_NOISE, "σ, gray levels", (5, 10, 15, 25, 50, 100), add_noise),
    "jpeg": Kind(
        _COMPRESSION,
        "quality",
        (95, 60, 30, 15, 10, 5, 2),
        lambda image, level, rng: compress_jpeg(image, level),
    ),
    "jpeg2000": Kind(
        _COMPRESSION,
        "PSNR, dB",
        (40, 36, 32, 28, 24, 20),
        lambda image, level, rng: compress_jpeg2000(image, level),
    ),
    "contrast": Kind(
        _LIGHT,
        "share left",
        (0.5, 0.2, 0.1, 0.05, 0.02),
        lambda image, level, rng: lower_contrast(image, level),
    ),
    "haze": Kind(
        _LIGHT,
        "share of white",
        (0.4, 0.7, 0.9, 0.95, 0.98),
        lambda image, level, rng: add_haze(image, level),
    ),
    "darkening": Kind(
        _LIGHT,
        "share left",
        (0.4, 0.15, 0.06, 0.03, 0.012),
        lambda image, level, rng: darken(image, level),
    ),
    # Each alone may be harmless: blur hides the noise's rise of the sharpness, noise the blur's
    # fall, and low contrast makes little noise much.
    "blur_in_noise": Kind(
        f"{_BLUR}, with {_NOISE}",
        f"σ, px; noise σ {_GAIN_NOISE:g}",
        (0.5, 1, 1.5, 2, 3, 5),
        lambda image, level, rng: add_noise(blur_gaussian(image, level), _GAIN_NOISE, rng),
    ),
    "contrast_in_noise": Kind(
        f"{_LIGHT}, with {_NOISE}",
        f"share left; noise σ {_LOW_LIGHT_NOISE:g}",
        (0.5, 0.2, 0.1, 0.05),
        lambda image, level, rng: add_noise(lower_contrast(image, level), _LOW_LIGHT_NOISE, rng),
    ),
}


def distort(
    image: Image, kind: str, level: float, sha256: str, kinds: Mapping[str, Kind] = SWEEP
) -> Image:
    """Return the image distorted by one of the kinds.

    What is random depends on kind and image alone: from level to level one noise grows stronger,
    one motion longer. `sha256` is the image's, in hexadecimal.
    """
    seed = [int(sha256[:8], 16), zlib.crc32(kind.encode())]
    return kinds[kind].apply(image, level, np.random.default_rng(seed))


def _convolve(image: Image, kernel: npt.NDArray[np.float64]) -> Image:
    blurred = cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, np.uint8)


def _to_levels(values: npt.NDArray[Any]) -> Image:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _through_file(image: Image, file_format: str, **options: object) -> Image:
    buffer = io.BytesIO()
    PillowImage.fromarray(image).save(buffer, file_format, **options)
    return np.array(PillowImage.open(buffer), np.uint8)
