"""A predictor's answers to labelled images, and their summary."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from defectseg.dataset.manifest import Sample
from defectseg.evaluation.scores import count_hits, iou
from defectseg.image_io import read_image, read_mask
from defectseg.inference.predictor import Predictor

Summary = dict[str, float | int | None]


def evaluate(
    predictor: Predictor,
    samples: Sequence[Sample],
    on_image: Callable[[int], None] = lambda total: None,
) -> pd.DataFrame:
    """Inspect labelled images.

    Returns
    -------
    DataFrame
        A row an image: image, product, defective, outcome, score, alarmed, sharpness, trusted,
        iou (missing for good images), defects, defects_hit.
    """
    review = predictor.calibration.thresholds.review
    rows = []
    for sample in samples:
        found = predictor.inspect(read_image(sample.image), sample.product)
        row: dict[str, Any] = {
            "image": sample.image.name,
            "product": sample.product,
            "defective": sample.defective,
            "outcome": found.verdict.outcome.value,
            "score": found.score,
            "alarmed": found.score >= review,
            "sharpness": found.quality.sharpness,
            "trusted": found.quality.trusted,
            "iou": np.nan,
            "defects": 0,
            "defects_hit": 0,
        }
        if sample.mask:
            truth = read_mask(sample.mask)
            row["iou"] = iou(truth, found.mask)
            row["defects_hit"], row["defects"] = count_hits(truth, found.mask)
        rows.append(row)
        on_image(len(samples))
    return pd.DataFrame(rows)


def summarise(frame: pd.DataFrame) -> Summary:
    """Return the figures of an evaluation.

    IoU is over defective images only; a predictor that always answers "empty" has 0 there, hits
    no defect and alarms on no good image. An image is alarmed if its score is at or above the
    review threshold, whether it was sharp enough to be believed or not.
    """
    good, defective = frame[~frame["defective"]], frame[frame["defective"]]
    return {
        "good_images": len(good),
        "defective_images": len(defective),
        "iou_mean": _mean(defective["iou"]),
        "iou_median": float(defective["iou"].median()) if len(defective) else None,
        "iou_worst": float(defective["iou"].min()) if len(defective) else None,
        "defects": int(defective["defects"].sum()),
        "defects_hit": int(defective["defects_hit"].sum()),
        "defective_alarmed": int(defective["alarmed"].sum()),
        "good_alarmed": int(good["alarmed"].sum()),
        "good_retaken": int((~good["trusted"]).sum()),
        "defective_retaken": int((~defective["trusted"]).sum()),
        "defective_passed": int((defective["outcome"] == "PASS").sum()),
    }


def _mean(values: "pd.Series[float]") -> float | None:
    return float(values.mean()) if len(values) else None
