from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from defectseg.bundle import Calibration, Gate, ProductGate, Thresholds
from defectseg.dataset.manifest import Sample
from defectseg.evaluation.evaluate import evaluate, summarise
from defectseg.image_io import write_gray, write_mask
from defectseg.inference.predictor import Predictor

THRESHOLDS = Thresholds(pixel=0.5, review=0.4, fail=0.6, score_window_px=1)
CALIBRATION = Calibration(
    thresholds=THRESHOLDS,
    gate=Gate(percentile=1, products={"P": ProductGate(limit=0.1, sharpness=(0.1,))}),
    model_sha256="",
    data_sha256="",
    created="",
)


class Brightness:
    """An engine that takes bright pixels for defects, so that answers can be drawn."""

    name, precision = "brightness", "float32"

    def probability(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return image.astype(np.float32) / np.float32(255)


class Empty(Brightness):
    """An engine that never finds anything."""

    def probability(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return np.zeros(image.shape, np.float32)


def square(top: int, left: int) -> npt.NDArray[np.uint8]:
    mask = np.zeros((20, 20), np.uint8)
    mask[top : top + 4, left : left + 4] = 1
    return mask


def sample(folder: Path, name: str, image: npt.NDArray[np.uint8], *truth: object) -> Sample:
    write_gray(folder / f"{name}.png", image)
    mask = None
    if truth:
        mask = folder / f"{name}_mask.png"
        write_mask(mask, truth[0])  # type: ignore[arg-type]
    return Sample(
        image=folder / f"{name}.png",
        mask=mask,
        product="P",
        defective=bool(truth),
        split="test",
        width=20,
        height=20,
        sha256="",
    )


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    two = square(0, 0) | square(10, 10)
    return [
        sample(tmp_path, "good", square(5, 5) * np.uint8(51)),  # 51 / 255 = 0.2: PASS
        sample(tmp_path, "good but bright", square(5, 5) * np.uint8(204)),  # 0.8: FAIL
        sample(tmp_path, "one of two", square(0, 0) * np.uint8(204), two),
        sample(tmp_path, "faint", two * np.uint8(51), two),  # an escape
        sample(tmp_path, "flat", np.zeros((20, 20), np.uint8), two),  # not sharp: RETAKE
    ]


def test_answers_by_hand(samples: list[Sample]) -> None:
    ticks: list[int] = []
    frame = evaluate(Predictor(Brightness(), CALIBRATION), samples, ticks.append)
    assert ticks == [5] * 5
    assert list(frame["image"]) == [one.image.name for one in samples]
    assert list(frame["outcome"]) == ["PASS", "FAIL", "FAIL", "PASS", "RETAKE"]
    assert list(frame["alarmed"]) == [False, True, True, False, False]
    assert list(frame["defects"]) == [0, 0, 2, 2, 2]
    assert list(frame["defects_hit"]) == [0, 0, 1, 0, 0]
    # 16 of 32 pixels; no IoU over good images.
    np.testing.assert_array_equal(frame["iou"], [np.nan, np.nan, 0.5, 0, 0])
    assert summarise(frame) == {
        "good_images": 2,
        "defective_images": 3,
        "iou_mean": pytest.approx(0.5 / 3),
        "iou_median": 0,
        "iou_worst": 0,
        "defects": 6,
        "defects_hit": 1,
        "defective_alarmed": 1,
        "good_alarmed": 1,
        "good_retaken": 0,
        "defective_retaken": 1,
        "defective_passed": 1,
    }


def test_predictor_that_finds_nothing_is_not_flattered(samples: list[Sample]) -> None:
    summary = summarise(evaluate(Predictor(Empty(), CALIBRATION), samples))
    assert (summary["iou_mean"], summary["defects_hit"], summary["good_alarmed"]) == (0, 0, 0)
    assert summary["defective_passed"] == 2


def test_without_defective_images_there_is_no_iou(samples: list[Sample]) -> None:
    summary = summarise(evaluate(Predictor(Brightness(), CALIBRATION), samples[:2]))
    assert (summary["iou_mean"], summary["iou_median"], summary["iou_worst"]) == (None, None, None)
    assert isinstance(evaluate(Predictor(Empty(), CALIBRATION), samples[:1]), pd.DataFrame)
