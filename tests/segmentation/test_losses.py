import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import matthews_corrcoef

from defectseg.config import TrainSettings
from defectseg.segmentation.losses import LOSSES, MaskLoss, border_weight
from defectseg.segmentation.training import compile_model


def loss(kind: str, true: np.ndarray, predicted: np.ndarray, border_px: int = 0) -> float:
    """The loss of pictures, or of a flat list of pixels."""
    shape = (1, 1, -1, 1) if true.ndim == 1 else true.shape
    batch = (np.asarray(a, np.float32).reshape(shape) for a in (true, predicted))
    return float(MaskLoss(kind, border_px)(*batch))


def test_dice_by_hand() -> None:
    # Σ t·p = 0.8 + 0.4 = 1.2, Σ t = 2, Σ p = 0.8 + 0.4 + 0.3 + 0 = 1.5:
    # 1 − (2·1.2 + 1) / (2 + 1.5 + 1) = 1 − 3.4 / 4.5.
    true, predicted = np.array([1, 1, 0, 0]), np.array([0.8, 0.4, 0.3, 0.0])
    assert loss("dice", true, predicted) == pytest.approx(1 - 3.4 / 4.5, abs=1e-6)


def test_bce_dice_by_hand() -> None:
    # One defect pixel answered by 0.5: cross-entropy ln 2, Dice 1 − (2·0.5 + 1) / (1 + 0.5 + 1).
    value = loss("bce_dice", np.ones(1), np.array([0.5]))
    assert value == pytest.approx(np.log(2) + 0.2, abs=1e-6)


def test_bce_dice_by_image_by_hand() -> None:
    # Three images of two pixels, all answered by 0.5: cross-entropy ln 2.
    # Dice of the first 1 − (2·1 + 1) / (2 + 1 + 1), of the second 1 − (2·0.5 + 1) / (1 + 1 + 1);
    # the third is good and left to the cross-entropy.
    true = np.array([[1, 1], [1, 0], [0, 0]], np.float32).reshape(3, 1, 2, 1)
    value = loss("bce_dice_by_image", true, np.full_like(true, 0.5))
    assert value == pytest.approx(np.log(2) + (1 / 4 + 1 / 3) / 2, abs=1e-6)


def test_by_image_a_missed_small_defect_costs_as_much_as_a_missed_large_one() -> None:
    true = np.zeros((2, 64, 64, 1), np.float32)
    true[0, :50, :50] = 1
    true[1, :5, :5] = 1
    dice = {}
    for missed in (0, 1):
        answer = true.copy()
        answer[missed] = 0
        for kind in ("bce_dice", "bce_dice_by_image"):
            # Without the cross-entropy, which is of pixels: 0 and 1 are answered by 1e-7 and less.
            entropy = -np.log(1e-7) * true[missed].sum() / true.size
            dice[kind, missed] = loss(kind, true, answer) - entropy
    assert dice["bce_dice", 0] > 20 * dice["bce_dice", 1]
    ratio = dice["bce_dice_by_image", 0] / dice["bce_dice_by_image", 1]
    assert ratio == pytest.approx(1, abs=0.05)


def test_focal_tversky_by_hand() -> None:
    # tp 1.2, missed 0.8, false 0.3: (1.2 + 1) / (1.2 + 0.7·0.8 + 0.3·0.3 + 1) = 2.2 / 2.85.
    true, predicted = np.array([1, 1, 0, 0]), np.array([0.8, 0.4, 0.3, 0.0])
    expected = (1 - 2.2 / 2.85) ** 0.75
    assert loss("focal_tversky", true, predicted) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_mcc_of_hard_masks_is_that_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true, predicted = (rng.random(400) < share for share in rng.uniform(0.05, 0.95, 2))
    expected = 1 - matthews_corrcoef(true, predicted)
    assert loss("mcc", true, predicted) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("true", "predicted", "expected"),
    [
        ([0, 0, 1, 1], [0, 0, 1, 1], 0),  # all right
        ([0, 0, 1, 1], [1, 1, 0, 0], 2),  # all wrong
        ([0, 0, 0, 0], [0, 0, 0, 0], 1),  # empty truth, empty answer: 0 / 0, taken as 0
        ([0, 0, 0, 0], [0, 1, 1, 0], 1),  # empty truth
        ([1, 1, 1, 1], [1, 1, 1, 1], 1),  # full truth, full answer
        ([0, 1, 1, 0], [1, 1, 1, 1], 1),  # full answer
        ([0, 1, 1, 0], [0, 0, 0, 0], 1),  # empty answer
    ],
)
def test_mcc_limit_cases(true: list[int], predicted: list[int], expected: float) -> None:
    value = loss("mcc", np.array(true), np.array(predicted))
    assert value == pytest.approx(expected, abs=1e-4)
    with warnings.catch_warnings():  # that a single label was found
        warnings.simplefilter("ignore", UserWarning)
        assert 1 - matthews_corrcoef(true, predicted) == pytest.approx(expected)


def test_mcc_counts_true_negatives_which_dice_does_not() -> None:
    true, predicted = np.array([1, 1, 0]), np.array([1, 0, 1])
    more = np.zeros(100)
    larger = np.concatenate([true, more]), np.concatenate([predicted, more])
    assert loss("dice", *larger) == pytest.approx(loss("dice", true, predicted), abs=1e-6)
    assert loss("mcc", *larger) < loss("mcc", true, predicted) - 0.3


@pytest.mark.parametrize("kind", LOSSES)
def test_a_better_answer_has_a_lower_loss(kind: str) -> None:
    true = np.zeros((2, 8, 8, 1), np.float32)
    true[0, 2:5, 2:5] = 1
    answers = [0.9 * true + 0.05, np.full_like(true, 0.5), 1 - (0.9 * true + 0.05)]
    losses = [loss(kind, true, answer) for answer in answers]
    assert losses == sorted(losses)
    assert losses[0] < losses[2]


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("truth", [0.0, 1.0])
def test_slopes_are_finite_whatever_the_truth(kind: str, truth: float) -> None:
    true = tf.fill((1, 8, 8, 1), truth)
    for level in (0.0, 1e-6, 0.5, 1.0):
        predicted = tf.Variable(tf.fill((1, 8, 8, 1), level))
        with tf.GradientTape() as tape:
            value = MaskLoss(kind)(true, predicted)
        assert np.isfinite(value)
        assert np.isfinite(tape.gradient(value, predicted)).all()


def test_the_batch_is_taken_as_one_so_a_stray_pixel_on_a_good_image_costs_little() -> None:
    true = np.zeros((2, 16, 16, 1), np.float32)
    true[0, 4:12, 4:12] = 1
    stray = true.copy()
    stray[1, 0, 0] = 1
    for kind in ("dice", "mcc"):
        assert loss(kind, true, stray) < 0.02
        assert loss(kind, true, np.zeros_like(true)) > 0.98


@pytest.mark.parametrize("border_px", [0, 2])
@pytest.mark.parametrize("kind", LOSSES)
def test_where_the_mask_is_unknown_nothing_counts(kind: str, border_px: int) -> None:
    rng = np.random.default_rng(1)
    answer = rng.uniform(size=(3, 9, 9, 1)).astype(np.float32)
    true = np.zeros_like(answer)
    true[:, 2:6, 3:8] = 1
    filled = np.concatenate([true[:2], np.full_like(true[2:], -1)])
    expected = loss(kind, true[:2], answer[:2], border_px)
    assert loss(kind, filled, answer, border_px) == pytest.approx(expected, rel=1e-5)


def test_weights_fall_off_towards_the_border_of_a_label() -> None:
    true = np.zeros((1, 1, 12, 1), np.float32)
    true[0, 0, 6:] = 1
    weight = np.asarray(border_weight(true, 1))[0, 0, :, 0]
    # Means of three: 0 up to pixel 4, 1/3 and 2/3 at the border, 1 from pixel 7 on.
    # 1 − 4·(1/3)·(2/3) = 1/9; on the label at least 1/4.
    expected = [1] * 5 + [1 / 9, 1 / 4] + [1] * 5
    np.testing.assert_allclose(weight, expected, atol=1e-6)


def test_a_defect_smaller_than_the_border_still_counts() -> None:
    true = np.zeros((1, 32, 32, 1), np.float32)
    true[0, 13:19, 13:19] = 1
    assert np.asarray(border_weight(true, 4))[true == 1].min() == pytest.approx(0.25)


@pytest.mark.parametrize("kind", LOSSES)
def test_a_mistake_at_the_border_costs_less_than_one_elsewhere(kind: str) -> None:
    true = np.zeros((1, 32, 32, 1), np.float32)
    true[0, 10:22, 10:22] = 1
    at_border, inside = true.copy(), true.copy()
    at_border[0, 10, 12:16] = 0
    inside[0, 16, 12:16] = 0
    assert loss(kind, true, at_border, 3) < loss(kind, true, inside, 3)
    assert loss(kind, true, at_border) == pytest.approx(loss(kind, true, inside), abs=1e-6)


@pytest.mark.parametrize("kind", LOSSES)
def test_a_model_trained_with_it_saves_reloads_and_goes_on(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (4, 16, 16, 1)).astype(np.float32)
    masks = (images > 0.8).astype(np.float32)
    convolution = keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid")
    model = keras.Sequential([keras.Input((16, 16, 1)), convolution])
    compile_model(model, TrainSettings(loss=kind, border_px=2, ema_momentum=0.9))
    model.fit(images, masks, epochs=2, verbose=0)
    before = model.evaluate(images, masks, verbose=0, return_dict=True)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.loss.get_config() == model.loss.get_config()
    assert again.evaluate(images, masks, verbose=0, return_dict=True) == pytest.approx(before)
    steps = int(again.optimizer.iterations)
    again.fit(images, masks, epochs=20, verbose=0)
    assert int(again.optimizer.iterations) == steps + 20
    assert again.evaluate(images, masks, verbose=0, return_dict=True)["loss"] < before["loss"]
