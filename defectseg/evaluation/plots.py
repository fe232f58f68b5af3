"""Pictures of a model's answers."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from defectseg.dataset.manifest import Sample
from defectseg.image_io import read_image, read_mask
from defectseg.inference.predictor import Predictor
from defectseg.pictures import GREEN, RED, contact_sheet, draw_outline

_MAX_TILES = 12


def validation_sheet(predictor: Predictor, samples: Sequence[Sample]) -> npt.NDArray[np.uint8]:
    """Draw label (green) and answer (red) over up to twelve images, defective ones first.

    Returns
    -------
    ndarray of shape (H, W, 3), uint8
    """
    tiles, captions = [], []
    for sample in sorted(samples, key=lambda sample: not sample.defective)[:_MAX_TILES]:
        image = read_image(sample.image)
        found = predictor.inspect(image, sample.product)
        picture = draw_outline(image, read_mask(sample.mask), GREEN) if sample.mask else image
        tiles.append(draw_outline(picture, found.mask, RED))
        captions.append(f"{found.verdict.outcome}  {sample.product}/{sample.image.name}")
    return contact_sheet(tiles, captions, columns=4)
