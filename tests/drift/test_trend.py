from dataclasses import astuple
from datetime import datetime

import numpy as np
import pytest

from defectseg.drift.records import DaysLeft
from defectseg.drift.trend import estimate_days_left, has_trend


def test_slope_and_days_left_of_a_line_by_hand() -> None:
    # 0.04 a day, from 1.4: after day 5 the level is 1.2, and 0.9 is 0.3 / 0.04 days away.
    times = [datetime(2024, 1, 1 + day) for day in range(6)]
    left = estimate_days_left(times, 1.4 - 0.04 * np.arange(6), 0.9)
    assert left is not None
    assert astuple(left) == pytest.approx((7.5, 7.5, 7.5))


def test_days_left_are_0_below_the_limit_and_none_without_a_fall_beyond_doubt() -> None:
    times = [datetime(2024, 1, 1 + day) for day in range(8)]
    falling = 1 - 0.1 * np.arange(8)
    assert estimate_days_left(times, falling, 0.9) == DaysLeft(0, 0, 0)
    assert estimate_days_left(times, -falling, -5) is None
    assert estimate_days_left(times, np.ones(8), 0.5) is None
    assert estimate_days_left(times, np.array([5, 1, 4, 2, 5, 1, 4, 2.0]), 0.5) is None
    assert estimate_days_left(times[:4], falling[:4], 0.1) is None
    assert estimate_days_left([times[0]] * 8, falling, 0.1) is None


def test_a_wider_slope_gives_a_wider_interval_and_in_the_end_none() -> None:
    times = [datetime(2024, 1, 1 + day) for day in range(20)]
    medians = 2 - 0.05 * np.arange(20) + np.random.default_rng(0).normal(0, 0.02, 20)
    narrow, wide = (estimate_days_left(times, medians, 0.5, widening) for widening in (1, 3))
    assert narrow is not None
    assert wide is not None
    assert wide.low < narrow.low < narrow.days == wide.days < narrow.high < wide.high
    assert estimate_days_left(times, medians, 0.5, 1000) is None


@pytest.mark.parametrize("slope", [-0.1, 0, 0.1])
def test_a_slope_beyond_doubt_is_a_trend(slope: float) -> None:
    medians = slope * np.arange(20) + np.random.default_rng(0).normal(0, 0.1, 20)
    assert has_trend(list(medians)) == (slope != 0)
