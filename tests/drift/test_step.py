import pytest

from defectseg.drift.step import Step, find_step


def test_a_step_by_hand() -> None:
    # The median of 7, 5, 6 is 6, that of 9, 10, 11 is 10; 9 is the first above 8.
    assert find_step([7, 5, 6, 9, 11, 10], 0, 4) == Step(before=6, after=10, start=3)
    assert find_step([7, 5, 6, 9, 11, 10], 0, 4.1) is None


def test_the_step_begins_where_the_new_level_does() -> None:
    # One of the last three may be of the old level: their median is the new one.
    assert find_step([6, 6, 6, 6, 10, 10], 0, 4) == Step(before=6, after=10, start=4)
    assert find_step([6, 6, 6, 6, 6, 10], 0, 4) is None


def test_a_fall_is_no_step() -> None:
    assert find_step([10] * 8 + [6] * 3, 0, 4) is None


def test_eight_medians_are_compared_with_and_none_before_the_first() -> None:
    medians = [0.0] * 20 + [6.0] * 8 + [10.0] * 3
    assert find_step(medians, 0, 1) == Step(6, 10, 28)
    assert find_step([0.0] * 5 + [6.0] + [10.0] * 3, 5, 1) == Step(6, 10, 6)


@pytest.mark.parametrize("count", range(4))
def test_too_few_medians_show_none(count: int) -> None:
    assert find_step([1.0, 10.0, 10.0, 10.0][:count], 0, 1) is None
    assert find_step([1.0, 10.0, 10.0, 10.0], 1, 1) is None
