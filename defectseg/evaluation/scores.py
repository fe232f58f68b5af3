"""Scores of predicted masks against their labels, from counted pixels."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PixelCounts:
    """How many defect pixels two masks have, and how many of them in common.

    Counts of several images may be added, for scores over all their pixels.
    """

    overlap: int
    true: int
    predicted: int

    def __add__(self, other: "PixelCounts") -> "PixelCounts":
        return PixelCounts(
            self.overlap + other.overlap, self.true + other.true, self.predicted + other.predicted
        )


def count_pixels(true: Mask, predicted: Mask) -> PixelCounts:
    """Count the defect pixels of a label and an answer.

    Parameters
    ----------
    true, predicted : ndarrays of shape (H, W), uint8, 0 or 1

    Raises
    ------
    ValueError
        If the shapes differ, or a mask holds other values than 0 and 1: a mask of 0 and 255, as it
        is stored, would silently score 0.
    """
    _check(true, predicted)
    return PixelCounts(*(int(np.count_nonzero(m)) for m in (true & predicted, true, predicted)))


def iou(counts: PixelCounts) -> float:
    """Return intersection over union, in [0, 1].

    Raises
    ------
    ValueError
        If the label has no defect: over good images an IoU says nothing, and calling it 1
        flatters.
    """
    _check_defect(counts)
    return counts.overlap / (counts.true + counts.predicted - counts.overlap)


def dice(counts: PixelCounts) -> float:
    """Return twice the overlap over the sum of both areas, in [0, 1]; raises as `iou`."""
    _check_defect(counts)
    return 2 * counts.overlap / (counts.true + counts.predicted)


def count_hits(true: Mask, predicted: Mask) -> tuple[int, int]:
    """Return how many connected defects the predicted mask touches, and how many there are.

    Masks as in `count_pixels`.
    """
    _check(true, predicted)
    count, labels = cv2.connectedComponents(true, connectivity=8)
    touched = np.unique(labels[predicted > 0])
    return int(np.count_nonzero(touched)), count - 1


def _check(true: Mask, predicted: Mask) -> None:
    if true.shape != predicted.shape or true.ndim != 2:
        raise ValueError(
            f"Expected two masks of one shape (H, W). Received {true.shape} and {predicted.shape}."
        )
    for name, mask in (("true", true), ("predicted", predicted)):
        if mask.dtype != np.uint8 or mask.max(initial=0) > 1:
            raise ValueError(
                f"Expected {name} to be uint8, 0 or 1. Received {mask.dtype} up to "
                f"{mask.max(initial=0)}; divide a stored mask of 0 and 255, or read it with "
                "image_io.read_mask."
            )


def _check_defect(counts: PixelCounts) -> None:
    if not counts.true:
        raise ValueError("Expected a label with a defect. Received an empty one.")
