"""Losses for masks in which the defect is a small part."""

import keras
from keras import KerasTensor, ops

_SMOOTH = 1.0


@keras.saving.register_keras_serializable(package="defectseg")
def dice_loss(y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
    """Return 1 − soft Dice over all pixels of the batch.

    Parameters
    ----------
    y_true : tensor of shape (B, H, W, 1), 0 or 1
    y_pred : tensor of shape (B, H, W, 1), in [0, 1]

    Returns
    -------
    scalar tensor
        ``1 − (2 Σ t·p + 1) / (Σ t + Σ p + 1)``: 0 for a perfect answer, near 1 for a wholly
        wrong one.

    Notes
    -----
    Milletari et al. 2016, doi:10.1109/3DV.2016.79. Summed over the batch, not image by image: on
    a good image alone one stray pixel would weigh as much as a missed defect.
    """
    y_true = ops.cast(y_true, y_pred.dtype)
    overlap = ops.sum(y_true * y_pred)
    total = ops.sum(y_true) + ops.sum(y_pred)
    return 1 - (2 * overlap + _SMOOTH) / (total + _SMOOTH)


@keras.saving.register_keras_serializable(package="defectseg")
def bce_dice_loss(y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
    """Return the mean binary cross-entropy of the pixels, plus `dice_loss`."""
    entropy = ops.mean(ops.binary_crossentropy(ops.cast(y_true, y_pred.dtype), y_pred))
    return entropy + dice_loss(y_true, y_pred)


LOSSES = {"dice": dice_loss, "bce_dice": bce_dice_loss}
