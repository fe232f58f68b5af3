"""Large images in tiles, so that memory does not grow with the image."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

TILE_PX = 2048
MARGIN_PX = 128


def fits_one_tile(image: npt.NDArray[np.uint8]) -> bool:
    """Tell whether an image of ``(H, W, …)`` is computed as a whole."""
    height, width = image.shape[:2]
    return bool(max(height, width) <= TILE_PX + 2 * MARGIN_PX)


def map_tiles(
    run: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]],
    image: npt.NDArray[np.uint8],
) -> npt.NDArray[np.float32]:
    """Apply a function to an image, tile by tile if it does not fit one.

    Parameters
    ----------
    run : callable
        Takes ``(h, w, …)`` uint8, returns ``(h, w)`` float32.
    image : ndarray of shape (H, W, …), uint8

    Returns
    -------
    ndarray of shape (H, W), float32
        Each tile is computed with a margin of `MARGIN_PX` around it, which is then cut away: a
        network answers worse along a border.
    """
    height, width = image.shape[:2]
    if fits_one_tile(image):
        return run(image)
    result = np.empty((height, width), np.float32)
    for rows, outer_rows in _spans(height):
        for columns, outer_columns in _spans(width):
            tile = run(image[outer_rows, outer_columns])
            inner_rows = _shift(rows, -outer_rows.start)
            inner_columns = _shift(columns, -outer_columns.start)
            result[rows, columns] = tile[inner_rows, inner_columns]
    return result


def _spans(length: int) -> Iterator[tuple[slice, slice]]:
    """Yield equal spans of at most `TILE_PX` that cover a length, each also with its margin."""
    count = -(-length // TILE_PX)
    edges = [round(i * length / count) for i in range(count + 1)]
    for start, stop in pairwise(edges):
        outer = slice(max(0, start - MARGIN_PX), min(length, stop + MARGIN_PX))
        yield slice(start, stop), outer


def _shift(span: slice, by: int) -> slice:
    return slice(span.start + by, span.stop + by)
