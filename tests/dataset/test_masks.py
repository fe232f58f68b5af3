from math import pi
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectseg.annotations import article
from defectseg.annotations.ellipse import Ellipse
from defectseg.annotations.outline import PixelMask, Polygon
from defectseg.dataset.masks import crosses_border, rasterise, wrap_angle
from defectseg.image_io import read_image, read_mask


def draw(*ellipses: Ellipse, shape_hw: tuple[int, int] = (7, 7)) -> list[str]:
    """The mask as text, a row a line: # on the defect."""
    mask = rasterise(ellipses, shape_hw)
    assert (mask.shape, mask.dtype) == (shape_hw, np.uint8)
    return ["".join(".#"[pixel] for pixel in row) for row in mask]


# A pixel at (dx, dy) from the centre belongs to the ellipse if (dx/a)² + (dy/b)² < 1, with dx and
# dy measured along the axes. The centre (4, 4), 1-based, is column 3 and row 3.


def test_circle() -> None:
    # Radius 2: (1, 1) is inside, 2 < 4; (2, 0) is not, 4 = 4.
    assert draw(Ellipse(2, 2, 0, 4, 4)) == [
        ".......",
        ".......",
        "..###..",
        "..###..",
        "..###..",
        ".......",
        ".......",
    ]


def test_first_axis_lies_across_at_angle_0() -> None:
    # (2, 0): 4/9 inside. (0, 1): 1/2.25 inside. (1, 1): 1/9 + 1/2.25 = 0.56; (2, 1): 0.89 inside.
    assert draw(Ellipse(3, 1.5, 0, 4, 4)) == [
        ".......",
        ".......",
        ".#####.",
        ".#####.",
        ".#####.",
        ".......",
        ".......",
    ]


def test_first_axis_may_be_the_shorter() -> None:
    # a = 0.5 lies across, b = 3 down: (0, ±1) and (0, ±2) only.
    assert draw(Ellipse(0.5, 3, 0, 4, 4)) == [
        ".......",
        "...#...",
        "...#...",
        "...#...",
        "...#...",
        "...#...",
        ".......",
    ]


def test_angle_grows_from_right_towards_down() -> None:
    # At π/4 the long axis passes through (1, 1) and (2, 2), at √2 < 3 and √8 < 3.
    # (1, 0) lies √½ = 0.71 beside it, and b = 0.7.
    assert draw(Ellipse(3, 0.7, pi / 4, 4, 4)) == [
        ".......",
        ".#.....",
        "..#....",
        "...#...",
        "....#..",
        ".....#.",
        ".......",
    ]


def test_axis_of_next_to_nothing_is_no_warning() -> None:
    # Only what lies on the other axis itself is inside, here the centre alone.
    assert rasterise([Ellipse(3, 1e-200, 0.5, 4, 4)], (7, 7)).sum() == 1


def test_x_is_the_column_and_y_the_row_both_from_1() -> None:
    assert draw(Ellipse(0.5, 0.5, 0, x=5, y=2), shape_hw=(3, 6)) == [
        "......",
        "....#.",
        "......",
    ]


def test_centre_between_two_pixels_takes_both() -> None:
    assert draw(Ellipse(1, 1, 0, x=2.5, y=2), shape_hw=(3, 5)) == [
        ".....",
        ".##..",
        ".....",
    ]


def test_what_lies_beyond_the_border_is_cut_off() -> None:
    # The circle of radius 2 around the pixel in the upper left, and around a point right of it all.
    assert draw(Ellipse(2, 2, 0, 1, 1), Ellipse(2, 2, 0, 7, 3), shape_hw=(4, 6)) == [
        "##....",
        "##...#",
        ".....#",
        ".....#",
    ]


def test_several_ellipses_are_joined_and_an_overlap_counts_once() -> None:
    # 3×3 around columns 2 and 3 of row 1: 3×4 pixels, all of them 1.
    mask = rasterise([Ellipse(2, 2, 0, 3, 2), Ellipse(2, 2, 0, 4, 2)], (3, 7))
    assert mask.tolist() == [[0, 1, 1, 1, 1, 0, 0]] * 3


def test_polygon_takes_the_pixels_whose_centres_lie_inside() -> None:
    # From the centre of column 2 to beyond that of column 4, from row 1 to beyond row 2; 1-based.
    corners = ((1.6, 0.6), (4.4, 0.6), (4.4, 2.4), (1.6, 2.4))
    assert rasterise([Polygon(corners)], (3, 6)).tolist() == [
        [0, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_painted_mask_is_joined_with_what_is_drawn() -> None:
    # COCO counts down the columns: 2 pixels of 0, then 1 and 1 more of the next column, 8 of 0.
    painted = PixelMask((2, 2, 8), (3, 4))
    assert rasterise([painted, Ellipse(0.5, 0.5, 0, 4, 3)], (3, 4)).tolist() == [
        [0, 1, 0, 0],
        [0, 0, 0, 0],
        [1, 0, 0, 1],
    ]


def test_no_ellipse_is_an_empty_mask() -> None:
    assert draw(shape_hw=(2, 3)) == ["...", "..."]


@pytest.mark.parametrize(
    ("angle", "wrapped", "rows", "columns"),
    [
        (-3.12, -3.12, 1, 5),  # almost half a turn: the long axis lies across again
        (4.71, 4.71 - 2 * pi, 5, 1),  # almost three quarters: it points up
    ],
)
def test_angles_beyond_half_a_turn(angle: float, wrapped: float, rows: int, columns: int) -> None:
    assert wrap_angle(angle) == pytest.approx(wrapped, abs=1e-12)
    mask = rasterise([Ellipse(3, 0.9, angle, 4, 4)], (7, 7))
    assert (mask.any(axis=1).sum(), mask.any(axis=0).sum()) == (rows, columns)


@given(st.floats(-1e3, 1e3))
def test_wrapped_angle_points_the_same_way(angle: float) -> None:
    wrapped = wrap_angle(angle)
    # Just below -π rounding can give π itself.
    assert -pi <= wrapped <= pi
    assert np.exp(1j * wrapped) == pytest.approx(np.exp(1j * angle), abs=1e-9)


@pytest.mark.parametrize(
    ("ellipse", "crosses"),
    [
        # In 10 columns and 8 rows, the pixel centres are 0 to 9 and 0 to 7.
        (Ellipse(2, 2, 0, x=3, y=4), False),  # from column 2 - 2 = 0
        (Ellipse(2, 2, 0, x=2.9, y=4), True),
        (Ellipse(2, 2, 0, x=8, y=4), False),  # to column 7 + 2 = 9
        (Ellipse(2, 2, 0, x=8.1, y=4), True),
        (Ellipse(2, 2, 0, x=5, y=2.9), True),
        (Ellipse(2, 2, 0, x=5, y=6), False),  # to row 5 + 2 = 7
        (Ellipse(2, 2, 0, x=5, y=6.1), True),
        (Ellipse(4, 1, 0, x=5, y=4), False),  # from column 4 - 4 = 0, row 3 - 1 = 2
        (Ellipse(4, 1, pi / 2, x=5, y=4), True),  # from row 3 - 4
        # At π/4 it reaches √((16 + 1) / 2) = 2.92 each way, of the 3 there are above and left.
        (Ellipse(4, 1, pi / 4, x=4, y=4), False),
        (Ellipse(4, 1, pi / 4, x=3.9, y=4), True),
    ],
)
def test_crossing_the_border(ellipse: Ellipse, crosses: bool) -> None:
    assert crosses_border(ellipse, (8, 10)) is crosses


sizes, places = st.floats(0.3, 12), st.floats(-5, 30)


@given(st.builds(Ellipse, sizes, sizes, st.floats(-4, 5), places, places))
def test_nothing_is_cut_off_from_an_ellipse_that_does_not_cross(ellipse: Ellipse) -> None:
    def area(margin: int) -> int:
        moved = (ellipse.x + margin, ellipse.y + margin)
        whole = Ellipse(ellipse.semi_major, ellipse.semi_minor, ellipse.angle, *moved)
        mask = rasterise([whole], (20 + 2 * margin, 24 + 2 * margin))
        return int(mask.sum())

    if crosses_border(ellipse, (20, 24)):
        assert area(0) <= area(20)
    else:
        assert area(0) == area(20)


@pytest.mark.real_data
def test_official_masks_come_out_pixel_for_pixel(real_data: Path) -> None:
    root = real_data / "dagm_class1"
    labels = article.read(root)
    assert not labels.problems
    compared = 0
    for image in labels.images:
        if not image.shapes:
            continue
        height, width = read_image(image.image).shape
        official = read_mask(root / "Class1_def_masks" / f"{image.image.stem}.png")
        np.testing.assert_array_equal(rasterise(image.shapes, (height, width)), official)
        compared += 1
    assert compared == 40
