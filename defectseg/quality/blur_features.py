"""What a blur classifier sees of an image: ratios within crops, at native resolution.

Shrinking an image would destroy what is looked for, and contrast says nothing about focus.
"""

import cv2
import numpy as np
import numpy.typing as npt

from defectseg.quality.focus import Gray

Array = npt.NDArray[np.float64]
Levels = npt.NDArray[np.uint8]

TILE_PX = 32  # of the spectrum; a smaller image is not judged

_CROP_PX, _CROPS = 128, 8
_GRID = 8  # crops are chosen from this many places along a side
_STEP = 8  # of the rows and columns that are looked at to choose them
_BANDS = (0.14, 0.25, 0.38, 0.51)  # cycles a pixel
_RINGS = TILE_PX // 2 + 1
_LAGS = (1, 2, 4)
_BLOCK_PX = 8  # of JPEG
FEATURES = _RINGS + 2 * (len(_BANDS) - 1) + 2 * len(_LAGS) - 1 + 2


def describe(gray: Gray) -> Array | None:
    """Return the features of an image, or None where there is nothing to judge.

    Parameters
    ----------
    gray : Gray

    Returns
    -------
    ndarray of shape (FEATURES,), float64, or None
        Means over the crops, weighted by their contrast: a part on a plain ground is judged by
        the part. None for a side of less than `TILE_PX`, one gray level alone, or a value that is
        no finite number.
    """
    if min(gray.shape) < TILE_PX or not (gray.dtype == np.uint8 or np.isfinite(gray).all()):
        return None
    crops = _choose_crops(to_levels(gray))
    energy, spectrum = _describe_spectrum(crops)
    if not energy.any():
        return None
    features = np.concatenate([spectrum, _describe_differences(crops)], axis=1)
    contrast = np.sqrt(energy)
    return np.asarray(contrast @ features / contrast.sum())


def to_levels(gray: Gray) -> Levels:
    """Return an image as uint8: floats are rounded, and cut off at 0 and 255."""
    return gray if gray.dtype == np.uint8 else np.rint(np.clip(gray, 0, 255)).astype(np.uint8)


def _choose_crops(levels: Levels) -> Levels:
    """Return the crops of an evenly spaced grid that differ most from themselves, shifted.

    Shape (C, h, w), sides a multiple of a tile's. Every eighth row and column is compared with
    the fourth after it, which is blur's and noise's affair less than its neighbour is.
    """
    height, width = (min(_CROP_PX, side // TILE_PX * TILE_PX) for side in levels.shape)
    tops, lefts = (
        np.linspace(0, side - crop, min(_GRID, side // crop)).astype(int)
        for side, crop in zip(levels.shape, (height, width), strict=True)
    )
    crops = [levels[top : top + height, left : left + width] for top in tops for left in lefts]
    if len(crops) > _CROPS:
        shift = _STEP // 2
        strength = [
            cv2.norm(crop[:-shift:_STEP], crop[shift::_STEP], cv2.NORM_L1)
            + cv2.norm(crop[::_STEP, :-shift], crop[::_STEP, shift:], cv2.NORM_L1)
            for crop in crops
        ]
        crops = [crops[place] for place in np.argsort(strength, kind="stable")[-_CROPS:]]
    return np.array(crops)


def _describe_spectrum(crops: Levels) -> tuple[Array, Array]:
    """Return energy, shape (C,), and spectral features, (C, ·), of crops.

    The features are logarithms of the power's share, the mean over the tiles (Welch 1967,
    doi:10.1109/TAU.1967.1161901): in each of 17 rings; and, in three bands, of the weakest of
    four directions over their mean, which motion lowers, and of across over down.
    """
    # One by one: what does not outgrow the processor's cache takes half the time.
    power = np.array([_power_spectrum(crop) for crop in crops])
    energy = power @ _TOTAL
    # Rounding leaves some energy even in a crop of one gray level.
    energy[np.ptp(crops, axis=(1, 2)) == 0] = 0
    shares = np.log(power @ _AVERAGES / np.maximum(energy, 1e-9)[:, None] + 1e-9)
    rings, sectors = shares[:, :_RINGS], shares[:, _RINGS:].reshape(len(crops), -1, 4)
    weakest = sectors.min(axis=2) - sectors.mean(axis=2)
    directed = sectors[..., 0] - sectors[..., 2]
    return energy.astype(np.float64), np.concatenate([rings, weakest, directed], axis=1)


def _power_spectrum(crop: Levels) -> npt.NDArray[np.float32]:
    """Return the power at each frequency, summed over the tiles of a crop, flat.

    In the order of ``numpy.fft.rfft2``: 32 frequencies down by the 17 from 0 on across.
    """
    down, across = (side // TILE_PX for side in crop.shape)
    tiles = crop.reshape(down, TILE_PX, across, TILE_PX).swapaxes(1, 2)
    levels = tiles.astype(np.float32, order="C").reshape(-1, TILE_PX, TILE_PX)
    levels -= levels.mean(axis=(1, 2), keepdims=True)
    # A Fourier transform as two products: for so small a tile as fast, and without scipy.
    spectrum = _DOWN @ (levels @ _ACROSS).view(np.complex64)
    return np.asarray((spectrum.real**2 + spectrum.imag**2).sum(axis=0).ravel())


def _describe_differences(crops: Levels) -> Array:
    """Return the features of the differences of pixels 1, 2 and 4 apart in crops, shape (C, ·).

    Logarithms, means over both axes: of the mean difference over that twice as far apart, small
    where edges are soft; of the fourth-power mean over the mean, large where edges are few and
    steep, and small for noise. Last, of the largest over the middle of the eight places that a
    pixel can have in JPEG's blocks, along each axis.
    """
    moments = np.empty((len(crops), 2, len(_LAGS), 2))  # the last: of the first and fourth power
    phases = np.empty((len(crops), 2, _BLOCK_PX))
    for number, crop in enumerate(crops):
        for axis, lines in enumerate((crop, cv2.transpose(crop))):
            for place, lag in enumerate(_LAGS):
                difference = cv2.absdiff(lines[lag:], lines[:-lag])
                histogram = cv2.calcHist([difference], [0], None, [256], [0, 256]).ravel()
                moments[number, axis, place] = histogram @ _POWERS / difference.size
                if lag == 1:
                    sums = cv2.reduce(difference, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)
                    # The last block lacks a difference to the next.
                    phases[number, axis] = sums[: -_BLOCK_PX + 1].reshape(-1, _BLOCK_PX).sum(axis=0)
    # A sixth of a gray level stands for what rounding hides.
    means, peaks = np.log(moments[..., 0] + 1 / 6), np.log(moments[..., 1] + 6.0**-4) / 4
    softness, steepness = means[..., :-1] - means[..., 1:], peaks - means
    blocks = np.log((phases.max(axis=2) + 1) / (np.median(phases, axis=2) + 1))
    return np.concatenate([softness.mean(axis=1), steepness.mean(axis=1), blocks], axis=1)


def _make_waves() -> tuple[npt.NDArray[np.complex64], npt.NDArray[np.float32]]:
    """Return what a tile is multiplied by from the left and the right, under a Hann window.

    The left has all frequencies, a wave a row; the right those from 0 on, a wave two columns: its
    real and its imaginary part, so that the product is one of real numbers.
    """
    places = np.arange(TILE_PX)
    waves = np.exp(-2j * np.pi * np.outer(places, places) / TILE_PX)
    waves = (waves * np.hanning(TILE_PX + 2)[1:-1]).astype(np.complex64)
    across = np.ascontiguousarray(waves[: TILE_PX // 2 + 1].T)
    return waves, across.view(np.float32)


def _make_averages() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return what sums a spectrum up: to its total, and to means over rings and sectors.

    Of a real image half of the spectrum is computed; the other half mirrors it, and counts.
    """
    rows, columns = np.fft.fftfreq(TILE_PX)[:, None], np.fft.rfftfreq(TILE_PX)
    radius, angle = np.hypot(rows, columns), np.arctan2(rows, columns)
    mirrored = np.where((columns == 0) | (columns == 0.5), 1.0, 2.0) * np.ones_like(radius)
    # The last ring holds the corners, where only diagonals reach.
    ring = np.minimum(np.rint(radius * TILE_PX), _RINGS)
    rings = [ring == number for number in range(1, _RINGS + 1)]
    band = np.digitize(radius, _BANDS)
    quarter = np.rint(angle / (np.pi / 4)) % 4
    sectors = [(band == b) & (quarter == q) for b in (1, 2, 3) for q in range(4)]
    masks = mirrored * np.array(rings + sectors)
    means = masks / masks.sum(axis=(1, 2), keepdims=True)
    total, averages = mirrored.ravel(), means.reshape(len(means), -1).T
    return total.astype(np.float32), averages.astype(np.float32)


_DOWN, _ACROSS = _make_waves()
_TOTAL, _AVERAGES = _make_averages()
_POWERS = np.arange(256.0)[:, None] ** (1, 4)
