"""From a probability map to scored defect regions.

A score tells how strong a defect is that is large enough to be one: the highest probability that
a connected set of so many pixels reaches everywhere. It is the maximum of the map's area opening
(Vincent 1993, https://doi.org/10.1007/978-94-011-1793-7_9): a hot pixel does not raise it, and a
thin crack counts as much as a round hole of the same area.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from defectseg.annotations.ellipse import Ellipse
from defectseg.dataset.masks import ellipse_pixels

Indices = npt.NDArray[np.int64]

_GROWTH_LEVELS = 16


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
        Of `area_score` within the region, in [0, 1]. A region smaller than that area scores the
        probability, in steps, down to which it must grow to be as large.
    """

    area_px: int
    bbox_xywh: tuple[int, int, int, int]
    centroid_xy: tuple[float, float]
    semi_major: float
    semi_minor: float
    angle: float
    score: float


def area_score(probability: npt.NDArray[np.float32], area_px: int) -> float:
    """Return the highest probability that a connected set of pixels reaches everywhere.

    Parameters
    ----------
    probability : ndarray of shape (H, W), float32
        In [0, 1].
    area_px : int
        Size of the set, in pixels that touch by side or corner; of a smaller map, the whole.

    Returns
    -------
    float
        In [0, 1]; NaN if the map holds one.
    """
    if np.isnan(probability).any():
        return math.nan
    area_px = min(area_px, probability.size)
    # Nothing below the best square counts: a square as large is such a set.
    side = math.ceil(math.sqrt(area_px))
    square = np.ones((side, side), np.uint8)
    squares = cv2.erode(probability, square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    rows, columns = np.nonzero(probability >= squares.max())
    part = probability[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    levels = np.unique(part[part >= squares.max()])

    def is_too_high(level: np.float32) -> bool:
        _, stats = _connected_sets(part >= level)
        return bool(stats[1:, cv2.CC_STAT_AREA].max() < area_px)

    return float(levels[bisect_left(levels, True, key=is_too_high) - 1])


def _connected_sets(
    chosen: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return the set each pixel is in, 0 for none, and OpenCV's five numbers of each."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(chosen.astype(np.uint8), connectivity=8)
    return np.asarray(labels, np.int32), np.asarray(stats, np.int32)


def find_regions(
    probability: npt.NDArray[np.float32],
    *,
    area_px: int,
    pixel_threshold: float,
    least_score: float,
    as_ellipses: bool = False,
) -> tuple[list[Region], npt.NDArray[np.uint8]]:
    """Find the connected regions of a probability map, strongest first.

    Parameters
    ----------
    probability : ndarray of shape (H, W), float32
        In [0, 1].
    area_px : int
        See `area_score`.
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
    area_px = min(area_px, probability.size)
    labels, stats = _connected_sets(probability >= pixel_threshold)
    scores = np.zeros(len(stats))
    if (stats[1:, cv2.CC_STAT_AREA] < area_px).any():
        scores = _grown_scores(probability, labels, area_px, least_score, pixel_threshold)
    mask = np.zeros(probability.shape, np.uint8)
    regions = []
    for label in range(1, len(stats)):
        left, top, width, height, area = stats[label]
        window = np.s_[top : top + height, left : left + width]
        own = labels[window] == label
        score = float(scores[label])
        if area >= area_px:
            score = area_score(np.where(own, probability[window], np.float32(0)), area_px)
        if score < least_score:
            continue
        rows, columns = np.nonzero(own)
        rows, columns = rows + top, columns + left
        if as_ellipses and _lies_within(rows, columns, mask.shape):
            rows, columns = _as_ellipse(rows, columns, mask.shape)
        mask[rows, columns] = 1
        regions.append(_describe(rows, columns, score))
    return sorted(regions, key=lambda region: -region.score), mask


def _grown_scores(
    probability: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int32],
    area_px: int,
    lowest: float,
    highest: float,
) -> npt.NDArray[np.float64]:
    """Return the highest level at which each label is part of a set of that area; -inf if none."""
    scores = np.full(labels.max() + 1, -np.inf)
    for level in np.linspace(lowest, highest, _GROWTH_LEVELS):
        sets, stats = _connected_sets(probability >= level)
        large = stats[:, cv2.CC_STAT_AREA] >= area_px
        large[0] = False
        scores[labels[large[sets]]] = level
    return scores


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
