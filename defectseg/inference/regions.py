"""From a probability map to scored defect regions."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt


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

    Returns
    -------
    regions : list of Region
    mask : ndarray of shape (H, W), uint8
        1 on the regions that are kept.
    """
    candidates = (probability >= pixel_threshold).astype(np.uint8)
    count, labels, stats, centroids = cv2.connectedComponentsWithStats(candidates, connectivity=8)
    mask = np.zeros_like(candidates)
    regions = []
    for label in range(1, count):
        left, top, width, height, area = (int(value) for value in stats[label])
        window = np.s_[top : top + height, left : left + width]
        own = labels[window] == label
        score = float(scores[window][own].max())
        if score < least_score:
            continue
        mask[window][own] = 1
        semi_major, semi_minor, angle = _moments_ellipse(own)
        region = Region(
            area_px=area,
            bbox_xywh=(left, top, width, height),
            centroid_xy=(float(centroids[label][0]), float(centroids[label][1])),
            semi_major=semi_major,
            semi_minor=semi_minor,
            angle=angle,
            score=score,
        )
        regions.append(region)
    return sorted(regions, key=lambda region: -region.score), mask


def _moments_ellipse(own: npt.NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return half-axes and angle of the ellipse with the same second moments.

    Along an axis of half-length a, a filled ellipse has the variance a²/4; a pixel is a square of
    variance 1/12.
    """
    rows, columns = np.nonzero(own)
    x, y = columns - columns.mean(), rows - rows.mean()
    xx, yy, xy = x @ x / x.size + 1 / 12, y @ y / x.size + 1 / 12, x @ y / x.size
    # The eigenvalues and the first eigenvector of [[xx, xy], [xy, yy]].
    middle, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    angle = np.arctan2(2 * xy, xx - yy) / 2
    return float(2 * np.sqrt(middle + half)), float(2 * np.sqrt(middle - half)), float(angle)
