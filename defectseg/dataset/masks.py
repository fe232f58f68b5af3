"""Ellipses to masks."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from skimage import draw

from defectseg.annotations.ellipse import Ellipse


def wrap_angle(angle: float) -> float:
    """Return the angle, in radians, wrapped into [-π, π)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def rasterise_ellipses(
    ellipses: Iterable[Ellipse], shape_hw: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """Draw ellipses into a mask.

    Parameters
    ----------
    ellipses : iterable of Ellipse
        DAGM convention; see `Ellipse`. What lies beyond the border is cut off.
    shape_hw : tuple of int
        Height and width of the mask, in pixels.

    Returns
    -------
    ndarray of shape (H, W), uint8
        1 on the defects, 0 elsewhere.

    Notes
    -----
    Reproduces the official DAGM 2007 masks pixel for pixel (Wieler & Hahn, 2007). Two things
    matter: the centre is 1-based, and ``skimage.draw.ellipse`` turns counter-clockwise, against
    the labels.
    """
    mask = np.zeros(shape_hw, np.uint8)
    for ellipse in ellipses:
        mask[ellipse_pixels(ellipse, shape_hw)] = 1
    return mask


def ellipse_pixels(
    ellipse: Ellipse, shape_hw: tuple[int, int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the rows and columns of an ellipse's pixels; see `rasterise_ellipses`."""
    rows, columns = draw.ellipse(
        r=ellipse.y - 1,
        c=ellipse.x - 1,
        r_radius=ellipse.semi_minor,
        c_radius=ellipse.semi_major,
        shape=shape_hw,
        rotation=wrap_angle(-ellipse.angle),
    )
    return rows, columns


def crosses_border(ellipse: Ellipse, shape_hw: tuple[int, int]) -> bool:
    """Tell whether part of the ellipse lies beyond the image's border.

    The half-extents of a turned ellipse are ``hypot(a cos θ, b sin θ)`` across and
    ``hypot(a sin θ, b cos θ)`` down.
    """
    height, width = shape_hw
    cos, sin = np.cos(ellipse.angle), np.sin(ellipse.angle)
    reach_x = np.hypot(ellipse.semi_major * cos, ellipse.semi_minor * sin)
    reach_y = np.hypot(ellipse.semi_major * sin, ellipse.semi_minor * cos)
    column, row = ellipse.x - 1, ellipse.y - 1
    return bool(
        column - reach_x < 0
        or column + reach_x > width - 1
        or row - reach_y < 0
        or row + reach_y > height - 1
    )
