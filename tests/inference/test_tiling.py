import cv2
import numpy as np
import numpy.typing as npt
import pytest

from defectseg.inference import tiling
from defectseg.inference.tiling import map_tiles

TILE, MARGIN = 32, 8
AROUND_THE_LIMITS = (1, 31, 32, 47, 48, 49, 63, 64, 65, 97, 130)


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "TILE_PX", TILE)
    monkeypatch.setattr(tiling, "MARGIN_PX", MARGIN)


def noise(*shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def blurred(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """A function that looks as far as the margin reaches, and no farther."""
    return cv2.blur(image.astype(np.float32), (2 * MARGIN + 1, 2 * MARGIN + 1))


@pytest.mark.parametrize("width", AROUND_THE_LIMITS)
@pytest.mark.parametrize("height", AROUND_THE_LIMITS)
def test_tiles_equal_the_whole_image(height: int, width: int) -> None:
    image = noise(height, width)
    sizes = []

    def run(tile: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        sizes.append(max(tile.shape))
        return tile.astype(np.float32) / 255

    np.testing.assert_array_equal(map_tiles(run, image), image / np.float32(255))
    assert max(sizes) <= TILE + 2 * MARGIN
    # One that fits in a tile with its margins is not cut.
    assert (len(sizes) == 1) == (max(height, width) <= TILE + 2 * MARGIN)


def test_margin_hides_the_seams() -> None:
    image = noise(100, 75)
    np.testing.assert_allclose(map_tiles(blurred, image), blurred(image), atol=1e-3)


def test_without_margin_the_seams_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "MARGIN_PX", 0)
    image = noise(100, 75)
    assert np.abs(map_tiles(blurred, image) - blurred(image)).max() > 1


def test_colour_is_cut_along_its_first_two_axes() -> None:
    image = noise(70, 90, 3)
    result = map_tiles(lambda tile: tile[..., 2].astype(np.float32), image)
    np.testing.assert_array_equal(result, image[..., 2])
