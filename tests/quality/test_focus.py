from itertools import pairwise

import cv2
import numpy as np
import pytest

from defectseg.dataset.synthetic import PRODUCTS, generate_sample
from defectseg.quality.focus import mean_gradient, mean_luma, noise_sigma


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        # Differences at the ends, halved central difference between: |2|, |0 − 1|/2, |−3|.
        ([1, 3, 0], (2 + 0.5 + 3) / 3),
        # 4, (1 − 1)/2, −4.
        ([1, 5, 1], (4 + 0 + 4) / 3),
        ([7], 0),
    ],
)
def test_mean_gradient_by_hand(row: list[int], expected: float) -> None:
    image = np.array([row], np.uint8)
    assert mean_gradient(image) == pytest.approx(expected)
    assert mean_gradient(image.T) == pytest.approx(expected)


def test_mean_gradient_sums_both_axes() -> None:
    # Each step along a row adds 2, each step down adds 3.
    rows, columns = np.indices((8, 8))
    assert mean_gradient((2 * columns + 3 * rows).astype(np.uint8)) == pytest.approx(2 + 3)


def test_mean_gradient_of_a_constant_image_is_0() -> None:
    assert mean_gradient(np.zeros((9, 9), np.uint8)) == 0
    assert mean_gradient(np.full((9, 9), 200, np.uint8)) == 0


@pytest.mark.parametrize("product", PRODUCTS)
def test_blurrier_is_lower(product: str) -> None:
    image, _ = generate_sample(product, defective=False, rng=np.random.default_rng(1), size=128)
    blurred = [cv2.GaussianBlur(image, (0, 0), sigma) for sigma in (0.7, 1, 1.5, 2, 3, 5)]
    values = [mean_gradient(picture) for picture in (image, *blurred)]
    assert all(sharper > blurrier for sharper, blurrier in pairwise(values))


@pytest.mark.parametrize("sigma", [2, 5, 20])
def test_noise_sigma_of_pure_noise(sigma: float) -> None:
    noise = np.random.default_rng(0).normal(128, sigma, (512, 512))
    # Of 260 000 pixels the estimate scatters by well below 1 %.
    assert noise_sigma(noise.astype(np.float32)) == pytest.approx(sigma, rel=0.02)


def test_noise_sigma_is_blind_to_a_slope() -> None:
    rows, columns = np.indices((16, 16))
    assert noise_sigma((3 * rows + 2 * columns).astype(np.uint8)) == pytest.approx(0, abs=1e-4)


def test_noise_sigma_of_one_spot_by_hand() -> None:
    image = np.zeros((3, 3), np.uint8)
    image[1, 1] = 60
    # The one inner pixel answers 4 · 60 = 240; √(π/2) / 6 · 240 = 50.13.
    assert noise_sigma(image) == pytest.approx(50.133, abs=1e-3)


@pytest.mark.parametrize("shape", [(1, 1), (2, 100), (100, 2), (20, 20)])
def test_noise_sigma_of_constant_and_tiny_images_is_0(shape: tuple[int, int]) -> None:
    assert noise_sigma(np.full(shape, 77, np.uint8)) == 0


def test_mean_luma_by_hand() -> None:
    assert mean_luma(np.array([[0, 255], [10, 15]], np.uint8)) == 70
