import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage
from skimage.morphology import area_opening

from defectseg.annotations.ellipse import Ellipse
from defectseg.dataset.masks import rasterise
from defectseg.inference.regions import _LEVELS, Region, find_regions, image_score


def regions_of(
    probability: npt.NDArray[np.float32], *, least_score: float = 0.0, area_px: int = 1
) -> tuple[list[Region], npt.NDArray[np.uint8]]:
    _, regions, mask = find_regions(
        probability, area_px, pixel_threshold=0.5, least_score=least_score
    )
    return regions, mask


def level(probability: float) -> float:
    """Return the step of the scores at or below a probability."""
    return float(_LEVELS[np.float32(probability) >= _LEVELS].max())


def empty(shape: tuple[int, int] = (20, 30)) -> npt.NDArray[np.float32]:
    return np.zeros(shape, np.float32)


def test_rectangle_by_hand() -> None:
    probability = empty()
    probability[5:8, 10:16] = 0.75
    (region,), mask = regions_of(probability)
    assert region.area_px == 3 * 6
    assert region.bbox_xywh == (10, 5, 6, 3)
    assert region.centroid_xy == (12.5, 6)
    # A rectangle's variance along a side of s is s²/12, an ellipse's a²/4: a = s / √3.
    assert region.semi_major == pytest.approx(6 / 3**0.5)
    assert region.semi_minor == pytest.approx(3 / 3**0.5)
    assert region.angle == pytest.approx(0)
    assert region.score == level(0.75)
    np.testing.assert_array_equal(mask, probability > 0)


def test_single_pixel_has_the_axes_of_a_square() -> None:
    probability = empty()
    probability[0, 29] = 1
    (region,), _ = regions_of(probability)
    assert (region.area_px, region.bbox_xywh, region.centroid_xy) == (1, (29, 0, 1, 1), (29, 0))
    assert region.semi_major == pytest.approx(1 / 3**0.5)
    assert region.semi_minor == pytest.approx(1 / 3**0.5)


@pytest.mark.parametrize("angle", [0, 0.3, 1.0, np.pi / 2, -0.3, -1.2])
def test_drawn_ellipse_is_recovered(angle: float) -> None:
    # The annotations' own convention: 1-based, the angle clockwise on the screen.
    drawn = Ellipse(40, 15, angle, 81, 71)
    mask = rasterise([drawn], (150, 160))
    (region,), kept = regions_of(mask.astype(np.float32))
    np.testing.assert_array_equal(kept, mask)
    assert region.semi_major == pytest.approx(40, rel=0.02)
    assert region.semi_minor == pytest.approx(15, rel=0.02)
    # Of two opposite directions of the same axis either will do.
    assert np.sin(region.angle - angle) == pytest.approx(0, abs=0.01)
    assert -np.pi / 2 < region.angle <= np.pi / 2
    assert region.centroid_xy == pytest.approx((80, 70), abs=0.1)


def test_an_answer_in_ellipses_has_the_area_and_place_of_the_region() -> None:
    probability = empty((120, 140))
    probability[40:70, 50:100] = 0.9
    _, (region,), mask = find_regions(
        probability,
        1,
        pixel_threshold=0.5,
        least_score=0,
        as_ellipses=True,
    )
    # A rectangle of w × h has the moments of an ellipse with half-axes w/√3 and h/√3.
    drawn = Ellipse(50 / 3**0.5, 30 / 3**0.5, 0, 75.5, 55.5)
    np.testing.assert_array_equal(mask, rasterise([drawn], mask.shape))
    assert region.area_px == mask.sum() == pytest.approx(np.pi * 50 * 30 / 3, rel=0.01)
    assert region.centroid_xy == pytest.approx((74.5, 54.5))
    assert region.semi_major == pytest.approx(50 / 3**0.5, rel=0.02)


def test_what_the_border_cuts_or_is_too_small_keeps_its_form_among_ellipses() -> None:
    probability = empty()
    probability[0:4, 3:9] = 0.9
    probability[10, 10] = 0.9
    _, regions, mask = find_regions(
        probability,
        1,
        pixel_threshold=0.5,
        least_score=0,
        as_ellipses=True,
    )
    np.testing.assert_array_equal(mask, probability > 0)
    assert sorted(region.area_px for region in regions) == [1, 24]


def test_falling_diagonal_has_a_positive_angle() -> None:
    probability = empty((20, 20))
    np.fill_diagonal(probability, 1)  # from the upper left to the lower right
    (region,), _ = regions_of(probability)  # one region: its pixels touch by their corners
    assert region.area_px == 20
    assert region.angle == pytest.approx(np.pi / 4)


def test_strongest_is_first_and_weak_ones_are_dropped() -> None:
    probability = empty()
    probability[2:5, 2:5] = 0.6
    probability[10:13, 2:5] = 0.9
    probability[10:13, 20:23] = 0.7
    regions, mask = regions_of(probability, least_score=0.65)
    assert [region.score for region in regions] == [level(0.9), level(0.7)]
    np.testing.assert_array_equal(mask, probability > 0.65)


def test_threshold_itself_belongs_to_a_region() -> None:
    probability = empty((1, 5))
    probability[0] = [0.5, 0, np.nextafter(np.float32(0.5), np.float32(0)), 0, 0.5]
    _, mask = regions_of(probability, least_score=level(0.5))
    np.testing.assert_array_equal(mask, [[1, 0, 0, 0, 1]])


def test_a_region_scores_by_its_strongest_level_and_share() -> None:
    probability = empty()
    probability[10, 4:8] = [0.31, 0.9, 0.9, 0.31]  # two pixels of 0.9; four of 0.31
    probability[9:12, 20:23] = 0.8  # nine
    (strong, weak), mask = regions_of(probability, least_score=0.2, area_px=4)
    assert strong.score == level(0.8)
    assert weak.score == pytest.approx(max(level(0.9) * 2 / 4, level(0.31) * 4 / 4))
    assert mask.sum() == 2 + 9


def test_a_sure_region_one_pixel_short_of_the_area_is_no_pass() -> None:
    probability = empty()
    probability[5:15, 5:15] = 1
    (region,), mask = regions_of(probability, least_score=0.5, area_px=101)
    assert region.score == pytest.approx(level(1) * 100 / 101)
    assert mask.sum() == 100


def test_a_speck_is_dropped() -> None:
    probability = empty()
    probability[10, 5:7] = 1  # 2 of 30 pixels: 0.07
    regions, mask = regions_of(probability, least_score=0.1, area_px=30)
    assert (regions, mask.any()) == ([], False)


def test_what_is_fainter_than_a_region_but_scores_is_shown() -> None:
    probability = empty()
    probability[5:15, 5:15] = 0.45
    probability[0, 29] = 0.9  # a speck, which does not score
    (region,), mask = regions_of(probability, least_score=0.3, area_px=100)
    assert region.score == level(0.45)
    np.testing.assert_array_equal(mask, probability == np.float32(0.45))


@pytest.mark.parametrize("area_px", [1, 4, 25])
def test_the_strongest_region_has_the_score_of_the_image(area_px: int) -> None:
    regions, _ = regions_of(smooth_noise(), area_px=area_px)
    assert regions[0].score == image_score(smooth_noise(), area_px) > 0.5


def test_nothing_gives_no_regions() -> None:
    regions, mask = regions_of(empty())
    assert regions == []
    assert (mask.shape, mask.dtype, mask.any()) == ((20, 30), np.uint8, False)


def smooth_noise() -> npt.NDArray[np.float32]:
    noise = ndimage.gaussian_filter(np.random.default_rng(3).random((60, 80)), 3)
    return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)


def test_score_by_hand() -> None:
    probability = np.array([[0.9, 0.9, 0, 0.6], [0, 0, 0, 0.6], [0, 0, 0, 0.6]], np.float32)
    # Two of four pixels at 0.9, three of four at 0.6.
    two, three = level(0.9) / 2, level(0.6) * 3 / 4
    assert three > two
    assert image_score(probability, 4) == pytest.approx(three)
    assert image_score(probability[:, :2], 4) == pytest.approx(two)
    score, (strong, weak), _ = find_regions(probability, 4, pixel_threshold=0.5, least_score=0.1)
    assert score == strong.score == pytest.approx(three)
    assert weak.score == pytest.approx(two)


@pytest.mark.parametrize("area_px", [2, 5, 30, 400])
def test_score_is_no_less_than_that_of_the_area_opening(area_px: int) -> None:
    # In steps: the opening's own maximum lies at most one above.
    noise = smooth_noise()
    for probability in (noise, noise**8, np.round(noise, 1)):
        opened = area_opening(probability, area_px, connectivity=2).max()
        assert level(opened) <= image_score(probability, area_px) <= probability.max()


@pytest.mark.parametrize("area_px", [1, 6, 40])
def test_scores_are_the_best_over_all_levels(area_px: int) -> None:
    # The slow way: each set of each level, and each region the best that it meets.
    probability = smooth_noise() ** 4
    labels, count = ndimage.label(probability >= 0.3, np.ones((3, 3)))
    best = np.zeros(count + 1)
    for step in _LEVELS[probability.max() >= _LEVELS]:
        sets, number = ndimage.label(probability >= step, np.ones((3, 3)))
        for own in range(1, number + 1):
            score = step * min((sets == own).sum() / area_px, 1)
            for label in np.unique(labels[sets == own]):
                best[label] = max(best[label], score)  # 0: the highest that meets no region
    score, regions, _ = find_regions(probability, area_px, pixel_threshold=0.3, least_score=0.05)
    assert score == pytest.approx(best.max())
    expected = sorted((own for own in best[1:] if own >= 0.05), reverse=True)
    assert [region.score for region in regions] == pytest.approx(expected)


def test_a_thin_crack_scores_as_a_hole_of_its_area() -> None:
    crack, hole = empty(), empty()
    np.fill_diagonal(crack[:16, :16], 0.7)
    hole[5:9, 5:9] = 0.7
    for area_px, share in ((16, 1), (32, 0.5)):
        expected = pytest.approx(level(0.7) * share)
        assert image_score(crack, area_px) == expected
        assert image_score(hole, area_px) == expected


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 2), (64, 64)])
def test_a_full_map_scores_fully_however_small(shape: tuple[int, int]) -> None:
    assert image_score(np.ones(shape, np.float32), 10_000) == level(1)


def test_a_larger_area_scores_no_higher() -> None:
    scores = [image_score(smooth_noise(), area) for area in (1, 3, 10, 100, 1000)]
    assert scores == sorted(scores, reverse=True)


def test_what_is_no_number_has_no_score_and_costs_no_other() -> None:
    probability = empty()
    probability[2, 2] = np.nan
    probability[10:15, 10:15] = 0.9
    assert np.isnan(image_score(probability, 4))
    (region,), _ = regions_of(probability, least_score=0.5, area_px=4)
    assert region.score == level(0.9)
