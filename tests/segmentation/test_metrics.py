import numpy as np
import pytest

from defectseg.segmentation.metrics import AccumulatedIoU, DefectiveIoU


def image(*pixels: float) -> np.ndarray:
    return np.array(pixels, np.float32).reshape(1, 1, -1, 1)


def test_iou_is_accumulated_over_batches_not_averaged() -> None:
    metric = AccumulatedIoU()
    metric.update_state(image(1, 1, 0, 0), image(0.9, 0.1, 0.0, 0.0))  # 1 of 2
    metric.update_state(image(1, 1, 1, 1), image(0.9, 0.9, 0.9, 0.9))  # 4 of 4
    metric.update_state(image(0, 0, 0, 0), image(0.9, 0.9, 0.0, 0.0))  # good, alarmed: 0 of 2
    assert float(metric.result()) == pytest.approx(5 / 8)  # not (1/2 + 1 + 0) / 3


def test_iou_of_good_images_answered_by_nothing_flatters_no_one() -> None:
    metric = AccumulatedIoU()
    metric.update_state(image(0, 0), image(0.1, 0.2))
    assert float(metric.result()) == 0


def test_defective_iou_is_the_mean_over_defective_images_only() -> None:
    metric = DefectiveIoU()
    true = np.concatenate([image(1, 1, 0, 0), image(0, 0, 0, 0), image(0, 0, 1, 1)])
    answer = np.concatenate([image(1, 0, 0, 0), image(1, 1, 1, 1), image(0, 0, 1, 1)])
    metric.update_state(true, answer)
    assert float(metric.result()) == pytest.approx((1 / 2 + 1) / 2)


def test_an_empty_answer_has_a_defective_iou_of_zero() -> None:
    metric = DefectiveIoU()
    metric.update_state(np.concatenate([image(1, 0), image(0, 0)]), np.zeros((2, 1, 2, 1)))
    assert float(metric.result()) == 0
    metric.reset_state()
    metric.update_state(image(0, 0), image(0, 0))  # no defective image at all
    assert float(metric.result()) == 0


@pytest.mark.parametrize("kind", [AccumulatedIoU, DefectiveIoU])
def test_a_mask_of_0_and_255_gives_no_number_that_looks_like_a_score(kind: type) -> None:
    metric = kind()
    metric.update_state(image(255, 0), image(0.9, 0.1))
    assert np.isnan(float(metric.result()))


def test_where_the_mask_is_unknown_nothing_counts() -> None:
    true, answer = image(1, 0, -1, -1), image(0.9, 0.9, 0.9, 0.1)
    for metric in (AccumulatedIoU(), DefectiveIoU()):
        metric.update_state(true, answer)
        metric.update_state(image(-1, -1, -1, -1), image(0.9, 0.9, 0.9, 0.9))
        assert float(metric.result()) == pytest.approx(1 / 2)
