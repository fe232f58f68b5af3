"""Images in windows: large ones, so that memory does not grow with the image, or all alike."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# In squares of the network's grid. What a window does not see beyond its border changes its answer
# up to some five of them inside, for U-Nets with a ResNet: so much of each window counts nothing.
_OVERLAP = 12
_PASSAGE = 6  # the part of an overlap, in its middle, where one answer passes into the other


@dataclass(frozen=True)
class _Span:
    """What a window sees along one axis, and how much its answer counts there."""

    seen: slice
    weights: npt.NDArray[np.float32]

    def at(self, scale: int) -> slice:
        """Return what it sees in a picture that is coarser by `scale`."""
        return slice(self.seen.start // scale, self.seen.stop // scale)


def map_windows(
    run: Callable[[Sequence[npt.NDArray[np.uint8]]], Iterable[npt.NDArray[np.float32]]],
    image: npt.NDArray[np.uint8],
    window_px: int,
    multiple: int,
) -> npt.NDArray[np.float32]:
    """Answer an image window by window, and blend the answers.

    Parameters
    ----------
    run : callable
        Takes windows of one size, ``(h, w, …)`` uint8; returns ``(h / s, w / s)`` float32 of
        each, in their order; s divides `multiple`.
    image : ndarray of shape (H, W, …), uint8
        H and W multiples of `multiple`.
    window_px : int
        Side of the windows, in pixels, a multiple of `multiple`; shorter only where the image is.
    multiple : int
        Side of the squares of the network's grid. Windows begin on it, since an answer depends on
        where the grid lies.

    Returns
    -------
    ndarray of shape (H / s, W / s), float32
        Windows overlap by 12 squares, or by half of themselves if that is less. In the middle of
        an overlap one answer passes into the other; nearer to its border a window is not heard,
        for a network answers worse there.
    """
    height, width = image.shape[:2]
    windows = [
        (rows, columns)
        for rows in _plan_spans(height, window_px, multiple)
        for columns in _plan_spans(width, window_px, multiple)
    ]
    answers = iter(run([image[rows.seen, columns.seen] for rows, columns in windows]))
    first = next(answers)
    if len(windows) == 1:
        return first
    scale = len(windows[0][0].weights) // len(first)
    total = np.zeros((height // scale, width // scale), np.float32)
    for (rows, columns), answer in zip(windows, itertools.chain([first], answers), strict=True):
        weights = rows.weights[::scale, None] * columns.weights[::scale]
        total[rows.at(scale), columns.at(scale)] += answer * weights
    return total


def _plan_spans(length: int, window: int, multiple: int) -> list[_Span]:
    """Return the windows along an axis, spread evenly from end to end."""
    window = min(window, length)
    overlap = min(_OVERLAP * multiple, window // 2 // multiple * multiple)
    count = 1 + -(-(length - window) // (window - overlap))
    steps = max(1, count - 1)
    starts = [i * ((length - window) // multiple) // steps * multiple for i in range(count)]
    spans = []
    for i, start in enumerate(starts):
        weights = np.ones(window, np.float32)
        if i > 0:
            shared = starts[i - 1] + window - start
            weights[:shared] *= _passage(shared)
        if i < count - 1:
            shared = start + window - starts[i + 1]
            weights[window - shared :] *= 1 - _passage(shared)
        spans.append(_Span(slice(start, start + window), weights))
    return spans


def _passage(length: int) -> npt.NDArray[np.float32]:
    """Return weights from 0 to 1, that pass in the middle; reversed they add up to 1."""
    middle = (np.arange(length) - (length - 1) / 2) / max(1, length // _PASSAGE)
    return np.clip(middle + 0.5, 0, 1).astype(np.float32)
