import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectseg.errors import DataError
from defectseg.evaluation.thresholds import choose_pixel_threshold, choose_thresholds

scores = st.lists(st.floats(0, 1), min_size=1, max_size=20)
found = st.lists(st.floats(0.001, 1), min_size=1, max_size=20)  # something was seen


def test_pixel_threshold_has_the_highest_mean_iou() -> None:
    # Thresholds are 0.1, 0.15, … 0.9: number 4 is 0.3, number 14 is 0.8.
    one, other = np.zeros((2, 17))
    one[4], other[4] = 0.5, 0.5
    one[14], other[14] = 0.65, 0.6  # better by 0.125, standard error 0.025
    assert choose_pixel_threshold([one, other]) == 0.8


def test_pixel_threshold_leaves_a_half_only_where_images_agree_that_another_is_better() -> None:
    # Number 8 is 0.5, number 14 is 0.8, better by 0.02 on average.
    half, other = np.zeros((2, 17))
    half[8], other[14] = 0.7, 0.72
    agreed = half + other
    # Differences 0.06, 0.02, -0.02: deviation 0.04, standard error 0.04 / √3 = 0.023.
    apart = [agreed + change * (other > 0) for change in (0.04, 0, -0.04)]
    assert choose_pixel_threshold(apart) == 0.5
    # 0.021, 0.02, 0.019: standard error 0.001 / √3 = 0.0006.
    together = [agreed + change * (other > 0) for change in (0.001, 0, -0.001)]
    assert choose_pixel_threshold(together) == 0.8


def test_one_image_alone_leaves_the_pixel_threshold_at_a_half() -> None:
    assert choose_pixel_threshold([np.linspace(0.6, 0.76, 17)]) == 0.5


def test_band_of_separated_kinds_is_the_middle_third_of_the_gap() -> None:
    # The gap is 0.2 to 0.8.
    assert choose_thresholds([0.1, 0.2], [0.8, 0.9]) == pytest.approx((0.4, 0.6))


def test_band_holds_the_overlap() -> None:
    # Overlap 0.4 to 0.6. Below: midway from the good 0.3 to the defective 0.4.
    # Above: midway from the good 0.6 to the defective 0.9.
    assert choose_thresholds([0.1, 0.3, 0.6], [0.4, 0.5, 0.9]) == pytest.approx((0.35, 0.75))


def test_band_reaches_towards_0_and_1_where_nothing_is_beyond_the_overlap() -> None:
    assert choose_thresholds([0.5, 0.6], [0.4, 0.5]) == pytest.approx((0.2, 0.8))


def test_allowed_escapes_and_overkill_are_set_aside() -> None:
    good = [0.1, 0.2, 0.3, 0.9]
    defective = [0.05, 0.6, 0.7, 0.8]
    # All eight: 0.9 and 0.05 lie on the wrong side, the overlap is 0.05 to 0.9.
    assert choose_thresholds(good, defective) == pytest.approx((0.025, 0.95))
    # A quarter of each may: without 0.05 and 0.9 the gap is 0.3 to 0.6.
    allowed = choose_thresholds(good, defective, max_escape=0.25, max_overkill=0.25)
    assert allowed == pytest.approx((0.4, 0.5))
    # Escapes only: lowest defective that counts 0.6, below it 0.3; above 0.9 nothing.
    assert choose_thresholds(good, defective, max_escape=0.25) == pytest.approx((0.45, 0.95))
    # A share that is less than one image allows none.
    assert choose_thresholds(good, defective, max_escape=0.24) == pytest.approx((0.025, 0.95))


@given(scores, found, st.floats(0, 0.9), st.floats(0, 0.9))
def test_the_targets_hold_on_the_images_they_were_set_with(
    good: list[float], defective: list[float], max_escape: float, max_overkill: float
) -> None:
    review, fail = choose_thresholds(
        good, defective, max_escape=max_escape, max_overkill=max_overkill
    )
    assert 0 <= review <= fail < 1.001
    assert sum(score < review for score in defective) <= max_escape * len(defective) + 1e-6
    assert sum(score >= fail for score in good) <= max_overkill * len(good) + 1e-6


@given(scores, found)
def test_no_validation_image_is_on_the_wrong_side_of_the_band(
    good: list[float], defective: list[float]
) -> None:
    review, fail = choose_thresholds(good, defective)
    assert 0 <= review <= fail < 1.001
    assert min(defective) >= review
    assert max(good) < fail


@pytest.mark.parametrize(
    ("good", "defective", "found"),
    [([], [0.5], "0 good and 1 defective"), ([0.5, 0.6], [], "2 good and 0 defective")],
)
def test_missing_kind_is_an_error(good: list[float], defective: list[float], found: str) -> None:
    with pytest.raises(DataError, match=f"found {found}"):
        choose_thresholds(good, defective)


def test_defects_that_no_threshold_can_tell_from_an_empty_image_are_an_error() -> None:
    good, defective = [0.0, 0.1], [0.0, 0.0, 0.6, 0.7, 0.8, 0.9, 0.9]
    # 2 of 7 are 28.6 %.
    with pytest.raises(DataError, match=r"2 of 7 defective .*max_escape=0\.29"):
        choose_thresholds(good, defective, max_escape=0.2)
    # The gap is 0.1 to 0.6.
    review, fail = choose_thresholds(good, defective, max_escape=0.29)
    assert (review, fail) == pytest.approx((0.1 + 0.5 / 3, 0.6 - 0.5 / 3))


def test_a_good_image_of_the_highest_score_does_not_fail() -> None:
    assert choose_thresholds([1.0], [0.5])[1] > 1.0


def test_a_score_that_is_no_number_is_an_error() -> None:
    with pytest.raises(DataError, match="NaN"):
        choose_thresholds([0.1, float("nan")], [0.9])
