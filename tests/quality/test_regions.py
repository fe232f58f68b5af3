import numpy as np
import pytest

from defectseg.quality import regions


def test_crop_and_tiles() -> None:
    gray = np.arange(20).reshape(4, 5)
    assert regions.crop(gray, (1, 2, 3, 2)).tolist() == [[11, 12, 13], [16, 17, 18]]
    tiles = regions.divide_into_tiles(gray, 2, 2)
    assert list(tiles) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert tiles[1, 1].tolist() == [[13, 14], [18, 19]]
    assert sum(tile.size for tile in tiles.values()) == gray.size


@pytest.mark.parametrize("region", [(0, 0, 6, 1), (-1, 0, 2, 2), (0, 0, 0, 1), (4, 3, 2, 1)])
def test_a_region_outside_the_image_is_an_error(region: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="does not lie within the image of 5×4 pixels"):
        regions.crop(np.zeros((4, 5)), region)


def test_a_grid_finer_than_the_pixels_is_an_error() -> None:
    with pytest.raises(ValueError, match="a grid of 5×1 does not fit the image of 4×5 pixels"):
        regions.divide_into_tiles(np.zeros((4, 5)), 5, 1)
