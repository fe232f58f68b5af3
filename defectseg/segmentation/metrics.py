"""Intersection over union, from counts that are accumulated over all batches."""

from typing import Any

import keras
from keras import KerasTensor, ops

_THRESHOLD = 0.5
_PIXEL_AXES = (1, 2, 3)


def _counts(y_true: KerasTensor, y_pred: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
    """Return intersection and union of each image, in pixels, shape (B,).

    Where the mask is -1, nothing counts. Both are NaN where a mask holds more than 1, as a stored
    one of 0 and 255 does: no number that looks like a score.
    """
    true = ops.cast(ops.maximum(y_true, 0), "float32")
    true = ops.where(ops.max(true) > 1, float("nan"), true)
    predicted = ops.cast(ops.logical_and(y_pred >= _THRESHOLD, y_true >= 0), "float32")
    intersection = ops.sum(true * predicted, axis=_PIXEL_AXES)
    union = ops.sum(ops.maximum(true, predicted), axis=_PIXEL_AXES)
    return intersection, union


@keras.saving.register_keras_serializable(package="defectseg")
class AccumulatedIoU(keras.metrics.Metric):
    """IoU of the defect, all pixels of all images taken together.

    One false pixel on a good image counts; a good image answered by an empty mask counts for
    nothing. 0 where there is neither defect nor answer.
    """

    def __init__(self, name: str = "iou", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.intersection = self.add_weight(shape=(), initializer="zeros", name="intersection")
        self.union = self.add_weight(shape=(), initializer="zeros", name="union")

    def update_state(
        self, y_true: KerasTensor, y_pred: KerasTensor, sample_weight: Any = None
    ) -> None:
        """Add a batch, ``(B, H, W, 1)``: truth 0 or 1, answer in [0, 1]."""
        intersection, union = _counts(y_true, y_pred)
        self.intersection.assign_add(ops.sum(intersection))
        self.union.assign_add(ops.sum(union))

    def result(self) -> KerasTensor:
        """Return the IoU so far, in [0, 1]."""
        return self.intersection / ops.maximum(self.union, 1.0)


@keras.saving.register_keras_serializable(package="defectseg")
class DefectiveIoU(keras.metrics.Metric):
    """Mean over the defective images of each one's IoU; good images do not count.

    The score of a network that always answers "empty" is 0.
    """

    def __init__(self, name: str = "defective_iou", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.total = self.add_weight(shape=(), initializer="zeros", name="total")
        self.images = self.add_weight(shape=(), initializer="zeros", name="images")

    def update_state(
        self, y_true: KerasTensor, y_pred: KerasTensor, sample_weight: Any = None
    ) -> None:
        """Add a batch, ``(B, H, W, 1)``: truth 0 or 1, answer in [0, 1]."""
        intersection, union = _counts(y_true, y_pred)
        defective = ops.cast(ops.any(y_true > 0, axis=_PIXEL_AXES), "float32")
        self.total.assign_add(ops.sum(defective * intersection / ops.maximum(union, 1.0)))
        self.images.assign_add(ops.sum(defective))

    def result(self) -> KerasTensor:
        """Return the mean so far, in [0, 1]; 0 if no image was defective."""
        return self.total / ops.maximum(self.images, 1.0)
