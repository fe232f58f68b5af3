import math

import numpy as np
import pytest

from defectseg.drift.baseline import describe_baseline, is_level, learn_baseline
from defectseg.drift.records import DriftBaseline, Settings
from defectseg.errors import ConfigError
from tests.drift.cameras import days


def test_baseline_of_a_known_mean_and_deviation_by_hand() -> None:
    # The median of one value is the value: √(2² + 0.04²). Five of them below 100 is 89.998, and
    # 1 % of the images are below 100 − 2.326 · 2 = 95.35: the lower one is the limit.
    known = describe_baseline(100, 2, Settings(median_of=1, wander=0.0004))
    assert known.deviation == pytest.approx(math.hypot(2, 0.04))
    assert known.limit == pytest.approx(100 - 5 * math.hypot(2, 0.04))
    # Of 50: 2 √(π / 2 / (50 + π / 2 − 1)) = 0.3525. The level of one day may be off by the wander.
    known = describe_baseline(100, 2, Settings(wander=0.0004))
    assert known.deviation == pytest.approx(math.hypot(0.35249, 0.04), abs=1e-5)
    assert known.centre_error == pytest.approx(0.04)
    assert known.limit == pytest.approx(100 - 2.3263 * 2, abs=1e-3)


def test_learned_baseline_meets_the_truth() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(1.4, 0.112, 20_000)
    # The days are not told apart, so that the wander stays whole in the centre's error.
    learned = learn_baseline(np.zeros(20_000, "datetime64[us]"), values, Settings())
    known = describe_baseline(1.4, 0.112, Settings())
    assert learned.centre == pytest.approx(known.centre, rel=0.003)
    assert learned.deviation == pytest.approx(known.deviation, rel=0.1)
    assert learned.centre_error == pytest.approx(known.centre_error, rel=0.05)
    assert learned.limit == pytest.approx(known.limit, rel=0.01)


def test_more_days_make_the_centre_surer() -> None:
    values = np.random.default_rng(0).normal(1.4, 0.112, 1000)
    errors = [
        learn_baseline(days(1000, a_day), values, Settings()).centre_error
        for a_day in (1000, 100, 10)
    ]
    assert errors == sorted(errors, reverse=True)


def test_medians_that_scatter_more_than_their_images_make_the_deviation() -> None:
    # Groups of 50 that are alike within and differ by their number.
    values = np.repeat(np.arange(10.0) + 100, 50)
    learned = learn_baseline(days(500), values, Settings())
    # The medians 100 to 109 are 0.5 to 4.5 from 104.5, by the median 2.5.
    assert learned.deviation == pytest.approx(1.4826 * 2.5)


def test_a_level_is_the_baselines_within_three_deviations() -> None:
    baseline = DriftBaseline(centre=10, deviation=2, wander=0, centre_error=0, limit=0)
    levels = (3.9, 4, 16, 16.1)
    assert [is_level(level, baseline) for level in levels] == [False, True, True, False]


def test_what_gives_no_baseline_is_refused() -> None:
    with pytest.raises(ConfigError, match="19 images; expected at least 20"):
        learn_baseline(days(19), np.ones(19), Settings())
    with pytest.raises(ValueError, match="1 that are not, the first at index 0"):
        learn_baseline(days(20), np.array([math.nan] + [1.0] * 19), Settings())
    with pytest.raises(ConfigError, match="mean nan"):
        describe_baseline(math.nan, 1, Settings())
    with pytest.raises(ConfigError, match="standard deviation -1"):
        describe_baseline(1, -1, Settings())
