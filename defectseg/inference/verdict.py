"""The verdict on an image: a pure function of its score, its quality and the limits."""

import math
from dataclasses import dataclass
from enum import StrEnum

from defectseg.bundle import Thresholds
from defectseg.quality.gate import ImageQuality


class Outcome(StrEnum):
    """What becomes of the part."""

    PASS = "PASS"
    FAIL = "FAIL"
    REVIEW = "REVIEW"
    RETAKE = "RETAKE"
    ERROR = "ERROR"


@dataclass(frozen=True)
class Verdict:
    """An outcome, with its reasons in words."""

    outcome: Outcome
    reasons: tuple[str, ...]


def decide(score: float, quality: ImageQuality, thresholds: Thresholds) -> Verdict:
    """Decide on an image that could be read.

    Parameters
    ----------
    score : float
        The image's defect score, in [0, 1].
    quality : ImageQuality
    thresholds : Thresholds

    Returns
    -------
    Verdict
        RETAKE if the image is not trusted, whatever its score: the part was not inspected.
        Otherwise FAIL from ``thresholds.fail`` on, REVIEW from ``thresholds.review`` on, PASS
        below. A score that is no number is for REVIEW, never a PASS.
    """
    if not quality.trusted:
        return Verdict(Outcome.RETAKE, quality.remarks)
    if score >= thresholds.fail:
        reason = f"defect score {score:.3f} is at or above {thresholds.fail:.3f}"
        return Verdict(Outcome.FAIL, (reason, *quality.remarks))
    if score < thresholds.review:
        return Verdict(Outcome.PASS, quality.remarks)
    if math.isnan(score):
        reason = "defect score is not a number: the network failed"
    else:
        reason = (
            f"defect score {score:.3f} is between {thresholds.review:.3f} and {thresholds.fail:.3f}"
        )
    return Verdict(Outcome.REVIEW, (reason, *quality.remarks))
