"""A predictor's answers to labelled images: one row each."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from defectseg.dataset import manifest
from defectseg.dataset.manifest import Sample
from defectseg.dataset.samples import read_label
from defectseg.errors import DataError, DefectsegError
from defectseg.evaluation.scores import count_hits, count_pixels
from defectseg.image_io import read_image
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
        alarmed (by its score the image is no PASS, whether it is believed or not), sharpness,
        trusted, overlap_px, true_px, predicted_px, defects, defects_hit, error. An image that
        cannot be read or judged, or whose label does not fit it, has the outcome ERROR; one such
        image costs no other.
    """
    rows = []
    for sample in samples:
        row = _UNKNOWN | {
            "image": str(sample.image),
            "product": sample.product,
            "kind": sample.kind,
            "defective": sample.defective,
        }
        try:
            row |= _answer(predictor, sample)
        except Exception as error:
            # An engine may raise anything.
            message = str(error) if isinstance(error, DefectsegError) else repr(error)
            row |= {"outcome": Outcome.ERROR.value, "error": " ".join(message.split())}
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
        One of them, for all images. By default the one that the manifest names or, where
        manifest and bundle have one each, the bundle's.

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
    named = {sample.product for sample in samples}
    if product is None and len(known) == len(named) == 1:
        product = known[0]
    if product:
        named = {product}
    if not named <= set(known):
        unknown = ", ".join(sorted(named - set(known)))
        raise DataError(
            f"The bundle knows no product {unknown}; it was trained on {', '.join(known)}. Name "
            "the one that the images show by --product."
        )
    return [replace(sample, product=product or sample.product) for sample in samples]


def _answer(predictor: Predictor, sample: Sample) -> dict[str, Any]:
    image = read_image(sample.image)
    truth = read_label(sample, image.shape[:2])
    found = predictor.inspect(image, sample.product)
    if math.isnan(found.score):
        raise DataError("the network answers no number (NaN)")
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
