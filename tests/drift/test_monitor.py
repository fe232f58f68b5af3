import math
import subprocess
import sys
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectseg.drift.baseline import learn_baseline
from defectseg.drift.monitor import watch
from defectseg.drift.records import DaysLeft, Drift, DriftBaseline, Kind, Settings, Status
from tests.drift.cameras import IMAGES_A_DAY, constant, days, see

# Single values of 10 ± 1, without wander, so that sums can be worked out.
BY_HAND = Settings(
    median_of=1,
    ewma_lambda=0.5,
    baseline=DriftBaseline(centre=10, deviation=1, wander=0, centre_error=0, limit=0),
)


def kinds(drift: Drift) -> list[Kind]:
    return [event.kind for event in drift.events]


def dated(drift: Drift, kind: Kind) -> list[float]:
    """The days on which such events were found."""
    start = datetime(2024, 1, 1)
    found = [event.time - start for event in drift.events if event.kind == kind]
    return [gap.total_seconds() / 86_400 for gap in found]


def test_the_wander_of_one_median_a_day_is_half_that_of_the_day_before() -> None:
    baseline = DriftBaseline(centre=100, deviation=5, wander=3, centre_error=2, limit=0)
    drift = watch(days(2), np.array([80.0, 80.0]), replace(BY_HAND, baseline=baseline))
    # (1 + 0.5) / (1 − 0.5) = 3; the noise is 5² − 3² = 16. The sum's unit is √(16 + 3 · 9) = 6.557:
    # it grows by (20 − 2) / 6.557 − 0.5 a day.
    growth = 18 / 6.5574 - 0.5
    assert [point.cusum for point in drift.points] == pytest.approx([growth, 2 * growth], abs=1e-3)


def test_the_alarm_is_at_the_median_that_passes_it() -> None:
    # 2 below, less 0.5, each time: 1.5, 3, 4.5, and 6 is above 4.5.
    settings = replace(BY_HAND, ewma_width=100.0)
    drift = watch(days(6), np.array([10, 10, 8, 8, 8, 8.0]), settings)
    assert [(event.kind, event.time.day) for event in drift.events] == [(Kind.DEGRADING, 6)]
    assert drift.status == Status.DEGRADING
    assert "falling since 2024-01-03 12:00" in drift.events[0].message


def test_an_episode_is_one_event_and_a_second_one_another() -> None:
    fall, back = [8.0] * 10, [10.0] * 30
    drift = watch(days(80), np.array(fall + back + fall + back), BY_HAND)
    assert [(event.kind, event.time.month) for event in drift.events] == [
        (Kind.DEGRADING, 1),
        (Kind.DEGRADING, 2),
    ]
    assert drift.status == Status.STEADY


def test_medians_and_times_by_hand() -> None:
    settings = replace(BY_HAND, median_of=3)
    times = days(7)[::-1]  # given last first: sorted, the values are 1, 2, ..., 7
    drift = watch(times, np.array([7, 6, 5, 4, 3, 2, 1.0]), settings)
    assert [point.median for point in drift.points] == [2, 5]
    assert [point.time.day for point in drift.points] == [3, 6]
    assert drift.images == 7


def test_one_odd_part_moves_nothing() -> None:
    values = see(constant(1.4, 14), 1)
    odd = values.copy()
    odd[2512] = 0
    settings = Settings()
    assert kinds(watch(days(2800, 200), odd, settings)) == []


def test_low_is_reported_once_until_eight_medians_are_not() -> None:
    settings = replace(BY_HAND, limit=5.0, ewma_width=1e3, cusum_h=1e3)
    values = [10] * 4 + [4] + [6] * 7 + [4] + [6] * 8 + [4]
    drift = watch(days(len(values)), np.array(values, float), settings)
    lows = [event.time.timetuple().tm_yday for event in drift.events if event.kind == Kind.LOW]
    assert lows == [5, 22]  # 7 medians above the limit are too few, 8 are enough
    assert drift.status == Status.LOW
    assert drift.days_left == DaysLeft(0, 0, 0)


def test_a_median_at_the_limit_is_not_low() -> None:
    assert kinds(watch(days(1), np.array([10.0]), replace(BY_HAND, limit=10.0))) == []


def test_a_low_level_is_told_before_there_is_a_baseline() -> None:
    drift = watch(days(3), np.full(3, 0.8), Settings(median_of=1, limit=0.9))
    assert kinds(drift) == [Kind.LOW]
    assert drift.status == Status.LOW


@pytest.mark.parametrize("seed", range(3))
def test_images_that_are_known_good_are_a_baseline(seed: int) -> None:
    known = learn_baseline(days(4000, 200), see(constant(1.4, 20), 100 + seed), Settings())
    settings = Settings(baseline=known)
    values = see(np.linspace(1.4, 0.8, 50 * IMAGES_A_DAY), seed)
    # No day is spent on learning.
    assert 0 < dated(watch(days(len(values), 200), values, settings), Kind.DEGRADING)[0] < 6


# The simulations of benchmarks/drift.py in small.

DUST = datetime(2024, 1, 16)  # after 15 clean days


def test_clean_cameras_are_left_alone() -> None:
    clean = constant(1.4, 60)
    alarmed = [bool(watch(days(len(clean), 200), see(clean, seed)).events) for seed in range(20)]
    assert sum(alarmed) <= 1


def test_dust_is_found_within_5_days_where_a_fixed_line_takes_41() -> None:
    levels = np.concatenate([constant(1.4, 15), np.linspace(1.4, 0.86, 45 * IMAGES_A_DAY)])
    drifts = [
        watch(days(len(levels), 200), see(levels, seed), Settings(limit=0.9)) for seed in range(20)
    ]
    delays = [dated(drift, Kind.DEGRADING)[-1] - 15 for drift in drifts]
    assert sum(0 < delay <= 5 for delay in delays) >= 19
    # (1.4 − 0.9) / 0.012 a day = 41.7; noise is below the line somewhat earlier.
    lines = [dated(drift, Kind.LOW)[0] - 15 for drift in drifts]
    assert 38 < np.median(lines) < 42
    # One event each: neither ends while the dust is there. A false alarm was before it.
    after = [[event.kind for event in drift.events if event.time >= DUST] for drift in drifts]
    assert {tuple(own) for own in after} == {(Kind.DEGRADING, Kind.LOW)}
    assert sum(drift.events[0].time < DUST for drift in drifts) <= 1


def test_dust_from_the_first_day_on_is_found_without_a_baseline() -> None:
    levels = np.linspace(1.4, 1.2, int(50 / 3) * IMAGES_A_DAY)  # 0.0125 a day
    found, centres = [], []
    for seed in range(20):
        values = see(levels, seed)
        drift = watch(days(len(levels), 200), values, Settings(limit=0.9))
        # The learned baseline does not report it again, and goes on from it.
        assert kinds(drift) == [Kind.DEGRADING]
        assert drift.status == Status.DEGRADING
        assert drift.days_left is not None
        assert "no baseline yet" in drift.events[0].message
        found += dated(drift, Kind.DEGRADING)
        assert drift.baseline is not None
        centres.append(drift.baseline.centre)
    assert min(found) >= 2.9  # twelve medians
    assert np.median(found) <= 5
    assert max(found) <= 7
    assert np.mean(centres) == pytest.approx(1.4, rel=0.01)
    assert centres == pytest.approx([1.4] * 20, rel=0.02)


def test_days_left_of_a_camera_without_a_baseline() -> None:
    levels = np.linspace(1.4, 1.3, 8 * IMAGES_A_DAY)
    values = see(levels, 0)
    drift = watch(days(len(levels), 200), values, Settings(limit=0.9))
    assert drift.status == Status.DEGRADING
    assert drift.baseline is None
    assert drift.days_left is not None
    # (1.3 − 0.9) / 0.0125 a day.
    assert drift.days_left.low < 32 < drift.days_left.high
    assert drift.reason.endswith(
        f"at the limit 0.900 in {drift.days_left.days:.0f} days "
        f"({drift.days_left.low:.0f} to {drift.days_left.high:.0f})"
    )
    unlimited = watch(days(len(levels), 200), values)
    assert (unlimited.status, unlimited.days_left) == (Status.DEGRADING, None)
    assert unlimited.reason.endswith("no limit yet")
    at_once = watch(np.full(len(levels), days(1)[0]), values, Settings(limit=0.9))
    assert (at_once.status, at_once.days_left) == (Status.DEGRADING, None)


def test_the_alarm_holds_at_the_median_that_makes_the_baseline() -> None:
    values = see(np.linspace(1.4, 1.2, 15 * IMAGES_A_DAY), 0)
    for medians in (39, 40, 41):
        drift = watch(days(medians * 50, 200), values[: medians * 50], Settings(limit=0.9))
        assert kinds(drift) == [Kind.DEGRADING]
        assert drift.status == Status.DEGRADING
        assert drift.days_left is not None
        assert (drift.baseline is None) == (medians == 39)


def test_a_camera_that_was_dusty_from_the_start_is_known_again_once_cleaned() -> None:
    dusty = np.linspace(1.4, 1.1, 25 * IMAGES_A_DAY)
    # A second episode is one more event, since the first has ended.
    levels = np.concatenate([dusty, constant(1.4, 10), dusty])
    drift = watch(days(len(levels), 200), see(levels, 0), Settings(limit=0.9))
    assert kinds(drift) == [Kind.DEGRADING, Kind.CLEANED, Kind.DEGRADING]
    assert 35 < dated(drift, Kind.DEGRADING)[1] <= 40


def test_a_cleaning_while_the_baseline_is_learned_ends_the_fall() -> None:
    levels = np.concatenate([np.linspace(1.4, 1.3, 8 * IMAGES_A_DAY), constant(1.45, 15)])
    drift = watch(days(len(levels), 200), see(levels, 1))
    assert kinds(drift) == [Kind.DEGRADING, Kind.CLEANED]
    assert drift.status == Status.STEADY
    assert drift.baseline is not None
    assert drift.baseline.centre == pytest.approx(1.45, rel=0.01)


def test_a_fall_after_a_cleaning_is_told_while_the_next_baseline_is_learned() -> None:
    levels = np.concatenate(
        [constant(1.2, 15), np.linspace(1.4, 1.2, 16 * IMAGES_A_DAY), constant(1.2, 1)]
    )
    drift = watch(days(len(levels), 200), see(levels, 0))
    assert kinds(drift) == [Kind.CLEANED, Kind.DEGRADING, Kind.BASELINE_STALE]
    assert 18 < dated(drift, Kind.DEGRADING)[0] <= 22
    # By its own line, from 1.4.
    assert drift.events[-1].message.startswith("fell from 1.39, 16.2 % above the baseline 1.20")
    assert drift.status == Status.DEGRADING


def test_days_left_of_a_dusty_camera() -> None:
    levels = np.concatenate([constant(1.4, 15), np.linspace(1.4, 1.16, 20 * IMAGES_A_DAY)])
    held = 0
    for seed in range(20):
        drift = watch(days(len(levels), 200), see(levels, seed), Settings(limit=0.9))
        assert drift.status == Status.DEGRADING
        assert drift.days_left is not None
        # The dust goes on by 0.012 a day: (1.16 − 0.9) / 0.012.
        held += drift.days_left.low <= 21.7 <= drift.days_left.high
        assert drift.days_left.days == pytest.approx(21.7, rel=0.3)
    assert held >= 17


@pytest.mark.parametrize("median_of", [1, 50])
def test_the_articles_cleaning_is_found_within_a_day(median_of: int) -> None:
    """From 0.8 to 1.4 at index 64: of medians, four a day, or of images."""
    a_day = IMAGES_A_DAY / 50 if median_of == 1 else IMAGES_A_DAY
    levels = np.where(np.arange(400) < 64, 0.8, 1.4)
    for seed in range(20):
        values = see(levels, seed)
        drift = watch(days(400, a_day), values, Settings(median_of=median_of))
        (found,) = dated(drift, Kind.CLEANED)
        assert 0 < found - 64 / a_day <= 1


def test_after_a_cleaning_a_new_baseline_is_learned_and_watched() -> None:
    levels = np.concatenate(
        [constant(0.8, 15), constant(1.4, 20), np.linspace(1.4, 1.2, 10 * IMAGES_A_DAY)]
    )
    drift = watch(days(len(levels), 200), see(levels, 0))
    assert kinds(drift) == [Kind.CLEANED, Kind.BASELINE_STALE, Kind.DEGRADING]
    assert drift.baseline is not None
    assert drift.baseline.centre == pytest.approx(1.4, rel=0.02)
    while_learning = watch(days(len(levels), 200)[: 20 * 200], see(levels, 0)[: 20 * 200])
    assert while_learning.status == Status.LEARNING
    # 5 days after the cleaning: 20 medians.
    assert while_learning.reason == "20 of 40 medians of a new baseline"


def test_after_a_cleaning_back_to_the_baseline_it_is_kept() -> None:
    levels = np.concatenate(
        [constant(1.4, 15), np.linspace(1.4, 0.8, 50 * IMAGES_A_DAY), constant(1.4, 20)]
    )
    drift = watch(days(len(levels), 200), see(levels, 0), Settings(limit=0.9))
    assert kinds(drift) == [Kind.DEGRADING, Kind.LOW, Kind.CLEANED]
    assert drift.status == Status.STEADY
    assert drift.days_left is None


@pytest.mark.parametrize("level", [1.25, 1.5])
def test_a_level_that_stays_elsewhere_makes_the_baseline_stale(level: float) -> None:
    # By ramps of 5 days, not by a step.
    ramp = np.linspace(1.4, level, 5 * IMAGES_A_DAY)
    levels = np.concatenate([constant(1.4, 12), ramp, constant(level, 30)])
    drift = watch(days(len(levels), 200), see(levels, 2))
    fallen = [Kind.DEGRADING] if level < 1.4 else []
    assert kinds(drift) == [*fallen, Kind.BASELINE_STALE]
    assert drift.status == Status.STEADY
    assert drift.baseline is not None
    assert drift.baseline.centre == pytest.approx(level, rel=0.02)


def test_a_limit_that_was_taken_from_a_baseline_never_sinks() -> None:
    levels = np.concatenate([constant(1.4, 12), constant(1.25, 30)])
    drift = watch(days(len(levels), 200), see(levels, 2))
    assert kinds(drift) == [Kind.DEGRADING, Kind.BASELINE_STALE]
    limits = [point.limit for point in drift.points if point.limit is not None]
    assert limits == sorted(limits)
    assert drift.baseline is not None
    assert drift.limit is not None
    assert drift.limit > drift.baseline.limit


# What is odd.


def test_the_import_is_light() -> None:
    heavy = "{'scipy', 'matplotlib', 'pandas', 'tensorflow'} & set(sys.modules)"
    code = f"import sys, defectseg.drift.monitor; sys.exit(bool({heavy}))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("count", [0, 1, 3, 49, 50, 1999, 2000, 2049])
def test_too_few_images_are_said_to_be_so(count: int) -> None:
    drift = watch(days(count, 200), np.full(count, 1.4))
    assert drift.status == Status.TOO_FEW
    assert drift.reason == (
        f"{count:,} images; the first verdict takes 2,050, or 50 with a given baseline"
    )
    assert len(drift.points) == count // 50
    assert drift.events == ()


def test_too_few_images_for_one_median_with_a_given_baseline() -> None:
    settings = replace(BY_HAND, median_of=50)
    drift = watch(days(3), np.full(3, 10.0), settings)
    assert drift.status == Status.TOO_FEW
    assert drift.reason == "3 images; the first verdict takes 50"
    assert watch(days(50), np.full(50, 10.0), settings).status == Status.STEADY


@pytest.mark.parametrize("level", [0, 1e-6, 1.4, 1e6])
def test_a_constant_series_is_steady_and_a_fall_of_it_is_found(level: float) -> None:
    steady = np.full(5000, level)
    assert watch(days(5000, 200), steady).status == Status.STEADY
    fallen = np.where(np.arange(5000) < 4000, level, level - max(0.1 * level, 0.01))
    assert Kind.DEGRADING in kinds(watch(days(5000, 200), fallen))


def test_times_that_are_all_the_same_give_a_defined_answer() -> None:
    times = np.full(3000, np.datetime64("2024-01-01", "us"))
    values = np.where(np.arange(3000) < 2000, 1.4, 1.2)
    drift = watch(times, values, Settings(limit=0.9))
    assert drift.status == Status.DEGRADING
    assert drift.days_left is None


@given(
    st.lists(
        st.sampled_from([0.0, 1.0, 1.4, -3.0, 1e-12, 1e6]) | st.floats(-1e9, 1e9), max_size=120
    ),
    st.integers(1, 4),
)
def test_any_series_has_finite_answers(values: list[float], median_of: int) -> None:
    settings = Settings(median_of=median_of, baseline_medians=20, stale_medians=20)
    drift = watch(days(len(values), 3), np.array(values), settings)
    assert len(drift.points) == len(values) // median_of
    records = [*drift.points, *drift.events, drift.baseline, drift.days_left]
    for record in filter(None, records):
        numbers = [value for value in vars(record).values() if isinstance(value, float)]
        assert np.isfinite(numbers).all()
    assert drift.reason
    assert [event.time for event in drift.events] == sorted(event.time for event in drift.events)


def test_a_series_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="1 that are not, the first at index 1"):
        watch(days(2), np.array([1, math.nan]))
    with pytest.raises(ValueError, match="same shape"):
        watch(days(2), np.ones(3))
