"""The image and the label of a sample; an error names the file."""

import numpy as np
import numpy.typing as npt

from defectseg.dataset.manifest import Sample
from defectseg.errors import DataError, ImageReadError
from defectseg.image_io import read_image, read_mask


def read_sample_image(sample: Sample) -> npt.NDArray[np.uint8]:
    """Return the image of a sample, ``(H, W)`` or ``(H, W, 3)`` uint8.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    try:
        return read_image(sample.image)
    except ImageReadError as error:
        raise DataError(
            f"{sample.image}: {error}. Mend it, or leave it out and prepare the data again."
        ) from error


def read_label(sample: Sample, shape_hw: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Return the label of a sample, of its image's shape, 0 or 1; all 0 where it is good.

    Raises
    ------
    DataError
        If its mask cannot be read, does not fit the image, or has no defect.
    """
    if sample.mask is None:
        return np.zeros(shape_hw, np.uint8)
    try:
        label = read_mask(sample.mask)
    except ImageReadError as error:
        raise DataError(f"{sample.mask}: {error}. Prepare the data again.") from error
    if label.shape != shape_hw or not label.any():
        raise DataError(
            f"{sample.mask}: the size is {label.shape}, with {int(label.sum())} defect pixels; "
            f"expected {tuple(shape_hw)}, as its image, and at least one. Prepare the data again."
        )
    return label
