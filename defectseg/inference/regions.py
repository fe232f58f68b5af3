"""From a probability map to scored defect regions."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from defectseg.annotations.ellipse import Ellipse
from defectseg.dataset.masks import ellipse_pixels

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Region:
    """A connected set of defect pixels.

    Attributes
    ----------
    area_px : int
    bbox_xywh : tuple of int
        Left, top, width, height, in pixels, 0-based.
    centroid_xy : tuple of float
        Column, row, in pixels, 0-based.
    semi_major, semi_minor : float
        Half-axes, in pixels, of the ellipse with the region's second moments.
    angle : float
        Of the longer axis, in radians, clockwise on the screen, in (−π/2, π/2].
    score : float
        Highest windowed mean of the probability within the region, in [0, 1].
    """

    area_px: int
    bbox_xywh: tuple[int, int, int, int]
    centroid_xy: tuple[float, float]
    semi_major: float
    semi_minor: float
    angle: float
    score: float


def windowed_score(probability: npt.NDArray[np.float32], window_px: int) -> npt.NDArray[np.float32]:
    """Return the mean of the probability over the square around each pixel.

    A single hot pixel barely raises it; a region as large as the square raises it fully.

    Parameters
    ----------
    probability : ndarray of shape (H, W), float32
        In [0, 1].
    window_px : int
        Side of the square, in pixels. Beyond the border the map is reflected.

    Returns
    -------
    ndarray of shape (H, W), float32
        In [0, 1].
    """
    size = (min(window_px, probability.shape[1]), min(window_px, probability.shape[0]))
    means = cv2.blur(probability, size, borderType=cv2.BORDER_REFLECT)
    return np.asarray(np.clip(means, 0, 1), np.float32)


def find_regions(
    probability: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    *,
    pixel_threshold: float,
    least_score: float,
    as_ellipses: bool = False,
) -> tuple[list[Region], npt.NDArray[np.uint8]]:
    """Find the connected regions of a probability map, strongest first.

    Parameters
    ----------
    probability : ndarray of shape (H, W), float32
        In [0, 1].
    scores : ndarray of shape (H, W), float32
        Of `windowed_score`.
    pixel_threshold : float
        A pixel belongs to a region from this probability on; neighbours touch by side or corner.
    least_score : float
        Regions of a lower score are dropped.
    as_ellipses : bool
        Give each region that lies within the image the form of the ellipse with its area's
        moments: where labels are ellipses, so is the best answer. One that the border cuts stays
        as it is.

    Returns
    -------
    regions : list of Region
    mask : ndarray of shape (H, W), uint8
        1 on the regions that are kept.
    """
    candidates = (probability >= pixel_threshold).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(candidates, connectivity=8)
    mask = np.zeros_like(candidates)
    regions = []
    for label in range(1, count):
        left, top, width, height, _ = stats[label]
        window = np.s_[top : top + height, left : left + width]
        own = labels[window] == label
        score = float(scores[window][own].max())
        if score < least_score:
            continue
        rows, columns = np.nonzero(own)
        rows, columns = rows + top, columns + left
        if as_ellipses and _lies_within(rows, columns, mask.shape):
            rows, columns = _as_ellipse(rows, columns, mask.shape)
        mask[rows, columns] = 1
        regions.append(_describe(rows, columns, score))
    return sorted(regions, key=lambda region: -region.score), mask


def _lies_within(rows: Indices, columns: Indices, shape_hw: tuple[int, ...]) -> bool:
    bottom, right = shape_hw[0] - 1, shape_hw[1] - 1
    return bool(
        rows.min() > 0 and columns.min() > 0 and rows.max() < bottom and columns.max() < right
    )


def _as_ellipse(
    rows: Indices, columns: Indices, shape_hw: tuple[int, ...]
) -> tuple[Indices, Indices]:
    semi_major, semi_minor, angle = _moments_ellipse(rows, columns)
    ellipse = Ellipse(semi_major, semi_minor, angle, columns.mean() + 1, rows.mean() + 1)
    drawn_rows, drawn_columns = ellipse_pixels(ellipse, (shape_hw[0], shape_hw[1]))
    # An ellipse thinner than a pixel may miss them all.
    return (drawn_rows, drawn_columns) if drawn_rows.size else (rows, columns)


def _describe(rows: Indices, columns: Indices, score: float) -> Region:
    left, top = int(columns.min()), int(rows.min())
    semi_major, semi_minor, angle = _moments_ellipse(rows, columns)
    return Region(
        area_px=rows.size,
        bbox_xywh=(left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top),
        centroid_xy=(float(columns.mean()), float(rows.mean())),
        semi_major=semi_major,
        semi_minor=semi_minor,
        angle=angle,
        score=score,
    )


def _moments_ellipse(rows: Indices, columns: Indices) -> tuple[float, float, float]:
    """Return half-axes and angle of the ellipse with the same second moments.

    Along an axis of half-length a, a filled ellipse has the variance a²/4; a pixel is a square of
    variance 1/12.
    """
    x, y = columns - columns.mean(), rows - rows.mean()
    xx, yy, xy = x @ x / x.size + 1 / 12, y @ y / x.size + 1 / 12, x @ y / x.size
    # The eigenvalues and the first eigenvector of [[xx, xy], [xy, yy]].
    middle, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    angle = np.arctan2(2 * xy, xx - yy) / 2
    return float(2 * np.sqrt(middle + half)), float(2 * np.sqrt(middle - half)), float(angle)
