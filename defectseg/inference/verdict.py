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


def grade(score: float, thresholds: Thresholds) -> Outcome:
    """Return PASS, REVIEW or FAIL by the score alone, as if the image could be believed.

    A score that is no number is for REVIEW, never a PASS.
    """
    if score >= thresholds.fail:
        return Outcome.FAIL
    return Outcome.PASS if score < thresholds.review else Outcome.REVIEW


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
        Otherwise that of `grade`.
    """
    if not quality.trusted:
        return Verdict(Outcome.RETAKE, quality.remarks)
    outcome = grade(score, thresholds)
    if outcome is Outcome.PASS:
        return Verdict(outcome, quality.remarks)
    if math.isnan(score):
        reason = "defect score is not a number: the network failed"
    elif outcome is Outcome.FAIL:
        reason = f"defect score {score:.3f} is at or above {thresholds.fail:.3f}"
    else:
        reason = (
            f"defect score {score:.3f} is between {thresholds.review:.3f} and {thresholds.fail:.3f}"
        )
    return Verdict(outcome, (reason, *quality.remarks))
