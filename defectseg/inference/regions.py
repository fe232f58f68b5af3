"""From a probability map to scored defect regions."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.special import expit

from defectseg.annotations.ellipse import Ellipse
from defectseg.dataset.masks import ellipse_pixels

Indices = npt.NDArray[np.int64]

# Close together where networks are sure, at both ends.
_LEVELS = expit(np.linspace(-6, 10, 41)).astype(np.float32)


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
        The highest of `area_scores` within the region, in [0, 1].
    """

    area_px: int
    bbox_xywh: tuple[int, int, int, int]
    centroid_xy: tuple[float, float]
    semi_major: float
    semi_minor: float
    angle: float
    score: float


def area_scores(probability: npt.NDArray[np.float32], area_px: int) -> npt.NDArray[np.float32]:
    """Return how strong and how large the defect is that each pixel belongs to.

    It is the highest product of a probability and of the share of `area_px` that is connected to
    the pixel at this probability or above. A hot pixel scores next to nothing, and a thin crack as
    much as a round hole of its area: attribute filters of connected sets (area opening, Vincent
    1993, https://doi.org/10.1007/978-3-662-03039-4_13), but for those a little too small, which
    score a little less instead of nothing.

    Parameters
    ----------
    probability : ndarray of shape (H, W), float32
        In [0, 1].
    area_px : int
        Size from which a set counts fully; pixels touch by side or corner.

    Returns
    -------
    ndarray of shape (H, W), float32
        In [0, 1), in steps; NaN where the probability is.
    """
    area_px = min(area_px, probability.size)
    scores = np.where(np.isnan(probability), probability, np.float32(0))
    # Most of an image is sure to be good: only the rest costs time.
    left, top, width, height = cv2.boundingRect((probability >= _LEVELS[0]).astype(np.uint8))
    window = np.s_[top : top + height, left : left + width]
    for level in _LEVELS:
        above = probability[window] >= level
        if not above.any():
            break
        labels, stats = _connected_sets(above)
        by_label = level * np.minimum(stats[:, cv2.CC_STAT_AREA] / np.float32(area_px), 1)
        by_label[0] = 0
        np.maximum(scores[window], by_label.astype(np.float32)[labels], out=scores[window])
    return scores


def _connected_sets(
    chosen: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return the set each pixel is in, 0 for none, and OpenCV's five numbers of each."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(chosen.astype(np.uint8), connectivity=8)
    return np.asarray(labels, np.int32), np.asarray(stats, np.int32)


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
        Of `area_scores`.
    pixel_threshold : float
        A pixel belongs to a region from this probability on; neighbours touch by side or corner.
    least_score : float
        Regions of a lower score are dropped. If none is left, but a fainter set of pixels scores
        as much, that set is the region: no image is suspect without a place to look at.
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
    candidates = probability >= pixel_threshold
    strongest = np.nanmax(scores, initial=0)
    if 0 < strongest >= least_score and not (scores[candidates] >= least_score).any():
        candidates = scores == strongest
    labels, stats = _connected_sets(candidates)
    mask = np.zeros(probability.shape, np.uint8)
    regions = []
    for label, (left, top, width, height, _) in enumerate(stats[1:], start=1):
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
