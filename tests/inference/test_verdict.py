import math

import pytest

from defectseg.bundle import Thresholds
from defectseg.inference.verdict import Outcome, decide
from defectseg.quality.gate import ImageQuality

THRESHOLDS = Thresholds(pixel=0.5, review=0.25, fail=0.75, score_area_px={"P": 5})


def quality(*remarks: str, trusted: bool) -> ImageQuality:
    return ImageQuality(3, 2, 0.5, 1, 100, belief=1, trusted=trusted, remarks=remarks)


SHARP, BLURRED = quality(trusted=True), quality("likely defocus", trusted=False)
UNUSUAL = quality("unusual, but harmless", trusted=True)


@pytest.mark.parametrize(
    ("score", "seen", "expected"),
    [
        (0, SHARP, Outcome.PASS),
        (math.nextafter(0.25, 0), SHARP, Outcome.PASS),
        (0.25, SHARP, Outcome.REVIEW),
        (math.nextafter(0.75, 0), SHARP, Outcome.REVIEW),
        (0.75, SHARP, Outcome.FAIL),
        (1, SHARP, Outcome.FAIL),
        (math.nan, SHARP, Outcome.REVIEW),
        (0, BLURRED, Outcome.RETAKE),
        (1, BLURRED, Outcome.RETAKE),  # a defect seen in a blurred image is not believed either
        (math.nan, BLURRED, Outcome.RETAKE),
        (math.nan, UNUSUAL, Outcome.REVIEW),
    ],
)
def test_outcome(score: float, seen: ImageQuality, expected: Outcome) -> None:
    verdict = decide(score, seen, THRESHOLDS)
    assert verdict.outcome is expected
    assert bool(verdict.reasons) == (expected is not Outcome.PASS)


@pytest.mark.parametrize(
    ("score", "seen", "reason"),
    [
        (0.5, SHARP, "defect score 0.500 is between 0.250 and 0.750"),
        (0.8, SHARP, "defect score 0.800 is at or above 0.750"),
        (0.8, BLURRED, "likely defocus"),
        (0.1, UNUSUAL, "unusual, but harmless"),
        (math.nan, SHARP, "defect score is not a number: the network failed"),
    ],
)
def test_reason_is_told_with_its_figures(score: float, seen: ImageQuality, reason: str) -> None:
    assert decide(score, seen, THRESHOLDS).reasons == (reason,)


def test_without_a_band_there_is_no_review() -> None:
    narrow = THRESHOLDS.model_copy(update={"review": 0.75})
    outcomes = [decide(score, SHARP, narrow).outcome for score in (0.7499, 0.75)]
    assert outcomes == [Outcome.PASS, Outcome.FAIL]
