from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import pywt
from skimage import data
from skimage.measure import blur_effect

from defectseg.dataset.synthetic import PRODUCTS, generate_sample
from defectseg.image_io import read_image, to_gray
from defectseg.quality import focus
from defectseg.quality.focus import mean_gradient, mean_luma, noise_sigma
from defectseg.quality.measures import MEASURES, UNMEASURABLE, measure


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


def reference(gray: np.ndarray) -> dict[str, float]:
    """Each measure by its plain formula, in float64."""
    image = gray.astype(np.float64)
    mirrored = np.pad(image, 1, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view
    laplace = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    second = np.outer([1, -2, 1], [1, -2, 1])

    def apply(mask: np.ndarray, of: np.ndarray) -> np.ndarray:
        return np.einsum("rcij,ij->rc", windows(of, (3, 3)), mask)

    gx, gy = apply(sobel, mirrored), apply(sobel.T, mirrored)
    noise = np.sqrt(np.pi / 2) / 6 * np.abs(apply(second, image)).mean()
    details = pywt.dwt2(image, "haar", mode="symmetric")[1]
    values = {
        "mean_gradient": sum(np.abs(axis).mean() for axis in np.gradient(image)),
        "laplacian_variance": apply(laplace, mirrored).var(),
        "tenengrad": (gx**2 + gy**2).mean(),
        "tenengrad_compensated": (gx**2 + gy**2).mean() - 24 * noise**2,
        "brenner": ((image[:, 2:] - image[:, :-2]) ** 2).mean(),
        "wavelet_energy": sum((d**2).sum() for d in details) / (4 * details[0].size),
        "high_frequency_ratio": plain_high_frequency_ratio(image),
        "blur_effect": blur_effect(image / 255),
        "noise_sigma": noise,
        "mean_luma": image.mean(),
        "clipped_low": (image == 0).mean(),
        "clipped_high": (image == 255).mean(),
    }
    return values


def plain_high_frequency_ratio(image: np.ndarray) -> float:
    height, width = (min(side, 64) for side in image.shape)
    top, left = image.shape[0] % height // 2, image.shape[1] % width // 2
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    # Hann without its outer zeros: sin² at 1 to n of n + 1 parts of half a turn.
    rows, columns = (np.sin(np.pi * np.arange(1, n + 1) / (n + 1)) ** 2 for n in (height, width))
    energy = np.zeros((height, width))
    for row in range(top, image.shape[0] - height + 1, height):
        for column in range(left, image.shape[1] - width + 1, width):
            tile = image[row : row + height, column : column + width]
            tile = (tile - tile.mean()) * np.outer(rows, columns)
            energy += np.abs(np.fft.fft2(tile)) ** 2
    return energy[radius >= 0.25].sum() / energy.sum()


@pytest.mark.parametrize("dtype", [np.uint8, np.float64, np.float32])
@pytest.mark.parametrize("shape", [(128, 192), (131, 75), (40, 211), (5, 4)])
def test_fast_measures_equal_the_plain_formulas(shape: tuple[int, int], dtype: type) -> None:
    rng = np.random.default_rng(7)
    gray = cv2.GaussianBlur(rng.integers(0, 256, shape, np.uint8), (0, 0), 0.8)
    gray[:2, :2] = 0, 255
    gray = gray.astype(dtype)
    if dtype is np.float64:
        gray *= 1 - 1e-3 * rng.random(shape)
    measured = dict(zip(MEASURES, np.array(measure(gray)), strict=True))
    assert measured == pytest.approx(reference(gray), rel=1e-6)


@pytest.mark.parametrize("product", PRODUCTS)
def test_fast_measures_of_textures_equal_the_plain_formulas(product: str) -> None:
    gray, _ = generate_sample(product, defective=True, rng=np.random.default_rng(2), size=200)
    measured = dict(zip(MEASURES, np.array(measure(gray)), strict=True))
    expected = reference(gray) | {"tenengrad_compensated": measured["tenengrad_compensated"]}
    assert measured == pytest.approx(expected, rel=1e-6)
    compensated = measured["tenengrad"] - 24 * measured["noise_sigma"] ** 2
    assert measured["tenengrad_compensated"] == pytest.approx(max(0, compensated))


def test_each_function_is_the_column_of_its_name() -> None:
    gray = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    measures = measure(gray)
    for name in MEASURES[:10]:
        assert getattr(focus, name)(gray) == getattr(measures, name)
    assert focus.clipped_shares(gray) == (measures.clipped_low, measures.clipped_high)


def test_a_blurred_and_noisy_image_passes_for_sharp_by_laplacian_but_not_when_compensated() -> None:
    image = data.camera()
    poor = np.clip(
        cv2.GaussianBlur(image, (0, 0), 2) + np.random.default_rng(0).normal(0, 10, image.shape),
        0,
        255,
    ).astype(np.uint8)
    assert measure(poor).laplacian_variance > measure(image).laplacian_variance
    assert measure(poor).tenengrad_compensated < 0.6 * measure(image).tenengrad_compensated


@pytest.mark.parametrize(("measure_name", "gain"), [("tenengrad", 24), ("laplacian_variance", 20)])
def test_what_white_noise_adds(measure_name: str, gain: float) -> None:
    # Sobel: 2 · (4 · 1² + 2 · 2²) = 24; Laplacian: 4 · 1² + 4² = 20. Of 160 000 pixels the mean
    # square scatters by less than 1 %.
    noise = np.random.default_rng(1).normal(128, 3, (400, 400))
    assert getattr(measure(noise), measure_name) == pytest.approx(gain * 9, rel=0.03)


def test_brenner_by_hand() -> None:
    # (4 − 1)² and (9 − 2)²: 9 and 49.
    assert focus.brenner(np.array([[1, 2, 4, 9]], np.uint8)) == pytest.approx(29)


def test_wavelet_energy_by_hand() -> None:
    # The diagonal detail of 1 0 / 0 1 is (1 + 1) / 2 = 1, the others are 0; over 4 pixels.
    assert focus.wavelet_energy(np.array([[1, 0], [0, 1]], np.uint8)) == pytest.approx(0.25)


@pytest.mark.parametrize(("period", "expected"), [(2, 1), (3, 1), (8, 0), (16, 0)])
def test_high_frequency_ratio_of_stripes(period: int, expected: float) -> None:
    # 1/2 and 1/3 cycles a pixel are above a quarter, 1/8 and 1/16 below it.
    stripes = 128 + 50 * np.cos(2 * np.pi * np.arange(192) / period)
    assert focus.high_frequency_ratio(np.tile(stripes, (128, 1))) == pytest.approx(
        expected, abs=1e-3
    )


def test_shares_do_not_change_with_contrast() -> None:
    image = np.random.default_rng(3).integers(0, 101, (128, 128)).astype(np.uint8)
    assert focus.high_frequency_ratio(2 * image) == pytest.approx(focus.high_frequency_ratio(image))
    assert focus.blur_effect(2 * image) == pytest.approx(focus.blur_effect(image))


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (1, 1), (1, 9), (2, 2), (3, 3), (3, 700)])
@pytest.mark.parametrize("value", [0, 77, 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_constant_and_tiny_images_are_not_sharp(
    shape: tuple[int, int], value: int, dtype: type
) -> None:
    measures = measure(np.full(shape, value, dtype))
    assert np.isfinite(np.array(measures)).all()
    assert np.array(measures)[:7] == pytest.approx(0)
    assert measures.blur_effect == 1
    assert measures.noise_sigma == 0
    if measures is not UNMEASURABLE:
        assert measures.mean_luma == value
        assert (measures.clipped_low, measures.clipped_high) == (value == 0, value == 255)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_not_sharp(bad: float) -> None:
    gray = np.random.default_rng(0).uniform(0, 255, (64, 64))
    gray[3, 3] = bad
    assert measure(gray) == UNMEASURABLE
    for name in MEASURES[:10]:
        assert getattr(focus, name)(gray) == getattr(UNMEASURABLE, name)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["mean_gradient", "tenengrad", "wavelet_energy"])
def test_sharpness_falls_with_every_step_from_focus(real_data: Path, name: str) -> None:
    stacks = [path for path in (real_data / "defocus_stacks").iterdir() if path.is_dir()]
    assert stacks
    for stack in stacks:
        images = sorted(stack.glob("*.png"), key=lambda path: int(path.stem))
        values = [getattr(measure(to_gray(read_image(path))), name) for path in images]
        assert len(values) == 6
        assert all(nearer > farther for nearer, farther in pairwise(values)), (stack, values)
