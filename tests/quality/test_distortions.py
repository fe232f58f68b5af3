import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from skimage import data

from defectseg.dataset.synthetic import generate_sample
from defectseg.quality import distortions
from defectseg.quality.distortions import SWEEP
from defectseg.quality.measures import measure


@pytest.fixture(scope="module")
def texture() -> np.ndarray:
    return generate_sample("Class4", defective=True, rng=np.random.default_rng(5), size=160)[0]


def squared_error(image: np.ndarray, other: np.ndarray) -> float:
    return float(((image.astype(float) - other) ** 2).mean())


@pytest.mark.parametrize("name", SWEEP)
def test_every_level_is_further_from_the_image_than_the_one_before(
    name: str, texture: np.ndarray
) -> None:
    kind = SWEEP[name]
    errors = [
        squared_error(texture, kind.apply(texture, level, np.random.default_rng(0)))
        for level in kind.levels
    ]
    assert errors[0] > 0
    assert all(weaker < stronger for weaker, stronger in pairwise(errors))


@pytest.mark.parametrize("name", SWEEP)
@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (33, 20, 3), (64, 64)])
def test_form_is_kept_and_the_image_not_changed(name: str, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(2).integers(0, 256, shape, np.uint8)
    before = image.copy()
    for level in SWEEP[name].levels:
        distorted = SWEEP[name].apply(image, level, np.random.default_rng(0))
        assert (distorted.shape, distorted.dtype) == (shape, np.uint8)
    assert np.array_equal(image, before)


@pytest.mark.parametrize("name", SWEEP)
def test_the_same_seed_draws_the_same(name: str, texture: np.ndarray) -> None:
    level = SWEEP[name].levels[0]
    once, again = (SWEEP[name].apply(texture, level, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(once, again)


def test_colours_are_not_exchanged() -> None:
    image = data.astronaut()[60:188, 150:278]
    for name in ("gaussian_blur", "motion_blur", "jpeg", "jpeg2000", "contrast", "noise"):
        for level in SWEEP[name].levels:
            distorted = SWEEP[name].apply(image, level, np.random.default_rng(0))
            assert distorted.mean(axis=(0, 1)) == pytest.approx(image.mean(axis=(0, 1)), abs=12)


def spread(image: np.ndarray) -> tuple[float, float]:
    """Variances of a spot along columns and rows, in pixels squared."""
    rows, columns = np.indices(image.shape)
    weights = image / image.sum()
    row, column = (weights * rows).sum(), (weights * columns).sum()
    return float((weights * (columns - column) ** 2).sum()), float(
        (weights * (rows - row) ** 2).sum()
    )


@pytest.mark.parametrize(
    ("blur", "expected"),
    [
        # A Gaussian's variance is σ² along each axis.
        (lambda image: distortions.blur_gaussian(image, 3), (9, 9)),
        # A disc's is r² / 4; its edge, softened over a pixel, adds a little.
        (lambda image: distortions.blur_defocus(image, 6), (9.2, 9.2)),
        # A line's is length² / 12 along it, and what a pixel is wide across it.
        (lambda image: distortions.blur_motion(image, 12, 0), (12.1, 0)),
        (lambda image: distortions.blur_motion(image, 12, math.pi / 2), (0, 12.1)),
        (lambda image: distortions.blur_motion(image, 12, math.pi / 4), (6.1, 6.1)),
    ],
)
def test_how_far_a_blur_spreads(
    blur: Callable[[np.ndarray], np.ndarray], expected: tuple[float, float]
) -> None:
    # A square of 5×5 has a variance of (25 − 1) / 12 = 2 along each axis.
    image = np.zeros((61, 61), np.uint8)
    image[28:33, 28:33] = 255
    assert np.subtract(spread(blur(image)), 2) == pytest.approx(expected, abs=0.35)


def test_motion_at_45_degrees_runs_down_to_the_right() -> None:
    image = np.zeros((41, 41), np.uint8)
    image[20, 20] = 255
    moved = distortions.blur_motion(image, 15, math.pi / 4)
    assert moved[24, 24] > 0
    assert moved[24, 16] == 0


@pytest.mark.parametrize("sigma", [5, 20])
def test_noise_has_its_standard_deviation(sigma: float) -> None:
    gray = np.full((300, 300), 128, np.uint8)
    noisy = distortions.add_noise(gray, sigma, np.random.default_rng(0))
    # Rounding adds 1/12; of 90 000 pixels the estimate scatters by 0.3 %.
    assert noisy.std() == pytest.approx(math.hypot(sigma, math.sqrt(1 / 12)), rel=0.01)


@pytest.mark.parametrize("psnr", [40, 32])
def test_jpeg2000_reaches_its_signal_to_noise_ratio(psnr: float, texture: np.ndarray) -> None:
    error = squared_error(texture, distortions.compress_jpeg2000(texture, psnr))
    assert 10 * math.log10(255**2 / error) == pytest.approx(psnr, abs=1.5)


def test_light_by_hand() -> None:
    image = np.array([[50, 150]], np.uint8)
    assert distortions.lower_contrast(image, 0.5).tolist() == [[75, 125]]  # around the mean 100
    assert distortions.add_haze(image, 0.2).tolist() == [[91, 171]]  # 0.8 · 50 + 51
    assert distortions.darken(image, 0.5).tolist() == [[25, 75]]


@pytest.mark.parametrize("name", ["gaussian_blur", "motion_blur"])
def test_blurrier_is_less_sharp(name: str, texture: np.ndarray) -> None:
    values = [
        measure(SWEEP[name].apply(texture, level, np.random.default_rng(1))).mean_gradient
        for level in SWEEP[name].levels
    ]
    assert all(weaker > stronger for weaker, stronger in pairwise(values))
