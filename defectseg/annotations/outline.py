"""The records of labels that are no ellipses: polygons, and masks of single pixels."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Polygon:
    """A closed polygon; its inside is the defect.

    Attributes
    ----------
    vertices_xy : tuple of (float, float)
        At least 3 corners, the last joined with the first. As in `Ellipse`: column and row, in
        pixels, **1-based**, so that the pixel in the upper left has its centre at (1, 1).
    source, labels
        As in `Ellipse`.
    """

    vertices_xy: tuple[tuple[float, float], ...]
    source: str = field(default="", compare=False)
    labels: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class PixelMask:
    """A defect that was painted pixel by pixel.

    Attributes
    ----------
    run_lengths : tuple of int
        As in COCO: how many pixels are not of the defect, how many are, how many are not, and so
        on, down the columns from the upper left. They make up the whole image.
    shape_hw : tuple of int
        Height and width of the whole image.
    source, labels
        As in `Ellipse`.
    """

    run_lengths: tuple[int, ...]
    shape_hw: tuple[int, int]
    source: str = field(default="", compare=False)
    labels: tuple[str, ...] = field(default=(), compare=False)


def make_pixel_mask(
    part: npt.NDArray[Any],
    left: int,
    top: int,
    shape_hw: tuple[int, int],
    source: str = "",
    labels: tuple[str, ...] = (),
) -> PixelMask:
    """Return the record of a mask of which only a part is given; the rest is not of the defect.

    Parameters
    ----------
    part : ndarray of shape (h, w)
        Not 0 on the defect.
    left, top : int
        Where the part begins, 0-based.
    shape_hw : tuple of int
        Of the whole image, which the part lies in.
    source, labels
        As in `Ellipse`.
    """
    height, width = shape_hw
    band = np.zeros((height, part.shape[1]), np.bool_)
    band[top : top + part.shape[0]] = part
    pixels = band.ravel(order="F")
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs = np.diff(changes, prepend=0, append=pixels.size).tolist()
    if pixels.size and pixels[0]:
        runs.insert(0, 0)
    runs[0] += left * height
    after = (width - left - part.shape[1]) * height
    if len(runs) % 2:
        runs[-1] += after
    elif after:
        runs.append(after)
    return PixelMask(tuple(runs), shape_hw, source, labels)
