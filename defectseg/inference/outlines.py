"""From the pixels of a mask to polygons around its regions."""

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_fill_holes
from skimage import draw, measure

from defectseg.annotations.outline import Polygon

# How far a corner may lie from the straight line that replaces it, in pixels; the last takes away
# only what lies on the line itself.
_TOLERANCES_PX = (0.5, 0.35, 0.2, 1e-6)


def trace_outlines(
    mask: npt.NDArray[np.uint8], label: str
) -> tuple[list[Polygon], npt.NDArray[np.int32]]:
    """Return a polygon around each connected region of a mask.

    Parameters
    ----------
    mask : ndarray of shape (H, W), uint8
        1 on the regions, whose pixels touch by side or corner.
    label : str
        Of each polygon.

    Returns
    -------
    polygons : list of Polygon
        Each lies within the image. Rasterised, it gives its region exactly, with holes filled, by
        as few corners as were found to do so.
    regions : ndarray of shape (H, W), int32
        Whose polygon a pixel belongs to, counted from 1; 0 outside. A hole is outside.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    polygons = []
    for number in range(1, count):
        left, top, width, height = (int(value) for value in stats[number, :4])
        pixels = labels[top : top + height, left : left + width] == number
        corners_rc = _trace(binary_fill_holes(pixels))
        vertices = tuple((float(c + left + 1), float(r + top + 1)) for r, c in corners_rc)
        polygons.append(Polygon(vertices, labels=(label,)))
    return polygons, np.asarray(labels, np.int32)


def _trace(pixels: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the corners, 0-based rows and columns, of a polygon around a region without holes."""
    # It runs halfway between the centres of pixels inside and outside.
    (outline,) = measure.find_contours(np.pad(pixels, 1).astype(float), 0.5, fully_connected="high")
    outline -= 1
    for tolerance in _TOLERANCES_PX:
        corners = measure.approximate_polygon(outline, tolerance)[:-1]
        rows, columns = draw.polygon(corners[:, 0], corners[:, 1], pixels.shape)
        if len(rows) == pixels.sum() and pixels[rows, columns].all():
            break
    return np.asarray(corners, np.float64)
