"""Images in windows: large ones, so that memory does not grow with the image, or all alike."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

_MARGIN_PX = 128


def map_windows(
    run: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]],
    image: npt.NDArray[np.uint8],
    window_px: int,
) -> npt.NDArray[np.float32]:
    """Apply a function to an image, window by window if it does not fit one.

    Parameters
    ----------
    run : callable
        Takes ``(h, w, …)`` uint8, returns ``(h, w)`` float32.
    image : ndarray of shape (H, W, …), uint8
    window_px : int
        Side of the windows, in pixels; shorter only where the image is.

    Returns
    -------
    ndarray of shape (H, W), float32
        Windows overlap by a quarter of their side on each side, or 128 pixels if that is less; of
        an overlap each window gives the half that is nearer to its middle: a network answers
        worse along a border.
    """
    height, width = image.shape[:2]
    result = np.empty((height, width), np.float32)
    for rows, outer_rows in _spans(height, window_px):
        for columns, outer_columns in _spans(width, window_px):
            answer = run(image[outer_rows, outer_columns])
            inner_rows = _shift(rows, -outer_rows.start)
            inner_columns = _shift(columns, -outer_columns.start)
            result[rows, columns] = answer[inner_rows, inner_columns]
    return result


def _spans(length: int, window: int) -> Iterator[tuple[slice, slice]]:
    """Yield what each window gives, and what it sees: spread evenly, from end to end."""
    if length <= window:
        yield slice(0, length), slice(0, length)
        return
    margin = min(_MARGIN_PX, window // 4)
    count = -(-(length - 2 * margin) // (window - 2 * margin))
    starts = [i * (length - window) // (count - 1) for i in range(count)]
    middles = [(start + window + later) // 2 for start, later in pairwise(starts)]
    for start, own in zip(starts, pairwise([0, *middles, length]), strict=True):
        yield slice(*own), slice(start, start + window)


def _shift(span: slice, by: int) -> slice:
    return slice(span.start + by, span.stop + by)
