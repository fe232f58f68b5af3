"""Augmentation that moves image and mask together.

Everything that moves pixels is composed into one map of places, so that an image is resampled
once. What comes into view when a cut-out is turned or enlarged is the image around it, and only
beyond the image's border its reflection.
"""

import math

import cv2
import numpy as np
import numpy.typing as npt

from defectseg.config import AugmentSettings

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.uint8]
Map = npt.NDArray[np.float32]

# Images as they are.
UNCHANGED = AugmentSettings(flip=False, quarter_turns=False)

_ELASTIC_GRID_PX = 32
_BEST_QUALITY = 95  # of JPEG


def augment_pair(
    image: Image,
    mask: Mask,
    top_left_rc: tuple[int, int],
    size_hw: tuple[int, int],
    rng: np.random.Generator,
    settings: AugmentSettings,
) -> tuple[npt.NDArray[np.float32], Mask]:
    """Cut a window out of an image and its mask, changed by the same random amounts.

    Parameters
    ----------
    image : ndarray of shape (H, W, C), uint8
    mask : ndarray of shape (H, W), uint8, 0 or 1
    top_left_rc : tuple of int
        Row and column of the window's first pixel.
    size_hw : tuple of int
        Height and width of the window; it may reach beyond the image.
    rng : numpy.random.Generator
        The only source of chance.
    settings : AugmentSettings

    Returns
    -------
    image : ndarray of shape (*size_hw, C), float32
        In [0, 255]; interpolated by cubic convolution, which keeps textures as fine as the pixels.
    mask : ndarray of shape size_hw, uint8, 0 or 1
        By nearest neighbour.
    """
    x, y = draw_map(size_hw, rng, settings)
    # All that the map can reach, so that a large image costs no more than a small one: OpenCV
    # takes none of 32767 pixels or more a side.
    reach = math.ceil(max(np.abs(x).max(), np.abs(y).max())) + 2
    rows, row = _span(top_left_rc[0] + (size_hw[0] - 1) / 2, reach, image.shape[0])
    columns, column = _span(top_left_rc[1] + (size_hw[1] - 1) / 2, reach, image.shape[1])
    x, y = x + np.float32(column), y + np.float32(row)
    reflect = cv2.BORDER_REFLECT_101
    moved = cv2.remap(image[rows, columns], x, y, cv2.INTER_CUBIC, borderMode=reflect)
    moved_mask = cv2.remap(mask[rows, columns], x, y, cv2.INTER_NEAREST, borderMode=reflect)
    picture = moved.reshape(*size_hw, image.shape[2]).astype(np.float32)
    return degrade(picture, rng, settings), np.asarray(moved_mask, np.uint8)


def _span(centre: float, reach: int, length: int) -> tuple[slice, float]:
    """Return the part of an axis that is looked at, and where the centre lies in it.

    Where the view goes beyond the border, the part that is reflected there belongs to it too.
    """
    first, last = math.floor(centre) - reach, math.ceil(centre) + reach
    low = max(0, min(first, 2 * (length - 1) - last))
    high = min(length - 1, max(last, -first))
    return slice(low, high + 1), centre - low


def draw_map(
    size_hw: tuple[int, int], rng: np.random.Generator, settings: AugmentSettings
) -> tuple[Map, Map]:
    """Draw where each pixel of a window comes from.

    Returns
    -------
    x, y : ndarrays of shape size_hw, float32
        Column and row of the source, in pixels from the window's centre.
    """
    height, width = size_hw
    x, y = np.meshgrid(
        np.arange(width, dtype=np.float32) - (width - 1) / 2,
        np.arange(height, dtype=np.float32) - (height - 1) / 2,
    )
    if settings.elastic_px:
        x, y = _ripple(x, y, settings.elastic_px, rng)
    if settings.liquify:
        x, y = liquify(x, y, settings.liquify, rng)
    angle = math.radians(rng.uniform(-settings.rotate_deg, settings.rotate_deg))
    if settings.quarter_turns:
        angle += math.pi / 2 * rng.integers(4)
    zoom = 1 + rng.uniform(-settings.scale, settings.scale)
    flip_x, flip_y = rng.choice([-1, 1], 2) if settings.flip else (1, 1)
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    x, y = flip_x * x, flip_y * y
    return (cos * x - sin * y).astype(np.float32), (sin * x + cos * y).astype(np.float32)


def liquify(x: Map, y: Map, strength: float, rng: np.random.Generator) -> tuple[Map, Map]:
    """Swell or pinch places about a random centre, in polar coordinates.

    Within a circle of radius R, what was at the distance r comes to ``√(R·r)`` when swollen with
    strength 1, and to less when weaker; the effect fades out towards R.

    Parameters
    ----------
    x, y : ndarrays of shape (H, W), float32
    strength : float
        At most this much, either way; in [0, 1).
    rng : numpy.random.Generator
    """
    side = min(x.shape)
    centre_x, centre_y = rng.uniform(x.min(), x.max()), rng.uniform(y.min(), y.max())
    reach = side * rng.uniform(0.25, 0.75)
    strength = rng.uniform(-strength, strength)
    radius = np.hypot(x - centre_x, y - centre_y)
    # Seen from the result: r comes from r²/R at strength 1, from r at strength 0.
    factor = 1 + strength * (np.minimum(radius / reach, 1) - 1)
    return centre_x + factor * (x - centre_x), centre_y + factor * (y - centre_y)


def _ripple(x: Map, y: Map, amplitude: float, rng: np.random.Generator) -> tuple[Map, Map]:
    """Shift places smoothly, by about `amplitude` pixels (Simard et al. 2003)."""
    height, width = x.shape
    coarse = (height // _ELASTIC_GRID_PX + 2, width // _ELASTIC_GRID_PX + 2, 2)
    shift = rng.normal(0, amplitude, coarse).astype(np.float32)
    smooth = cv2.resize(shift, (width, height), interpolation=cv2.INTER_CUBIC)
    return x + smooth[..., 0], y + smooth[..., 1]


def degrade(
    picture: npt.NDArray[np.float32], rng: np.random.Generator, settings: AugmentSettings
) -> npt.NDArray[np.float32]:
    """Change the light of a picture ``(H, W, C)`` in [0, 255]; blur every second one, or worse.

    Masks are not touched. Of blur, noise and JPEG a picture meets one at most: with all of them
    together, the network would hardly see what a good camera shows.
    """
    if settings.light:
        picture = _relight(picture, settings.light, rng)
    poor = [name for name in ("blur_px", "noise", "jpeg") if getattr(settings, name)]
    match poor[rng.integers(len(poor))] if poor and rng.random() < 0.5 else None:
        case "blur_px":
            sigma = max(1e-3, rng.uniform(0, settings.blur_px))
            picture = cv2.GaussianBlur(picture, (0, 0), sigma).reshape(picture.shape)
        case "noise":
            sigma = rng.uniform(0, settings.noise)
            picture = picture + sigma * rng.standard_normal(picture.shape, np.float32)
        case "jpeg":
            # As much worse from 10 to 5 as from 80 to 40.
            quality = math.exp(rng.uniform(math.log(settings.jpeg), math.log(_BEST_QUALITY)))
            picture = _compress(np.clip(picture, 0, 255), round(quality))
    return np.clip(picture, 0, 255).astype(np.float32)


def _compress(picture: npt.NDArray[np.float32], quality: int) -> npt.NDArray[np.float32]:
    levels = np.rint(picture).astype(np.uint8)
    _, encoded = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED), np.float32)
    return decoded.reshape(picture.shape)


def _relight(
    picture: npt.NDArray[np.float32], light: float, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Change brightness and contrast by at most a share, unevenly from one side to the other."""
    height, width = picture.shape[:2]
    ramp_x = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None]
    ramp_y = np.linspace(-1, 1, height, dtype=np.float32)[:, None, None]
    gain, offset = (
        level + slope_x * ramp_x + slope_y * ramp_y
        for level, slope_x, slope_y in rng.uniform(-light / 3, light / 3, (2, 3))
    )
    mean = picture.mean()
    return np.asarray((picture - mean) * (1 + gain) + mean * (1 + offset), np.float32)
