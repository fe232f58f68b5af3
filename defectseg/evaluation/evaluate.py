"""A predictor's answers to labelled images: one row each."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from defectseg.dataset import manifest
from defectseg.dataset.manifest import Sample
from defectseg.errors import DataError, ImageReadError
from defectseg.evaluation.scores import count_hits, count_pixels
from defectseg.image_io import read_image, read_mask
from defectseg.inference.predictor import Predictor
from defectseg.inference.verdict import Outcome

# What each column holds where nothing is known, which also gives its type.
_UNKNOWN: dict[str, Any] = {
    "image": "",
    "product": "",
    "kind": "",
    "defective": False,
    "outcome": "",
    "score": np.nan,
    "alarmed": False,
    "sharpness": np.nan,
    "trusted": False,
    "overlap_px": 0,
    "true_px": 0,
    "predicted_px": 0,
    "defects": 0,
    "defects_hit": 0,
    "error": "",
}


def evaluate(
    predictor: Predictor,
    samples: Sequence[Sample],
    on_image: Callable[[int], None] = lambda total: None,
) -> pd.DataFrame:
    """Inspect labelled images.

    Parameters
    ----------
    predictor : Predictor
    samples : sequence of Sample
    on_image : callable
        Called after each image with the number of all of them.

    Returns
    -------
    DataFrame
        A row an image: image, product, kind (the folder it lies in), defective, outcome, score,
        alarmed (the score is at or above the review threshold, whether it is believed or not),
        sharpness, trusted, overlap_px, true_px, predicted_px, defects, defects_hit, error. An
        image that cannot be read has the outcome ERROR.
    """
    rows = []
    for sample in samples:
        row = _UNKNOWN | {
            "image": str(sample.image),
            "product": sample.product,
            "kind": sample.image.parent.name,
            "defective": sample.defective,
        }
        try:
            row |= _answer(predictor, sample)
        except ImageReadError as error:
            row |= {"outcome": Outcome.ERROR.value, "error": str(error)}
        rows.append(row)
        on_image(len(samples))
    return pd.DataFrame(rows, columns=list(_UNKNOWN))


def select_samples(
    data: Path, split: str, known: Sequence[str], product: str | None
) -> list[Sample]:
    """Return the samples of a prepared folder that a bundle is to be measured on.

    Parameters
    ----------
    data : Path
    split : str
        ``"train"``, ``"val"``, ``"test"`` or ``"all"``.
    known : sequence of str
        The bundle's products.
    product : str or None
        One of them, for all images. By default the bundle's only product or, where it has
        several, the one that the manifest names.

    Raises
    ------
    DataError
        If the split has no images, or a product is not known.
    """
    samples = manifest.read_manifest(data)
    if split != "all":
        samples = [sample for sample in samples if sample.split == split]
    if not samples:
        raise DataError(
            f"{data} has no images in its {split} split. Name another by --split, such as all "
            "for images kept apart from training."
        )
    if product is None and len(known) == 1:
        product = known[0]
    named = {product} if product else {sample.product for sample in samples}
    if not named <= set(known):
        unknown = ", ".join(sorted(named - set(known)))
        raise DataError(
            f"The bundle knows no product {unknown}; it was trained on {', '.join(known)}. Name "
            "the one that the images show by --product."
        )
    return [replace(sample, product=product or sample.product) for sample in samples]


def _answer(predictor: Predictor, sample: Sample) -> dict[str, Any]:
    image = read_image(sample.image)
    found = predictor.inspect(image, sample.product)
    truth = read_mask(sample.mask) if sample.mask else np.zeros(image.shape[:2], np.uint8)
    counts = count_pixels(truth, found.mask)
    hits, defects = count_hits(truth, found.mask)
    return {
        "outcome": found.verdict.outcome.value,
        "score": found.score,
        "alarmed": found.score >= predictor.calibration.thresholds.review,
        "sharpness": found.quality.sharpness,
        "trusted": found.quality.trusted,
        "overlap_px": counts.overlap,
        "true_px": counts.true,
        "predicted_px": counts.predicted,
        "defects": defects,
        "defects_hit": hits,
    }


def answer_empty(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that a predictor would give which always answers "no defect".

    What could not be read stays so.
    """
    answer: dict[str, Any] = {
        "outcome": frame["outcome"].where(frame["outcome"] == Outcome.ERROR, Outcome.PASS.value),
        "score": 0.0,
        "alarmed": False,
        "trusted": True,
        "overlap_px": 0,
        "predicted_px": 0,
        "defects_hit": 0,
    }
    return frame.assign(**answer)
