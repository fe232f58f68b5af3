"""Scores of a predicted mask against its label, from counted pixels."""

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.uint8]


def iou(true: Mask, predicted: Mask) -> float:
    """Return intersection over union of two masks.

    Parameters
    ----------
    true, predicted : ndarrays of shape (H, W), uint8, 0 or 1

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If `true` is empty: over good images an IoU says nothing, and calling it 1 flatters.
    """
    if not true.any():
        raise ValueError("Expected a mask with a defect. Received an empty one.")
    intersection = np.count_nonzero(true & predicted)
    return intersection / np.count_nonzero(true | predicted)


def count_hits(true: Mask, predicted: Mask) -> tuple[int, int]:
    """Return how many connected defects the predicted mask touches, and how many there are."""
    count, labels = cv2.connectedComponents(true, connectivity=8)
    touched = np.unique(labels[predicted > 0])
    return int(np.count_nonzero(touched)), count - 1
