"""The thresholds of pixels and of scores, chosen on validation images."""

import math
from collections.abc import Sequence

import numpy as np

from defectseg.errors import DataError

PIXEL_THRESHOLDS = tuple(step / 20 for step in range(2, 19))
_TOLD_FROM_CHANCE = 2.0  # standard errors


def choose_pixel_threshold(ious: Sequence[Sequence[float]]) -> float:
    """Choose the probability from which a pixel belongs to a defect.

    Parameters
    ----------
    ious : sequence of sequences of float
        Of each defective validation image: its IoU at each of `PIXEL_THRESHOLDS`, 0.1 to 0.9.

    Returns
    -------
    float
        The one nearest to 0.5 of those whose mean IoU is the highest, or not below it by more than
        two standard errors of the difference, image by image: a few images move it only where
        they agree, one alone never.
    """
    iou = np.asarray(ious)
    below = iou[:, [np.mean(iou, axis=0).argmax()]] - iou
    error = np.inf if len(iou) == 1 else np.std(below, axis=0, ddof=1) / math.sqrt(len(iou))
    good = np.flatnonzero(np.mean(below, axis=0) <= _TOLD_FROM_CHANCE * error)
    return min((PIXEL_THRESHOLDS[index] for index in good), key=lambda value: abs(value - 0.5))


def choose_thresholds(
    good: Sequence[float],
    defective: Sequence[float],
    *,
    max_escape: float = 0.0,
    max_overkill: float = 0.0,
) -> tuple[float, float]:
    """Choose the scores from which an image is for REVIEW, and from which it is a FAIL.

    Parameters
    ----------
    good, defective : sequences of float
        Scores of validation images, in [0, 1].
    max_escape : float
        Share of these defective images that may be below both thresholds, in [0, 1).
    max_overkill : float
        Share of these good images that may be above both, in [0, 1).

    Returns
    -------
    review, fail : float
        Where the kinds do not overlap, but for the shares allowed, the band between the two is
        the middle third of the gap: there no image was seen that counts. Where they do, the band
        holds the overlap.

    Raises
    ------
    DataError
        If either kind is missing: set by the other alone, a threshold would pass everything or
        alarm on everything. If more defective images than may be score 0, as an empty image does:
        to catch them would be to alarm on everything. If a score is not a number.
    """
    if any(math.isnan(score) for score in (*good, *defective)):
        raise DataError(
            "The network answers some validation images by no number (NaN), so that no threshold "
            "can be set. Train anew, with a lower train.learning_rate."
        )
    if not good or not defective:
        raise DataError(
            f"Thresholds need scores of both kinds; found {len(good)} good and {len(defective)} "
            "defective validation images. Set by one kind alone, they would pass everything or "
            "alarm on everything. Label some, or prepare with a larger share (--val)."
        )
    # The images beyond these are the ones allowed on the wrong side.
    lowest_defective = sorted(defective)[_allowed(max_escape, len(defective))]
    if lowest_defective <= 0:
        missed = sum(score <= 0 for score in defective)
        raise DataError(
            f"{missed} of {len(defective)} defective validation images score 0, as an empty image "
            "does: a threshold that catches them alarms on everything. The trained network is "
            "kept. Train longer; or, if so many may escape, calibrate it again by train --resume "
            f"--set calibration.max_escape={math.ceil(100 * missed / len(defective)) / 100:g}"
        )
    highest_good = sorted(good, reverse=True)[_allowed(max_overkill, len(good))]
    if highest_good < lowest_defective:
        third = (lowest_defective - highest_good) / 3
        return highest_good + third, lowest_defective - third
    every = [*good, *defective]
    below = max((score for score in every if score < lowest_defective), default=0.0)
    above = min((score for score in every if score > highest_good), default=1.0)
    # A score at the limit is a FAIL: it must be above the good one, if only by a hair.
    fail = max((highest_good + above) / 2, math.nextafter(highest_good, math.inf))
    return (below + lowest_defective) / 2, fail


def _allowed(share: float, count: int) -> int:
    # A hair more, so that 0.1 of 30 is 3 and not 2.999…
    return math.floor(share * count + 1e-9)
