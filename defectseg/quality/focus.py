"""Measures of an image's quality, on gray levels of 0 to 255 at native resolution."""

import cv2
import numpy as np
import numpy.typing as npt

# The difference of two Laplacians: blind to edges and slopes, it leaves the noise.
_NOISE_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float64)


def mean_gradient(gray: npt.NDArray[np.uint8]) -> float:
    """Return the mean absolute gradient, summed over both axes; it rises with focus.

    Parameters
    ----------
    gray : ndarray of shape (H, W), uint8 or float
        Gray levels, 0 to 255.

    Returns
    -------
    float
        ``mean |∂I/∂row| + mean |∂I/∂column|`` of ``numpy.gradient`` (central differences), in
        gray levels a pixel, at least 0. An axis of a single pixel has no gradient and counts 0.
        Noise raises it as well as focus does.
    """
    levels = np.asarray(gray, np.float32)
    axes = [axis for axis in (0, 1) if levels.shape[axis] > 1]
    return float(
        sum(np.mean(np.abs(np.gradient(levels, axis=axis)), dtype=np.float64) for axis in axes)
    )


def noise_sigma(gray: npt.NDArray[np.uint8]) -> float:
    """Return Immerkær's estimate of the noise's standard deviation; it rises with noise.

    Parameters
    ----------
    gray : ndarray of shape (H, W), uint8 or float
        Gray levels, 0 to 255.

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
    if min(gray.shape) < 3:
        return 0.0
    response = cv2.filter2D(np.asarray(gray, np.float32), cv2.CV_32F, _NOISE_MASK)
    inner = np.abs(response[1:-1, 1:-1])
    return float(np.sqrt(np.pi / 2) / 6 * np.mean(inner, dtype=np.float64))


def mean_luma(gray: npt.NDArray[np.uint8]) -> float:
    """Return the mean gray level, 0 to 255."""
    return float(np.mean(gray, dtype=np.float64))
