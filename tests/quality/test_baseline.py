import math

import numpy as np
import pytest

from defectseg.bundle import Baseline
from defectseg.errors import DataError
from defectseg.quality import baseline
from defectseg.quality.measures import MEASURES, Measures


@pytest.mark.parametrize(("alpha", "images"), [(0.01, 99), (0.05, 19), (0.1, 9), (0.5, 1)])
def test_least_size(alpha: float, images: int) -> None:
    assert baseline.least_size(alpha) == images


@pytest.mark.parametrize(
    ("known", "value", "expected"),
    [
        ((5, 6, 7), 4, 1 / 4),  # none is as low: (1 + 0) / (3 + 1)
        ((3, 4, 5), 4, 3 / 4),  # 3 and its equal 4: (1 + 2) / (3 + 1)
        ((1, 2, 3), 4, 1),
        ((9,), 4, 1 / 2),
        ((1, 2, 3), math.nan, 1 / 4),
    ],
)
def test_p_value_by_hand(known: tuple[float, ...], value: float, expected: float) -> None:
    assert baseline.p_value(known, value) == expected


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_false_alarms_are_at_most_alpha_and_not_far_below(alpha: float) -> None:
    # 4000 draws of n known-good images and one more each: the share flagged is alpha where
    # alpha · (n + 1) is whole, with a standard error of at most 0.7 %.
    rng = np.random.default_rng(0)
    n = baseline.least_size(alpha)
    draws = np.sort(rng.exponential(size=(4000, n)), axis=1)
    flagged = [
        baseline.p_value(known, value) <= alpha + 1e-12
        for known, value in zip(draws, rng.exponential(size=4000), strict=True)
    ]
    assert np.mean(flagged) == pytest.approx(alpha, abs=3 * math.sqrt(alpha / 4000))


def test_false_alarm_bound_by_hand() -> None:
    # One of 100 ranks is flagged: Beta(1, 99), of which the 95 % point is 1 − 0.05^(1/99).
    assert baseline.false_alarm_bound(99, 0.01) == pytest.approx(1 - 0.05 ** (1 / 99))
    # Ten of 1000: the more images, the nearer to alpha.
    assert 0.01 < baseline.false_alarm_bound(999, 0.01) < 0.017


def test_false_alarm_bound_is_exceeded_in_one_draw_of_twenty() -> None:
    rng = np.random.default_rng(1)
    # Of uniform values, the share below the lowest known one is that one itself.
    lowest = rng.uniform(size=(4000, 99)).min(axis=1)
    assert np.mean(lowest > baseline.false_alarm_bound(99, 0.01)) == pytest.approx(0.05, abs=0.011)


@pytest.mark.parametrize(("images", "missing"), [(100, 1), (2, 99), (40, 61)])
def test_too_few_images_are_refused_and_counted(images: int, missing: int) -> None:
    # 99 to rank and 2 for the spread.
    with pytest.raises(DataError, match=f"found {images}: {missing} missing"):
        baseline.check_size(images, 0.01, "bolt")


def test_the_rate_that_is_proposed_would_do() -> None:
    with pytest.raises(DataError, match=r"gate_alpha=0\.026"):
        baseline.check_size(40, 0.01, "bolt")
    baseline.check_size(40, 0.026, "bolt")
    baseline.check_size(101, 0.01, "bolt")


def good_measures(count: int, rng: np.random.Generator) -> list[Measures]:
    """Contrast differs by 30 %, all else by 5 %."""
    contrast = np.exp(0.3 * rng.normal(size=(count, 1)))
    values = 20 * contrast * np.exp(0.05 * rng.normal(size=(count, len(MEASURES))))
    return [Measures(*map(float, row)) for row in values]


def test_joint_deviation_flags_no_more_good_images_than_alpha() -> None:
    rng = np.random.default_rng(2)
    fitted = baseline.fit_baseline(good_measures(300, rng), 0.05, "bolt")
    assert len(fitted.deviations) == 150
    p_value = baseline.open_baseline(fitted)
    flagged = [
        p_value(baseline.to_coordinates(measures)) <= 0.05 for measures in good_measures(2000, rng)
    ]
    assert 0.01 < np.mean(flagged) < baseline.false_alarm_bound(150, 0.05)


def test_joint_deviation_sees_what_no_single_measure_shows() -> None:
    rng = np.random.default_rng(3)
    fitted = baseline.fit_baseline(good_measures(300, rng), 0.01, "bolt")
    # Each value is within 30 % of the usual, as contrast makes it; but one rises, another falls.
    odd = Measures(*np.where(np.arange(len(MEASURES)) % 2, 24.0, 17.0))
    usual = Measures(*np.full(len(MEASURES), 26.0))
    p_value = baseline.open_baseline(fitted)
    p_odd, p_usual = (p_value(baseline.to_coordinates(own)) for own in (odd, usual))
    assert p_odd <= 0.01
    assert p_usual > 0.05


def test_deviation_and_its_p_value_by_hand() -> None:
    known = Baseline(center=(1.0, 1.0), whiten=((2.0, 0.0), (0.0, 1.0)), deviations=(1.0, 5.0, 9.0))
    # (2.5 − 1) · 2 = 3 and 5 − 1 = 4: 5 from the center. Of three, 5 and 9 are as far.
    point = np.array([2.5, 5.0])
    assert baseline.open_deviation(known)(point) == pytest.approx(5)
    assert baseline.open_baseline(known)(point) == (1 + 2) / (1 + 3)


def test_whitening_gives_unit_spread_in_every_direction() -> None:
    rng = np.random.default_rng(4)
    points = rng.normal(size=(5000, 3)) @ np.array([[2, 1, 0], [0, 0.5, 0.3], [0, 0, 4]])
    points -= points.mean(axis=0)
    white = points @ baseline.whitening(points).T
    assert np.cov(white.T) == pytest.approx(np.eye(3), abs=0.03)


def test_an_image_in_which_all_is_alike_has_finite_coordinates() -> None:
    assert np.isfinite(baseline.to_coordinates(Measures(*np.zeros(len(MEASURES))))).all()
