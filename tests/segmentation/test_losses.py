import numpy as np
import pytest

from defectseg.segmentation.losses import LOSSES, bce_dice_loss, dice_loss


def test_dice_by_hand() -> None:
    # Σ t·p = 0.8 + 0.4 = 1.2, Σ t = 2, Σ p = 0.8 + 0.4 + 0.3 + 0 = 1.5:
    # 1 − (2·1.2 + 1) / (2 + 1.5 + 1) = 1 − 3.4 / 4.5.
    true = np.array([1, 1, 0, 0], np.float32).reshape(1, 2, 2, 1)
    predicted = np.array([0.8, 0.4, 0.3, 0.0], np.float32).reshape(1, 2, 2, 1)
    assert float(dice_loss(true, predicted)) == pytest.approx(1 - 3.4 / 4.5, abs=1e-6)


def test_bce_dice_by_hand() -> None:
    # One defect pixel answered by 0.5: cross-entropy ln 2, Dice 1 − (2·0.5 + 1) / (1 + 0.5 + 1).
    true, predicted = np.ones((1, 1, 1, 1), np.float32), np.full((1, 1, 1, 1), 0.5, np.float32)
    assert float(bce_dice_loss(true, predicted)) == pytest.approx(np.log(2) + 0.2, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_a_better_answer_has_a_lower_loss(name: str) -> None:
    true = np.zeros((2, 8, 8, 1), np.float32)
    true[0, 2:5, 2:5] = 1
    answers = [0.9 * true + 0.05, np.full_like(true, 0.5), 1 - (0.9 * true + 0.05)]
    losses = [float(LOSSES[name](true, answer)) for answer in answers]
    assert losses == sorted(losses)


def test_dice_takes_the_batch_as_one_so_a_stray_pixel_on_a_good_image_costs_little() -> None:
    true = np.zeros((2, 16, 16, 1), np.float32)
    true[0, 4:12, 4:12] = 1
    stray = true.copy()
    stray[1, 0, 0] = 1
    missed = np.zeros_like(true)
    assert float(dice_loss(true, stray)) < 0.02
    assert float(dice_loss(true, missed)) > 0.98
