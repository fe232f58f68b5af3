import numpy as np
import pytest

from defectseg.evaluation.scores import count_hits, iou

EMPTY = np.zeros((6, 6), np.uint8)


def square(top: int, left: int, side: int = 2) -> np.ndarray:
    mask = EMPTY.copy()
    mask[top : top + side, left : left + side] = 1
    return mask


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        (square(0, 0), 1),
        (EMPTY, 0),
        (square(4, 4), 0),
        (square(0, 1), 2 / 6),  # 2 of 4 pixels shared, 6 covered by either
        (np.ones_like(EMPTY), 4 / 36),
    ],
)
def test_iou_by_hand(predicted: np.ndarray, expected: float) -> None:
    assert iou(square(0, 0), predicted) == expected


def test_iou_over_a_good_image_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected a mask with a defect"):
        iou(EMPTY, EMPTY)


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
