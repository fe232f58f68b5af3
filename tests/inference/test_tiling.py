import cv2
import numpy as np
import numpy.typing as npt
import pytest

from defectseg.inference import tiling
from defectseg.inference.tiling import map_windows

WINDOW, MARGIN = 48, 12  # a quarter of it
AROUND_THE_LIMITS = (1, 31, 47, 48, 49, 71, 72, 73, 96, 97, 130)


def noise(*shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def blurred(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """A function that looks nearly as far as the margin reaches, and no farther."""
    return cv2.blur(image.astype(np.float32), (2 * MARGIN - 1, 2 * MARGIN - 1))


@pytest.mark.parametrize("width", AROUND_THE_LIMITS)
@pytest.mark.parametrize("height", AROUND_THE_LIMITS)
def test_windows_cover_the_image_and_are_all_of_one_size(height: int, width: int) -> None:
    image = noise(height, width)
    shapes = []

    def run(part: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        shapes.append(part.shape)
        return part.astype(np.float32) / 255

    np.testing.assert_array_equal(map_windows(run, image, WINDOW), image / np.float32(255))
    assert set(shapes) == {(min(height, WINDOW), min(width, WINDOW))}
    assert (len(shapes) == 1) == (max(height, width) <= WINDOW)


@pytest.mark.parametrize(
    ("length", "window", "count"),
    # Margins of 12: each window but the ends gives 24, so 3 reach to 48 + 24 + 24 = 96 …
    # Margins of 128: 2304 + 2048.
    [(96, 48, 3), (97, 48, 4), (4352, 2304, 2), (4353, 2304, 3)],
)
def test_no_more_windows_than_needed(length: int, window: int, count: int) -> None:
    assert len(list(tiling._spans(length, window))) == count


def test_margin_hides_the_seams() -> None:
    image = noise(100, 75)
    np.testing.assert_allclose(map_windows(blurred, image, WINDOW), blurred(image), atol=1e-3)


def test_without_margin_the_seams_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "_MARGIN_PX", 0)
    image = noise(100, 75)
    assert np.abs(map_windows(blurred, image, WINDOW) - blurred(image)).max() > 1


def test_colour_is_cut_along_its_first_two_axes() -> None:
    image = noise(70, 90, 3)
    result = map_windows(lambda part: part[..., 2].astype(np.float32), image, WINDOW)
    np.testing.assert_array_equal(result, image[..., 2])
