import numpy as np
import pytest

from defectseg.drift.fall import Fall, estimate_fall_days, find_fall, learn_start
from defectseg.drift.records import Settings
from tests.drift.cameras import days

SETTINGS = Settings(median_of=10, wander=1e-6)
# Ten images around 0, of which the mean is 0 with and without the outer two.
SPREAD = np.array([-4, -3, -2, -1, -0.5, 0.5, 1, 2, 3, 4]) / 10


def groups(*levels: float, spread: np.ndarray = SPREAD) -> list[np.ndarray]:
    return [level + spread for level in levels]


def line(count: int, drop: float = 0.1) -> list[float]:
    return [10 - drop * index for index in range(count)]


def find(levels: list[float], likeness: float = 0.5, settings: Settings = SETTINGS) -> Fall | None:
    return find_fall(groups(*levels), likeness, settings)


def test_a_line_by_hand() -> None:
    fall = find(line(12))
    assert fall is not None
    assert (fall.start, fall.end, fall.count) == pytest.approx((10, 8.9, 12))
    assert fall.drop == pytest.approx(0.1)
    # Ten images are 0.05, 0.1, 0.2, 0.3 and 0.4 from 0, each twice: 1.4826 · 0.2 is their scatter,
    # raised by 1.16 / √120. A level has 1.03 / √10 of it, and the slope of twelve levels
    # 1 / √(12 (12² − 1) / 12) of that.
    scatter = 1.4826 * 0.2 * (1 + 1.16 / 120**0.5)
    assert fall.error == pytest.approx(scatter * 1.03 / 10**0.5 / 143**0.5, rel=1e-3)


def test_the_wander_makes_it_less_sure_by_hand() -> None:
    settings = Settings(median_of=10, wander=0.01)
    without, alone, together = (
        find(line(12), likeness, own)
        for likeness, own in ((0, SETTINGS), (0, settings), (0.9, settings))
    )
    assert without is not None
    assert alone is not None
    assert together is not None
    # 1 % of the middle level 9.45, over the root of 143.
    assert alone.error == pytest.approx(np.hypot(without.error, 0.0945 / 143**0.5))
    index = np.arange(12) - 5.5
    alike = index @ 0.9 ** np.abs(index[:, None] - index) @ index / 143**2
    assert together.error == pytest.approx(np.hypot(without.error, 0.0945 * alike**0.5))


def test_a_fall_is_told_from_12_medians_and_20_images_on() -> None:
    assert find(line(11)) is None
    assert find(line(12)) is not None
    one = Settings(median_of=1, wander=1e-6)
    singles = [np.array([level]) for level in line(20)]
    assert find_fall(singles[:19], 0.5, one) is None
    assert find_fall(singles, 0.5, one) is not None


def test_what_does_not_fall_beyond_doubt_is_none() -> None:
    assert find([10.0] * 12) is None
    assert find(line(12, drop=-0.1)) is None
    # Beyond doubt is 2.7 times the error of test_a_line_by_hand: 2.7 · 0.00893 = 0.0241.
    assert find(line(12, drop=0.0240)) is None
    assert find(line(12, drop=0.0242)) is not None
    # Levels that scatter more than their images tell, by 0.3: it takes 2.7 · 0.3 / √143 = 0.07.
    uneven = [level + 0.3 * (-1) ** index for index, level in enumerate(line(12, drop=0.05))]
    assert find(uneven) is None


@pytest.mark.parametrize("at", range(12))
def test_one_odd_median_is_no_fall_and_hides_none(at: int) -> None:
    noise = np.random.default_rng(at).normal(0, 0.05, 12)
    steady, falling = 10 + noise, np.array(line(12)) + noise
    steady[at] = falling[at] = 3
    assert find(list(steady)) is None
    fall = find(list(falling))
    assert fall is not None
    assert fall.drop == pytest.approx(0.1, rel=0.3)


def test_odd_images_move_no_level() -> None:
    odd = groups(*line(12))
    odd[-1][0] = odd[0][-1] = 1e6
    fall = find_fall(odd, 0.5, SETTINGS)
    assert fall is not None
    assert fall.drop == pytest.approx(0.1, rel=0.2)


def test_the_baseline_is_the_level_that_the_camera_fell_from() -> None:
    rng = np.random.default_rng(0)
    settings = Settings()
    images = list(rng.normal(np.linspace(1.4, 1.28, 40)[:, None], 0.1, (40, 50)))
    fall = find_fall(images, 0.8, settings)
    assert fall is not None
    start = learn_start(days(2000, 200), images, fall, settings)
    assert start.centre == pytest.approx(1.4, abs=2 * start.centre_error)
    # The fall is no scatter: a median's is 0.1 · √(π / 2 / 50), and a wander of 0.4 %.
    assert start.deviation == pytest.approx(np.hypot(0.0177, 0.0056), rel=0.35)
    assert start.centre_error > 19.5 * fall.error


def test_days_left_by_hand() -> None:
    # 0.1 from one to the next, of which there are four a day; after the last, 9 - 8 = 1 is left.
    fall = Fall(start=10, end=9, count=11, error=0.02)
    left = estimate_fall_days(fall, 2.5, 8)
    assert left.days == pytest.approx(10 / 4)
    # From the middle, 9.5, by 0.1 ± 0.0392: 1.5 / 0.1392 and 1.5 / 0.0608, less 5.
    assert (left.low, left.high) == pytest.approx(((10.776 - 5) / 4, (24.671 - 5) / 4), abs=1e-3)
    assert estimate_fall_days(fall, 2.5, 9.9).days == 0
