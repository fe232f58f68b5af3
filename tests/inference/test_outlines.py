import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.ndimage import binary_fill_holes, label

from defectseg.annotations.ellipse import Ellipse
from defectseg.annotations.outline import Polygon
from defectseg.dataset.masks import rasterise
from defectseg.inference.outlines import trace_outlines


def trace(mask: np.ndarray) -> list[Polygon]:
    return trace_outlines(mask, "dent")[0]


def as_mask(*rows: str) -> np.ndarray:
    return np.array([[sign == "#" for sign in row] for row in rows], np.uint8)


def test_a_single_pixel_becomes_a_diamond_around_its_centre() -> None:
    # Row 1 and column 2 are (3, 2), counted from 1.
    mask = as_mask("....", "..#.", "....")
    (diamond,), regions = trace_outlines(mask, "dent")
    assert set(diamond.vertices_xy) == {(2.5, 2), (3, 1.5), (3.5, 2), (3, 2.5)}
    assert diamond.labels == ("dent",)
    np.testing.assert_array_equal(regions, mask)


def test_pixels_that_touch_by_a_corner_are_one_region() -> None:
    mask = as_mask("#..#", ".#..", "....")
    polygons = trace(mask)
    assert len(polygons) == 2
    np.testing.assert_array_equal(rasterise(polygons, mask.shape), mask)


def test_holes_are_filled_and_what_lies_in_them_is_a_region_of_its_own() -> None:
    mask = as_mask("#####", "#...#", "#.#.#", "#...#", "#####")
    polygons = trace(mask)
    assert len(polygons) == 2
    assert rasterise(polygons, mask.shape).all()


def test_an_empty_mask_has_no_outline() -> None:
    assert trace(np.zeros((3, 4), np.uint8)) == []


def test_outline_stays_within_the_image() -> None:
    (polygon,) = trace(np.ones((3, 4), np.uint8))
    corners = np.array(polygon.vertices_xy)
    assert corners.min() >= 0.5
    assert (corners <= (4.5, 3.5)).all()


def test_a_round_region_needs_few_corners() -> None:
    mask = rasterise([Ellipse(30, 20, 0.5, 50, 40)], (80, 100))
    (polygon,) = trace(mask)
    # Its outline passes through some 200 places between two pixels.
    assert len(polygon.vertices_xy) < 80
    np.testing.assert_array_equal(rasterise([polygon], mask.shape), mask)


@given(
    arrays.arrays(
        np.uint8,
        st.tuples(st.integers(1, 12), st.integers(1, 12)),
        elements=st.integers(0, 1),
        fill=st.integers(0, 1),
    )
)
@settings(deadline=None, derandomize=True, max_examples=150)
def test_outlines_of_any_mask_give_its_regions_with_holes_filled(mask: np.ndarray) -> None:
    labels, count = label(mask, np.ones((3, 3)))
    polygons, regions = trace_outlines(mask, "dent")
    assert len(polygons) == count
    for number, polygon in enumerate(polygons, start=1):
        # Its own pixels lie in it, and no others that are of any region, but for those in holes.
        own = rasterise([polygon], mask.shape)
        np.testing.assert_array_equal(own, binary_fill_holes(regions == number))
    drawn = [rasterise([polygon], mask.shape) for polygon in polygons]
    expected = [binary_fill_holes(labels == number) for number in range(1, count + 1)]
    assert sorted(map(np.ndarray.tobytes, drawn)) == sorted(
        own.astype(np.uint8).tobytes() for own in expected
    )


@pytest.mark.parametrize("size", [1, 2])
def test_region_thinner_than_the_tolerances_is_kept(size: int) -> None:
    mask = np.zeros((9, 40), np.uint8)
    mask[4 : 4 + size, 3:37] = 1
    (polygon,) = trace(mask)
    np.testing.assert_array_equal(rasterise([polygon], mask.shape), mask)
