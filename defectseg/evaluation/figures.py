"""The figures of an evaluation, over all images and by product and kind."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from scipy.stats import beta, binomtest
from sklearn.metrics import average_precision_score, roc_auc_score

from defectseg.evaluation.scores import PixelCounts, dice, iou
from defectseg.inference.verdict import Outcome


@dataclass(frozen=True)
class Rate:
    """A share of counted things, with its 95 % interval (Wilson 1927, doi:10.2307/2276774).

    `share`, `low` and `high` are in [0, 1]; None where nothing was counted.
    """

    count: int
    total: int
    share: float | None
    low: float | None
    high: float | None


def greatest_share(count: int, total: int, confidence: float = 0.95) -> float:
    """Return what a share does not exceed, with some confidence, when so many were counted.

    One-sided (Clopper & Pearson 1934, doi:10.1093/biomet/26.4.404): of 0 of 6, still 0.39.
    """
    return 1.0 if count == total else float(beta.ppf(confidence, count + 1, total - count))


@dataclass(frozen=True)
class Figures:
    """What a predictor is worth on a set of labelled images.

    Attributes
    ----------
    good_images, defective_images, unreadable_images : int
        The last are in none of the other figures.
    pixel_iou, pixel_dice : float or None
        Over the pixels of all images taken together, good ones too: in [0, 1], None without any
        defect.
    iou_mean, iou_median, iou_worst, dice_mean, dice_median, dice_worst : float or None
        Over the **defective** images, each image counting the same.
    defects_hit : Rate
        Of the connected defects, those that the answer touches.
    auroc, average_precision : float or None
        Of the image scores, good against defective; None without both kinds. An answer that tells
        nothing has 0.5, and the share of defective images.
    escape : Rate
        Of the defective images, those that PASS.
    overkill : Rate
        Of the good images, those that FAIL.
    good_alarmed : Rate
        Of the good images, those whose score is at or above the review threshold, whether the
        image was believed or not.
    good_outcomes, defective_outcomes : dict of str to int
        How many images had each outcome; REVIEW and RETAKE are neither passed nor rejected.
    """

    good_images: int
    defective_images: int
    unreadable_images: int
    pixel_iou: float | None
    pixel_dice: float | None
    iou_mean: float | None
    iou_median: float | None
    iou_worst: float | None
    dice_mean: float | None
    dice_median: float | None
    dice_worst: float | None
    defects_hit: Rate
    auroc: float | None
    average_precision: float | None
    escape: Rate
    overkill: Rate
    good_alarmed: Rate
    good_outcomes: dict[str, int]
    defective_outcomes: dict[str, int]


@dataclass(frozen=True)
class Compared:
    """Figures of a model and, on the same images, of an answer that is always empty."""

    model: Figures
    empty_answer: Figures


@dataclass(frozen=True)
class Evaluation:
    """All figures of a labelled set.

    Attributes
    ----------
    overall : Compared
    products : dict of str to Compared
    kinds : dict of str to Compared
        By the folder the defective images lie in, each against the good images of its products.
    """

    overall: Compared
    products: dict[str, Compared]
    kinds: dict[str, Compared]


def summarise(frame: pd.DataFrame) -> Evaluation:
    """Return all figures of the rows of `evaluate.evaluate`."""
    kinds = {}
    for kind, own in frame[frame["defective"]].groupby("kind"):
        good = frame[~frame["defective"] & frame["product"].isin(own["product"])]
        kinds[str(kind)] = _compare(pd.concat([own, good]))
    return Evaluation(
        overall=_compare(frame),
        products={str(product): _compare(own) for product, own in frame.groupby("product")},
        kinds=kinds,
    )


def _compare(frame: pd.DataFrame) -> Compared:
    return Compared(compute_figures(frame), compute_figures(answer_empty(frame)))


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


def compute_figures(frame: pd.DataFrame) -> Figures:
    """Return the figures of some rows of `evaluate.evaluate`."""
    read = frame[frame["outcome"] != Outcome.ERROR]
    good, defective = read[~read["defective"]], read[read["defective"]]
    counts = [_counts(row) for row in defective.to_dict("records")]
    scores = pd.DataFrame({"iou": map(iou, counts), "dice": map(dice, counts)}, dtype=float)
    both = len(good) > 0 and len(defective) > 0
    pixels = _counts(read.sum(numeric_only=True).to_dict())
    return Figures(
        good_images=len(good),
        defective_images=len(defective),
        unreadable_images=len(frame) - len(read),
        pixel_iou=iou(pixels) if pixels.true else None,
        pixel_dice=dice(pixels) if pixels.true else None,
        **{
            f"{name}_{how}": float(getattr(scores[name], function)()) if counts else None
            for name in ("iou", "dice")
            for how, function in (("mean", "mean"), ("median", "median"), ("worst", "min"))
        },
        defects_hit=rate(int(defective["defects_hit"].sum()), int(defective["defects"].sum())),
        auroc=float(roc_auc_score(read["defective"], read["score"])) if both else None,
        average_precision=(
            float(average_precision_score(read["defective"], read["score"])) if both else None
        ),
        escape=rate(int((defective["outcome"] == Outcome.PASS).sum()), len(defective)),
        overkill=rate(int((good["outcome"] == Outcome.FAIL).sum()), len(good)),
        good_alarmed=rate(int(good["alarmed"].sum()), len(good)),
        good_outcomes=dict(sorted(Counter(good["outcome"]).items())),
        defective_outcomes=dict(sorted(Counter(defective["outcome"]).items())),
    )


def _counts(row: Mapping[Any, Any]) -> PixelCounts:
    return PixelCounts(*(int(row[f"{name}_px"]) for name in ("overlap", "true", "predicted")))


def rate(count: int, total: int) -> Rate:
    """Return a share with its Wilson interval of 95 %."""
    if not total:
        return Rate(0, 0, None, None, None)
    interval = binomtest(count, total).proportion_ci(0.95, method="wilson")
    return Rate(count, total, count / total, float(interval.low), float(interval.high))
