"""Measures of an image's quality, on gray levels of 0 to 255 at native resolution.

Focus measures are as in Pertuz, Puig & Garcia 2013, doi:10.1016/j.patcog.2012.11.011, but means
over the pixels in place of sums. A `Gray` is an array of shape (H, W), uint8, or of floats on the
same scale. What cannot be measured, an array without pixels or with one that is no finite number,
has nothing in focus: each sharpness of it is 0, and its blur 1.
"""

import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Gray = npt.NDArray[Any]

# The difference of two Laplacians: blind to edges and slopes, it leaves the noise.
_SECOND_DIFFERENCE = np.array([1.0, -2.0, 1.0])
# What white noise of variance 1 adds to Tenengrad: the sum of the squares of both Sobel masks.
_NOISE_IN_TENENGRAD = 24.0
_REBLUR_PX = 11
_SPECTRUM_PX = 64
_HIGH_FREQUENCY = 0.25  # cycles a pixel, half of what an image can hold
_STRIP_ROWS = 128  # as much at once as stays in the processor's cache


def mean_gradient(gray: Gray) -> float:
    """Return the mean absolute gradient, summed over both axes; it rises with focus.

    Parameters
    ----------
    gray : Gray

    Returns
    -------
    float
        ``mean |∂I/∂row| + mean |∂I/∂column|`` of ``numpy.gradient`` (central differences, those
        of neighbours at the border), in gray levels a pixel, at least 0. An axis of a single
        pixel has no gradient and counts 0. Noise raises it as well as focus does.
    """
    if not is_measurable(gray):
        return 0.0
    image, _ = _for_filters(gray)
    total = 0.0
    if len(image) > 1:
        total += _norm(image[2:], image[:-2], cv2.NORM_L1) / 2
        total += _norm(image[[0, -1]], image[[1, -2]], cv2.NORM_L1)
    if image.shape[1] > 1:
        total += _norm(image[:, 2:], image[:, :-2], cv2.NORM_L1) / 2
        total += _norm(image[:, [0, -1]], image[:, [1, -2]], cv2.NORM_L1)
    return total / gray.size


def laplacian_variance(gray: Gray) -> float:
    """Return the variance of the Laplacian; it rises with focus, and with noise above all.

    Parameters
    ----------
    gray : Gray

    Returns
    -------
    float
        Of the 4-neighbour Laplacian, mirrored at the border, in gray levels squared, at least 0.
        White noise of standard deviation σ adds 20·σ². `LAP4` of Pertuz et al.
    """
    if not is_measurable(gray):
        return 0.0
    image, depth = _for_filters(gray)
    laplacian = cv2.Laplacian(image, depth)
    mean = cv2.sumElems(laplacian)[0] / gray.size
    return max(0.0, _sum_squares(laplacian) / gray.size - mean**2)


def tenengrad(gray: Gray) -> float:
    """Return the mean squared Sobel gradient; it rises with focus, and with noise.

    Parameters
    ----------
    gray : Gray

    Returns
    -------
    float
        ``mean(Gx² + Gy²)`` of the 3×3 Sobel masks, mirrored at the border, in gray levels
        squared, at least 0. White noise of standard deviation σ adds 24·σ². `GRA6` of Pertuz
        et al.
    """
    if not is_measurable(gray):
        return 0.0
    image, depth = _for_filters(gray)
    squares = sum(_sum_squares(cv2.Sobel(image, depth, dx, 1 - dx)) for dx in (0, 1))
    return squares / gray.size


def tenengrad_compensated(gray: Gray) -> float:
    """Return Tenengrad less the share of noise, ``24·σ²``; it rises with focus.

    At least 0, in gray levels squared; σ is that of `noise_sigma`, which takes the finest texture
    for noise, so that a texture which is all fine loses most of it.
    """
    return compensate(tenengrad(gray), noise_sigma(gray))


def brenner(gray: Gray) -> float:
    """Return the mean squared difference of pixels two columns apart; it rises with focus.

    Parameters
    ----------
    gray : Gray

    Returns
    -------
    float
        ``mean (I(row, column + 2) − I(row, column))²``, in gray levels squared, at least 0; 0 for
        fewer than 3 columns. Along the rows only, as Brenner et al. 1976,
        doi:10.1177/24.1.1254907: blind to a blur that is vertical. `MIS2` of Pertuz et al.
    """
    if not is_measurable(gray) or gray.shape[1] < 3:
        return 0.0
    image, _ = _for_filters(gray)
    squares = _norm(image[:, 2:], image[:, :-2], cv2.NORM_L2SQR)
    return squares / gray[:, 2:].size


def wavelet_energy(gray: Gray) -> float:
    """Return the mean squared detail of the Haar wavelet's first level; it rises with focus.

    Parameters
    ----------
    gray : Gray

    Returns
    -------
    float
        Sum of the squares of the horizontal, vertical and diagonal coefficients over the number
        of pixels, in gray levels squared, at least 0. An odd last row or column is repeated.
        White noise of standard deviation σ adds ¾·σ². `WAV1` of Pertuz et al. has their absolute
        values.
    """
    if not is_measurable(gray):
        return 0.0
    height, width = gray.shape
    even = cv2.copyMakeBorder(
        _for_filters(gray)[0], 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE
    )
    detail = 0.0
    for first in range(0, len(even), _STRIP_ROWS):
        image = even[first : first + _STRIP_ROWS].astype(
            np.float32 if gray.dtype == np.uint8 else np.float64
        )
        # The wavelet keeps the sum of squares: what its means do not hold, its details do.
        means = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        detail += _sum_squares(image) - 4 * _sum_squares(means)
    return max(0.0, detail / int(even.size))


def high_frequency_ratio(gray: Gray) -> float:
    """Return the share of the spectrum's energy at high frequencies; it rises with focus.

    Parameters
    ----------
    gray : Gray

    Returns
    -------
    float
        Of the energy of all frequencies but the mean, the part from 0.25 cycles a pixel on (radial;
        an image can hold 0.5), in [0, 1]. The spectrum is summed over tiles of 64×64 pixels, or
        of the whole side where an image is smaller, each less its mean and under a Hann window
        (Welch 1967, doi:10.1109/TAU.1967.1161901); what is left over at the borders is cut off
        evenly. It does not change with contrast. 0 where there is no texture at all.
    """
    if not is_measurable(gray) or min(gray.shape) < 4:
        return 0.0
    height, width = (min(side, _SPECTRUM_PX) for side in gray.shape)
    dtype = np.float32 if gray.dtype == np.uint8 else np.float64
    (down, row_frequency), (across, column_frequency) = map(_windowed_waves, (height, width))
    down, across = down.astype(dtype), across.T.astype(dtype)
    high = np.hypot(row_frequency[:, None], column_frequency) >= _HIGH_FREQUENCY
    count = gray.shape[1] // width
    energy = np.zeros((height, width))
    for strip in _strips_of_tiles(gray, height, width):
        tiles = strip.reshape(height, count, width).swapaxes(0, 1)
        levels = tiles.astype(dtype, order="C")
        levels = levels - levels.mean(axis=(1, 2), keepdims=True)
        # Tile by tile: larger products would start threads, which go on spinning where others work.
        spectrum = down @ levels @ across
        energy += np.square(spectrum, out=spectrum).sum(axis=0)
    total = float(energy.sum())
    # Of a constant image rounding is all there is.
    silence = 1e-12 * gray.size * 255**2
    return float(energy[high].sum()) / total if total > silence else 0.0


def blur_effect(gray: Gray) -> float:
    """Return how little another blur takes from the edges; it rises with **blur**.

    Parameters
    ----------
    gray : Gray

    Returns
    -------
    float
        In [0, 1], the same as ``skimage.measure.blur_effect``, several times faster; 1 where there
        are no edges, or fewer than 4 rows or columns. Crété et al. 2007, doi:10.1117/12.702790.
    """
    if not is_measurable(gray) or min(gray.shape) < 4:
        return 1.0
    image, depth = _for_filters(gray)
    # As far as blur and gradient reach up and down.
    halo = _REBLUR_PX // 2 + 1
    mirrored = cv2.copyMakeBorder(image, halo, halo, 0, 0, cv2.BORDER_REFLECT)
    edges, lost = np.zeros(2), np.zeros(2)
    for first in range(2, len(image) - 1, _STRIP_ROWS):
        last = min(first + _STRIP_ROWS, len(image) - 1)
        strip = mirrored[first : last + 2 * halo]
        for dx in (0, 1):
            size = (_REBLUR_PX, 1) if dx else (1, _REBLUR_PX)
            # The sum of 11 pixels in place of their mean, so that whole numbers stay whole.
            summed = cv2.boxFilter(
                strip, depth, size, normalize=False, borderType=cv2.BORDER_REFLECT
            )
            sharp: Any = cv2.Sobel(strip, depth, dx, 1 - dx)[halo:-halo, 2:-1]
            blurred: Any = cv2.Sobel(summed, depth, dx, 1 - dx)[halo:-halo, 2:-1]
            edge = _REBLUR_PX * _sum_abs(sharp)
            difference = np.abs(sharp, out=sharp)
            difference *= _REBLUR_PX
            difference -= np.abs(blurred, out=blurred)
            # Of a difference d, the part above 0 is (d + |d|) / 2.
            lost[dx] += (edge - _sum_abs(blurred) + _sum_abs(difference)) / 2
            edges[dx] += edge
    return max(float(1 - lost[dx] / edges[dx]) if edges[dx] else 1.0 for dx in (0, 1))


def noise_sigma(gray: Gray) -> float:
    """Return Immerkær's estimate of the noise's standard deviation; it rises with noise.

    Parameters
    ----------
    gray : Gray

    Returns
    -------
    float
        In gray levels, at least 0; 0 for an image of fewer than 3 rows or columns. Fine texture
        is taken for noise.

    Notes
    -----
    ``sqrt(π/2) / 6 · mean |I * N|`` over the inner pixels, N the 3×3 difference of two Laplacians.
    Immerkær 1996, doi:10.1006/cviu.1996.0060.
    """
    if not is_measurable(gray) or min(gray.shape) < 3:
        return 0.0
    image, depth = _for_filters(gray)
    response = cv2.sepFilter2D(image, depth, _SECOND_DIFFERENCE, _SECOND_DIFFERENCE)
    inner = response[1:-1, 1:-1]
    return float(np.sqrt(np.pi / 2) / 6 * _sum_abs(inner) / inner.size)


def mean_luma(gray: Gray) -> float:
    """Return the mean gray level, 0 to 255."""
    return float(cv2.sumElems(gray)[0]) / gray.size if is_measurable(gray) else 0.0


def clipped_shares(gray: Gray) -> tuple[float, float]:
    """Return the shares of the pixels at 0 or below, and at 255 or above, each in [0, 1]."""
    if not is_measurable(gray):
        return 0.0, 0.0
    low, high = (int(np.count_nonzero(clipped)) for clipped in (gray <= 0, gray >= 255))
    return low / gray.size, high / gray.size


def is_measurable(gray: Gray) -> bool:
    """Return whether an array has pixels, and each is a finite number."""
    return gray.size > 0 and (gray.dtype == np.uint8 or bool(np.isfinite(gray).all()))


def compensate(sharpness: float, noise: float) -> float:
    """Return Tenengrad less what noise of standard deviation `noise` adds to it."""
    return max(0.0, sharpness - _NOISE_IN_TENENGRAD * noise**2)


def _for_filters(gray: Gray) -> tuple[Gray, int]:
    """Return an image as OpenCV takes it, and the type of results without rounding."""
    if gray.dtype == np.uint8:
        return gray, cv2.CV_16S
    return gray.astype(np.float64), cv2.CV_64F


def _norm(a: Gray, b: Gray, kind: int) -> float:
    return float(cv2.norm(a, b, kind)) if a.size else 0.0


def _sum_abs(values: Gray) -> float:
    return float(cv2.norm(values, cv2.NORM_L1)) if values.size else 0.0


def _sum_squares(values: Gray) -> float:
    return float(cv2.norm(values, cv2.NORM_L2SQR)) if values.size else 0.0


@cache
def _windowed_waves(side: int) -> tuple[Gray, npt.NDArray[np.float64]]:
    """Return the real Fourier basis under a Hann window, a wave a row, and its frequencies.

    Orthonormal, so that the squares of its products are the energies of a Fourier transform; a
    multiplication by it is as fast, for a side of 64, and needs no other library.
    """
    positions = np.arange(side)
    window = np.sin(np.pi * (positions + 1) / (side + 1)) ** 2
    waves, frequencies = [], []
    for cycles in range(side // 2 + 1):
        phase = 2 * np.pi * cycles * positions / side
        single = cycles in {0, side / 2}  # their sines are 0
        for wave in (np.cos(phase),) if single else (np.cos(phase), np.sin(phase)):
            waves.append(window * wave * math.sqrt((1 if single else 2) / side))
            frequencies.append(cycles / side)
    return np.array(waves), np.array(frequencies)


def _strips_of_tiles(gray: Gray, height: int, width: int) -> Iterator[Gray]:
    """Yield strips of `height` rows, of whole tiles; what is left over is cut off evenly."""
    down, across = gray.shape[0] // height, gray.shape[1] // width
    top, left = (gray.shape[0] - down * height) // 2, (gray.shape[1] - across * width) // 2
    for first in range(top, top + down * height, height):
        yield gray[first : first + height, left : left + across * width]
