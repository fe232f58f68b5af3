import math
from dataclasses import replace

import pytest

from defectseg.drift.charts import Charts, begin_charts, update_charts
from defectseg.drift.records import DriftBaseline, Settings

# Medians of 10 ± 1, without wander, so that sums can be worked out.
SETTINGS = Settings(ewma_lambda=0.5)
BASELINE = DriftBaseline(centre=10, deviation=1, wander=0, centre_error=0, limit=0)


def draw(
    *medians: float, baseline: DriftBaseline = BASELINE, settings: Settings = SETTINGS
) -> list[Charts]:
    """The charts after each median."""
    charts = begin_charts(baseline)
    return [charts := update_charts(charts, median, 0.5, settings) for median in medians]


def test_cumulative_sum_by_hand() -> None:
    drawn = draw(9, 8, 10.2, 8)
    # Below the baseline by 1, 2, -0.2 and 2, each less 0.5: 0.5, then + 1.5, - 0.7, + 1.5.
    assert [charts.cusum for charts in drawn] == pytest.approx([0.5, 2.0, 1.3, 2.8])


def test_cumulative_sum_is_never_below_0_nor_above_twice_the_alarm() -> None:
    assert [charts.cusum for charts in draw(20, 0, 10)] == pytest.approx([0, 9, 8.5])


def test_a_fall_begins_with_the_first_median_of_the_sum() -> None:
    # Sums of 0, 0.5, 2, 0, 0, 1.5: a median that adds nothing leaves the next to be the first.
    assert [charts.falling for charts in draw(10, 9, 8, 20, 10, 8)] == [1, 1, 2, 3, 1, 1]


def test_moving_average_by_hand() -> None:
    drawn = draw(9, 8, 10.2)
    # From the centre 10, half way to each value.
    assert [charts.ewma for charts in drawn] == pytest.approx([9.5, 8.75, 9.475])
    # 3.5 √(0.5 / 1.5 · (1 − 0.5²)) = 3.5 · 0.5, then 3.5 √(0.5 / 1.5 · (1 − 0.5⁴)).
    lows = [charts.ewma_low for charts in drawn][:2]
    assert lows == pytest.approx([10 - 1.75, 10 - 3.5 * math.sqrt(0.3125)])
    assert drawn[0].ewma_high == pytest.approx(10 + 1.75)


def test_wander_and_the_centres_error_make_the_sum_slower() -> None:
    baseline = DriftBaseline(centre=100, deviation=5, wander=3, centre_error=2, limit=0)
    (charts,) = draw(80, baseline=baseline)
    # The wander's correlation is 0.5, and (1 + 0.5) / (1 − 0.5) = 3; the noise is 5² − 3² = 16.
    # The sum's unit is √(16 + 3 · 9) = 6.557: (20 − 2) / 6.557 − 0.5.
    assert charts.cusum == pytest.approx(18 / 6.5574 - 0.5, abs=1e-4)


def test_the_sum_alone_is_an_alarm() -> None:
    # 2 below, less 0.5, each time: 1.5, 3, 4.5, and 6 is above 4.5.
    drawn = draw(8, 8, 8, 8, settings=replace(SETTINGS, ewma_width=100.0))
    assert [charts.degrading for charts in drawn] == [False, False, False, True]


def test_the_average_alone_is_an_alarm_too() -> None:
    # Half way from 10 to 6 is 8, below 8.25; the sum is 3.5, below 4.5.
    assert [charts.degrading for charts in draw(6)] == [True]


def test_an_alarm_ends_when_the_sum_is_0_and_the_average_at_the_baseline() -> None:
    # Sums of 3.5, 3, 2.5, 2, 1.5, 1, 0.5, 0, held from 0 on.
    drawn = draw(6, *[10] * 8)
    assert [charts.degrading for charts in drawn] == [True] * 7 + [False] * 2
    assert [charts.away for charts in drawn] == [1, 2, 3, 4, 5, 6, 7, 0, 0]


def test_medians_above_the_baseline_are_away_without_an_alarm() -> None:
    # Averages of 15 and 17.5; the limit is below 10 + 3.5 · √(1 / 3) = 12.02.
    drawn = draw(20, 20)
    assert [(charts.away, charts.degrading) for charts in drawn] == [(1, False), (2, False)]
