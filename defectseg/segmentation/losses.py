"""Losses for masks in which the defect is a small part.

All but one are computed from soft counts over the whole batch (on all devices together), not image
by image: on a good image alone, one stray pixel would weigh as much as a missed defect. They take
truth (0 or 1), answer (in [0, 1]) and pixel weight, each of shape ``(B, H, W, 1)``, and return a
scalar that is 0 for a perfect answer.
"""

from typing import Any

import keras
from keras import KerasTensor, ops

from defectseg.segmentation.distribution import sum_over_devices

_SMOOTH = 1.0
_LEAST_LABEL_WEIGHT = 0.25
_EPSILON = 1e-7  # of shares of pixels: keeps the MCC defined where a row or column is empty


def dice_loss(y_true: KerasTensor, y_pred: KerasTensor, weight: KerasTensor) -> KerasTensor:
    """Return ``1 − (2 Σ t·p + 1) / (Σ t + Σ p + 1)``, in [0, 1].

    After Milletari et al. 2016, doi:10.1109/3DV.2016.79, whose denominator is of squares.
    """
    overlap, label, answer = _totals(weight * y_true * y_pred, weight * y_true, weight * y_pred)
    return 1 - (2 * overlap + _SMOOTH) / (label + answer + _SMOOTH)


def bce_dice_loss(y_true: KerasTensor, y_pred: KerasTensor, weight: KerasTensor) -> KerasTensor:
    """Return the mean binary cross-entropy of the pixels, plus `dice_loss`."""
    return _cross_entropy(y_true, y_pred, weight) + dice_loss(y_true, y_pred, weight)


def bce_dice_by_image_loss(
    y_true: KerasTensor, y_pred: KerasTensor, weight: KerasTensor
) -> KerasTensor:
    """Return the mean binary cross-entropy, plus the mean Dice loss of the defective images.

    Each defective image counts alike. Over the whole batch, a defect of a million pixels would
    outweigh one of a hundred, and what is as small would never be learned. Good images are left
    to the cross-entropy.
    """
    axes = (1, 2, 3)
    overlap = ops.sum(weight * y_true * y_pred, axes)
    label = ops.sum(weight * y_true, axes)
    total = label + ops.sum(weight * y_pred, axes)
    dice = 1 - (2 * overlap + _SMOOTH) / (total + _SMOOTH)
    defective = ops.cast(label > 0, dice.dtype)
    loss, images = _totals(defective * dice, defective)
    return _cross_entropy(y_true, y_pred, weight) + loss / ops.maximum(images, 1)


def _cross_entropy(y_true: KerasTensor, y_pred: KerasTensor, weight: KerasTensor) -> KerasTensor:
    entropy, pixels = _totals(weight * ops.binary_crossentropy(y_true, y_pred), weight)
    return entropy / pixels


def _totals(*values: KerasTensor) -> list[KerasTensor]:
    """Return the sum of each over the whole batch, whose parts are on several devices."""
    return sum_over_devices([ops.sum(own) for own in values])


def mcc_loss(y_true: KerasTensor, y_pred: KerasTensor, weight: KerasTensor) -> KerasTensor:
    """Return 1 − Matthews correlation coefficient of the soft counts, in [0, 2].

    Unlike Dice it counts true negatives. Where truth or answer is all of one kind, the coefficient
    is 0 / 0 and taken as 0. Abhishek & Hamarneh 2021, doi:10.1109/ISBI48211.2021.9433782.
    """
    # Shares of the pixels, not counts: four factors of a million each overflow float32.
    pixels, *counts = _totals(weight, weight * y_true * y_pred, weight * y_true, weight * y_pred)
    tp, true, predicted = (count / pixels for count in counts)
    # tp·tn − fp·fn, with fp = predicted − tp, fn = true − tp and tn = 1 − true − predicted + tp.
    covariance = tp - true * predicted
    variance = true * (1 - true) * predicted * (1 - predicted)
    return 1 - covariance / ops.sqrt(ops.maximum(variance, _EPSILON**2))


def focal_tversky_loss(
    y_true: KerasTensor, y_pred: KerasTensor, weight: KerasTensor
) -> KerasTensor:
    """Return ``(1 − TI)^0.75``; the Tversky index TI counts a missed pixel 0.7, a false one 0.3.

    Abraham & Khan 2019, doi:10.1109/ISBI.2019.8759329.
    """
    tp, true, predicted = _totals(weight * y_true * y_pred, weight * y_true, weight * y_pred)
    missed, false = true - tp, predicted - tp
    index = (tp + _SMOOTH) / (tp + 0.7 * missed + 0.3 * false + _SMOOTH)
    # The slope of x^0.75 is without bound at 0.
    return ops.power(ops.maximum(1 - index, _EPSILON), 0.75)


LOSSES = {
    "dice": dice_loss,
    "bce_dice": bce_dice_loss,
    "bce_dice_by_image": bce_dice_by_image_loss,
    "mcc": mcc_loss,
    "focal_tversky": focal_tversky_loss,
}


def border_weight(y_true: KerasTensor, border_px: int) -> KerasTensor:
    """Return the weight of each pixel, which falls off towards a label's border.

    Ellipses are drawn larger than the defect, so the pixels along them are the least certain.

    Parameters
    ----------
    y_true : tensor of shape (B, H, W, 1), 0 or 1
    border_px : int
        Distance from a straight border, in pixels, from which the weight is 1; at least 1.

    Returns
    -------
    tensor of shape (B, H, W, 1)
        ``1 − 4·m·(1 − m)``, m being the mean of the mask over the square around the pixel; on
        labels at least 0.25, so that a defect smaller than the square still counts.
    """
    side = 2 * border_px + 1
    mean = ops.average_pool(y_true, side, strides=1, padding="same")
    return ops.maximum(1 - 4 * mean * (1 - mean), _LEAST_LABEL_WEIGHT * y_true)


@keras.saving.register_keras_serializable(package="defectseg")
class MaskLoss(keras.losses.Loss):
    """One of `LOSSES`, with pixel weights; saved with a model, and loaded again.

    Takes truth ``(B, H, W, 1)``, 0 or 1, or -1 where nothing counts, and answer of the same shape
    in [0, 1]; returns a scalar, the same on all devices that share a batch.

    Parameters
    ----------
    kind : str
        A key of `LOSSES`.
    border_px : int
        As `border_weight`; 0 counts all pixels alike.
    """

    def __init__(self, kind: str, border_px: int = 0, name: str = "loss", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.kind = kind
        self.border_px = border_px

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """Return the loss of a batch, a list of one number."""
        y_true = ops.cast(y_true, y_pred.dtype)
        known = ops.cast(y_true >= 0, y_pred.dtype)
        y_true = ops.maximum(y_true, 0)
        weight = known * border_weight(y_true, self.border_px) if self.border_px else known
        loss = LOSSES[self.kind](y_true, y_pred, weight)
        # Of several devices' losses Keras makes the mean where they are lists, of one number here:
        # it would add up bare numbers.
        return ops.reshape(loss, (1,))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        return {**super().get_config(), "kind": self.kind, "border_px": self.border_px}
