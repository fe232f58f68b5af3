import numpy as np
import pytest

from defectseg.pictures import GREEN, RED, contact_sheet, draw_outline, shrink

GRAY = np.full((40, 60), 100, np.uint8)


def test_outline_is_the_border_of_the_mask_alone() -> None:
    mask = np.zeros_like(GRAY)
    mask[10:20, 30:50] = 1
    picture = draw_outline(GRAY, mask, GREEN)
    border = mask.astype(bool)
    border[11:19, 31:49] = False
    assert (picture[border] == GREEN).all()
    assert (picture[~border] == 100).all()
    assert (GRAY == 100).all()  # the image itself is left as it is


def test_outline_of_an_empty_mask_is_the_image() -> None:
    colour = np.dstack([GRAY, GRAY + 1, GRAY + 2])
    np.testing.assert_array_equal(draw_outline(colour, np.zeros_like(GRAY)), colour)


def test_outline_is_thicker_on_a_large_image() -> None:
    image = np.zeros((1000, 1000), np.uint8)
    mask = np.zeros_like(image)
    mask[400:600, 400:600] = 1
    along = (draw_outline(image, mask)[500, :500] == RED).all(axis=1)
    # 1000 / 250 = 4 pixels; OpenCV draws even widths one wider.
    assert 4 <= along.sum() <= 5


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((40, 60), (40, 60)), ((400, 200), (100, 50)), ((100, 100), (100, 100)), ((1, 900), (1, 100))],
)
def test_shrink_limits_the_longer_side(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    assert shrink(np.zeros(shape, np.uint8), 100).shape == expected


def test_contact_sheet_holds_every_tile_with_its_caption() -> None:
    tiles = [np.full((50, 50), 10 * index, np.uint8) for index in range(3)]
    sheet = contact_sheet(tiles, ["a", "b", "größer"], columns=2, tile_px=50)
    # 2 rows of 50 + 22 for the caption + 8 gap, and a last gap; 2 columns of 50 + 8, and a last.
    assert sheet.shape == (2 * 80 + 8, 2 * 58 + 8, 3)
    for index, (top, left) in enumerate([(8, 8), (8, 66), (88, 8)]):
        assert (sheet[top : top + 50, left : left + 50] == 10 * index).all()
        assert sheet[top + 50 : top + 72, left : left + 50].min() < 100  # ink
    assert (sheet[88:138, 66:116] == 250).all()  # no fourth tile
