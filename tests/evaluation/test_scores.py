import numpy as np
import pytest

from defectseg.evaluation.scores import PixelCounts, count_hits, count_pixels, dice, iou

EMPTY = np.zeros((6, 6), np.uint8)


def square(top: int, left: int, side: int = 2) -> np.ndarray:
    mask = EMPTY.copy()
    mask[top : top + side, left : left + side] = 1
    return mask


@pytest.mark.parametrize(
    ("predicted", "expected_iou", "expected_dice"),
    [
        (square(0, 0), 1, 1),
        (EMPTY, 0, 0),
        (square(4, 4), 0, 0),
        # 2 of 4 pixels shared, 6 covered by either, 8 counted in both.
        (square(0, 1), 2 / 6, 4 / 8),
        (np.ones_like(EMPTY), 4 / 36, 8 / 40),
    ],
)
def test_iou_and_dice_by_hand(
    predicted: np.ndarray, expected_iou: float, expected_dice: float
) -> None:
    counts = count_pixels(square(0, 0), predicted)
    assert iou(counts) == expected_iou
    assert dice(counts) == expected_dice


def test_counts_of_several_images_add_up() -> None:
    # 2 of 6 and then 1 of 7 pixels: 3 of 13, not the mean of 1/3 and 1/7.
    together = PixelCounts(2, 4, 4) + PixelCounts(1, 4, 4)
    assert iou(together) == 3 / 13


@pytest.mark.parametrize("score", [iou, dice])
def test_a_score_over_a_good_image_is_refused(score: object) -> None:
    with pytest.raises(ValueError, match="Expected a label with a defect"):
        score(count_pixels(EMPTY, EMPTY))  # type: ignore[operator]


@pytest.mark.parametrize("count", [count_pixels, count_hits])
@pytest.mark.parametrize(
    ("true", "predicted", "found"),
    [
        (square(0, 0) * np.uint8(255), square(0, 0), "true to be uint8, 0 or 1. Received uint8 up"),
        (square(0, 0), square(0, 0) * np.uint8(255), "predicted to be uint8, 0 or 1"),
        (square(0, 0), square(0, 0).astype(float), "Received float64"),
        (square(0, 0), np.zeros((6, 5), np.uint8), r"Received \(6, 6\) and \(6, 5\)"),
        (square(0, 0)[..., None], square(0, 0)[..., None], "two masks of one shape"),
    ],
)
def test_masks_of_another_form_are_an_error_not_a_silent_zero(
    count: object, true: np.ndarray, predicted: np.ndarray, found: str
) -> None:
    with pytest.raises(ValueError, match=found):
        count(true, predicted)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        (EMPTY, (0, 2)),
        (square(1, 1, side=1), (1, 2)),  # one pixel of the first is enough
        (square(1, 1, side=4), (2, 2)),  # one prediction over both
        (square(0, 4), (0, 2)),
    ],
)
def test_hits_by_hand(predicted: np.ndarray, expected: tuple[int, int]) -> None:
    two = square(0, 0) | square(4, 4)
    assert count_hits(two, predicted) == expected


def test_squares_that_touch_by_a_corner_are_one_defect() -> None:
    assert count_hits(square(0, 0) | square(2, 2), square(0, 0)) == (1, 1)


def test_good_image_has_no_defects_to_hit() -> None:
    assert count_hits(EMPTY, square(0, 0)) == (0, 0)
