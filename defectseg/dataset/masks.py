"""Ellipses and other drawn shapes to masks."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from skimage import draw

from defectseg.annotations.ellipse import Ellipse
from defectseg.annotations.labels import Shape
from defectseg.annotations.outline import PixelMask, Polygon


def wrap_angle(angle: float) -> float:
    """Return the angle, in radians, wrapped into [-π, π)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def rasterise(shapes: Iterable[Shape], shape_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Draw ellipses, polygons and masks of single pixels into a mask.

    Parameters
    ----------
    shapes : iterable of Ellipse, Polygon or PixelMask
        What lies beyond the border is cut off. A pixel belongs to a polygon if its centre lies
        inside.
    shape_hw : tuple of int
        Height and width of the mask, in pixels.

    Returns
    -------
    ndarray of shape (H, W), uint8
        1 on the defects, 0 elsewhere.

    Notes
    -----
    With ellipses it reproduces the official DAGM 2007 masks pixel for pixel (Wieler & Hahn,
    2007). Two things matter: the centre is 1-based, and ``skimage.draw.ellipse`` turns
    counter-clockwise, against the labels.
    """
    mask = np.zeros(shape_hw, np.uint8)
    for shape in shapes:
        if isinstance(shape, Ellipse):
            mask[ellipse_pixels(shape, shape_hw)] = 1
        elif isinstance(shape, Polygon):
            columns, rows = np.transpose(shape.vertices_xy) - 1
            mask[draw.polygon(rows, columns, shape_hw)] = 1
        else:
            mask |= _decode(shape)
    return mask


def _decode(painted: PixelMask) -> npt.NDArray[np.uint8]:
    values = (np.arange(len(painted.run_lengths)) % 2).astype(np.uint8)
    return np.repeat(values, painted.run_lengths).reshape(painted.shape_hw, order="F")


def ellipse_pixels(
    ellipse: Ellipse, shape_hw: tuple[int, int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the rows and columns of an ellipse's pixels; see `rasterise`."""
    with np.errstate(over="ignore"):  # far from an axis of next to nothing: infinitely far
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
