import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectseg.errors import DataError
from defectseg.evaluation.thresholds import choose_thresholds

scores = st.lists(st.floats(0, 1), min_size=1, max_size=20)


def test_band_of_separated_kinds_is_the_middle_third_of_the_gap() -> None:
    # The gap is 0.2 to 0.8.
    assert choose_thresholds([0.1, 0.2], [0.8, 0.9]) == pytest.approx((0.4, 0.6))


def test_band_holds_the_overlap() -> None:
    # Overlap 0.4 to 0.6. Below: midway from the good 0.3 to the defective 0.4.
    # Above: midway from the good 0.6 to the defective 0.9.
    assert choose_thresholds([0.1, 0.3, 0.6], [0.4, 0.5, 0.9]) == pytest.approx((0.35, 0.75))


def test_band_reaches_towards_0_and_1_where_nothing_is_beyond_the_overlap() -> None:
    assert choose_thresholds([0.5, 0.6], [0.4, 0.5]) == pytest.approx((0.2, 0.8))


@given(scores, scores)
def test_no_validation_image_is_on_the_wrong_side_of_the_band(
    good: list[float], defective: list[float]
) -> None:
    review, fail = choose_thresholds(good, defective)
    assert 0 <= review <= fail <= 1
    assert min(defective) >= review
    assert max(good) <= fail


@pytest.mark.parametrize(
    ("good", "defective", "found"),
    [([], [0.5], "0 good and 1 defective"), ([0.5, 0.6], [], "2 good and 0 defective")],
)
def test_missing_kind_is_an_error(good: list[float], defective: list[float], found: str) -> None:
    with pytest.raises(DataError, match=f"found {found}"):
        choose_thresholds(good, defective)
