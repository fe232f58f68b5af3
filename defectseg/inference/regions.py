"""From a probability map to scored defect regions."""

import bisect
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from defectseg.annotations.ellipse import Ellipse
from defectseg.dataset.masks import ellipse_pixels

Indices = npt.NDArray[np.int64]

# Close together where networks are sure, at both ends.
_LEVELS: npt.NDArray[np.float32] = (1 / (1 + np.exp(-np.linspace(-6, 10, 41)))).astype(np.float32)
# How much a score may be below the highest product: what faint noise scores exactly, nobody needs.
_SCORE_TOLERANCE = 0.001
_PIXELS_AT_ONCE = 1 << 20  # for the memory's sake


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
        The highest among the sets of `image_score` that it shares a pixel with, in [0, 1).
    """

    area_px: int
    bbox_xywh: tuple[int, int, int, int]
    centroid_xy: tuple[float, float]
    semi_major: float
    semi_minor: float
    angle: float
    score: float


def image_score(probability: npt.NDArray[np.float32], area_px: int) -> float:
    """Return how strong and how large the strongest defect of an image is.

    It is the highest product of a probability and of the share of `area_px` that is connected at
    this probability or above. A hot pixel scores next to nothing, and a thin crack as much as a
    round hole of its area: attribute filters of connected sets (area opening, Vincent 1993,
    https://doi.org/10.1007/978-3-662-03039-4_13), but for those a little too small, which score a
    little less instead of nothing.

    Parameters
    ----------
    probability : ndarray of shape (H, W), float32
        In [0, 1].
    area_px : int
        Size from which a set counts fully; pixels touch by side or corner.

    Returns
    -------
    float
        In [0, 1), in steps, and at most 0.001 below that product; NaN where a probability is.
    """
    return _find_strongest(probability, area_px)[0]


@dataclass(frozen=True)
class _Sets:
    """The connected sets of the pixels at a level or above, within the window that holds them."""

    level: float
    window: tuple[slice, slice]
    labels: npt.NDArray[np.int32]
    areas: npt.NDArray[np.int32]

    def scores(self, area_px: int) -> npt.NDArray[np.float64]:
        """Return the score of each set by its label; 0 of what is in none."""
        scores = self.level * np.minimum(self.areas / area_px, 1)
        scores[0] = 0
        return scores


def _sets_at(level: np.float32, probability: npt.NDArray[np.float32]) -> _Sets:
    above = (probability >= level).view(np.uint8)
    left, top, width, height = cv2.boundingRect(above)
    window = np.s_[top : top + height, left : left + width]
    labels, stats = _connected_sets(above[window])
    return _Sets(float(level), window, labels, stats[:, cv2.CC_STAT_AREA])


def _reached_levels(probability: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the levels that a pixel reaches, the highest first."""
    highest = np.fmax.reduce(probability, axis=None)  # whatever is NaN beside it
    reached: npt.NDArray[np.float32] = _LEVELS[highest >= _LEVELS]
    return reached[::-1]


def _find_strongest(probability: npt.NDArray[np.float32], area_px: int) -> tuple[float, np.float32]:
    """Return the score of an image, and the level of the set, or sets, that have it."""
    area_px = min(area_px, probability.size)
    best, best_level = 0.0, _LEVELS[0]
    if np.isnan(probability.max()):
        return float("nan"), best_level
    # No set scores more than all pixels of its level would together, nor more than the level:
    # most levels need no labels, and the low ones are not even counted.
    levels = list(_reached_levels(probability))
    bounds: list[tuple[float, np.float32]] = []
    while levels or bounds:
        if levels and (not bounds or float(levels[0]) > bounds[-1][0]):
            level = levels.pop(0)
            count = np.count_nonzero(probability >= level)
            bisect.insort(bounds, (float(level) * min(count / area_px, 1), level))
            continue
        bound, level = bounds.pop()
        if bound <= best + _SCORE_TOLERANCE:
            break
        score = float(_sets_at(level, probability).scores(area_px).max())
        if score > best:
            best, best_level = score, level
    return best, best_level


def _strongest_pixels(
    probability: npt.NDArray[np.float32], area_px: int, score: float, level: np.float32
) -> npt.NDArray[np.uint8]:
    """Return 1 on the sets of `_find_strongest`."""
    sets = _sets_at(level, probability)
    pixels = np.zeros(probability.shape, np.uint8)
    chosen = sets.scores(min(area_px, probability.size)) == score
    pixels[sets.window] = chosen[sets.labels]
    return pixels


def _connected_sets(
    chosen: npt.NDArray[np.uint8],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return the set each pixel is in, 0 for none, and OpenCV's five numbers of each."""
    # By blocks of 2×2 pixels: OpenCV's default takes four times as long to measure the sets.
    _, labels, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(
        chosen, 8, cv2.CV_32S, cv2.CCL_GRANA
    )
    return np.asarray(labels, np.int32), np.asarray(stats, np.int32)


def find_regions(
    probability: npt.NDArray[np.float32],
    area_px: int,
    *,
    pixel_threshold: float,
    least_score: float,
    as_ellipses: bool = False,
) -> tuple[float, list[Region], npt.NDArray[np.uint8]]:
    """Find the connected regions of a probability map, strongest first.

    Parameters
    ----------
    probability : ndarray of shape (H, W), float32
        In [0, 1].
    area_px : int
        As in `image_score`.
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
    score : float
        The image's; see `image_score`.
    regions : list of Region
    mask : ndarray of shape (H, W), uint8
        1 on the regions that are kept.
    """
    score, level = _find_strongest(probability, area_px)
    mask = np.zeros(probability.shape, np.uint8)
    regions: list[Region] = []
    if score < least_score:
        return score, regions, mask
    found = _list_sets((probability >= pixel_threshold).view(np.uint8))
    scores = _score_regions(probability, found, area_px, least_score)
    if score > 0 and not (scores >= least_score).any():
        found = _list_sets(_strongest_pixels(probability, area_px, score, level))
        scores = np.full(found.count, score)
    width = int(probability.shape[1])
    for label in map(int, np.flatnonzero(scores >= least_score)):
        rows, columns = np.divmod(found.pixels_of(label), width)
        if as_ellipses and _lies_within(rows, columns, mask.shape):
            rows, columns = _as_ellipse(rows, columns, mask.shape)
        mask[rows, columns] = 1
        regions.append(_describe(rows, columns, float(scores[label])))
    return score, sorted(regions, key=lambda region: -region.score), mask


@dataclass(frozen=True)
class _PixelList:
    """The pixels of connected sets, set by set, by their place in the flattened image.

    Of a large image an array of labels would be most of the memory.
    """

    pixels: Indices
    owner: npt.NDArray[np.int32]
    count: int

    def pixels_of(self, label: int) -> Indices:
        first, last = np.searchsorted(self.owner, [label, label + 1])
        return self.pixels[first:last]


def _list_sets(chosen: npt.NDArray[np.uint8]) -> _PixelList:
    labels, stats = _connected_sets(chosen)
    pixels = np.flatnonzero(chosen)
    owner = labels.ravel()[pixels] - 1
    order = np.argsort(owner, kind="stable")
    return _PixelList(pixels[order], owner[order], len(stats) - 1)


def _score_regions(
    probability: npt.NDArray[np.float32], regions: _PixelList, area_px: int, least_score: float
) -> npt.NDArray[np.float64]:
    """Return the score of each region: the highest among the sets it shares a pixel with.

    One that stays below `least_score` may come out lower than it is.
    """
    scores = np.full(regions.count, -np.inf)
    area_px = min(area_px, probability.size)
    for level in _reached_levels(probability):
        if level < least_score or level <= scores.min(initial=1):
            break
        sets = _sets_at(level, probability)
        by_label = sets.scores(area_px)
        down, across = sets.window
        for first in range(0, len(regions.pixels), _PIXELS_AT_ONCE):
            part = slice(first, first + _PIXELS_AT_ONCE)
            rows, columns = np.divmod(regions.pixels[part], probability.shape[1])
            inside = (
                (rows >= down.start)
                & (rows < down.stop)
                & (columns >= across.start)
                & (columns < across.stop)
            )
            own = sets.labels[rows[inside] - down.start, columns[inside] - across.start]
            np.maximum.at(scores, regions.owner[part][inside], by_label[own])
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
