"""The audit sheet: labels drawn over images, for a person to check at a glance."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from defectseg.dataset.manifest import Sample
from defectseg.image_io import read_image, read_mask
from defectseg.pictures import contact_sheet, draw_outline

MAX_TILES = 24


def audit_sheet(samples: Sequence[Sample]) -> npt.NDArray[np.uint8]:
    """Draw the outlines of up to `MAX_TILES` labels, evenly over the products, at least one each.

    Wrong axis order, angle or origin shows at once: the outline lies beside the defect.

    Returns
    -------
    ndarray of shape (H, W, 3), uint8
    """
    chosen = _choose([sample for sample in samples if sample.defective])
    tiles = [draw_outline(read_image(s.image), read_mask(s.mask)) for s in chosen if s.mask]
    captions = [f"{sample.product}/{sample.image.name}" for sample in chosen]
    return contact_sheet(tiles, captions)


def _choose(defective: Sequence[Sample]) -> list[Sample]:
    products = sorted({sample.product for sample in defective})
    chosen: list[Sample] = []
    for product in products:
        own = [sample for sample in defective if sample.product == product]
        count = min(len(own), max(1, MAX_TILES // len(products)))
        # From the whole range of the list, not its head, which may be one batch of parts.
        chosen += [own[round(i)] for i in np.linspace(0, len(own) - 1, count)]
    return chosen
