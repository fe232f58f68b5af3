from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from defectseg.bundle import Calibration, Thresholds
from defectseg.config import InferenceSettings
from defectseg.dataset import manifest
from defectseg.dataset.manifest import Sample
from defectseg.errors import DataError
from defectseg.evaluation.evaluate import evaluate, select_samples
from defectseg.evaluation.figures import answer_empty
from defectseg.image_io import read_image, write_gray, write_mask
from defectseg.inference.predictor import Predictor
from tests.engines import Brightness, Empty
from tests.gates import fixed_gate

THRESHOLDS = Thresholds(pixel=0.5, review=0.4, fail=0.6, score_area_px={"P": 1})
CALIBRATION = Calibration(
    thresholds=THRESHOLDS,
    gate=fixed_gate(0.1, "P"),
    inference=InferenceSettings(),
    model_sha256="",
    data_sha256="",
    seen_sha256=(),
    engine="keras",
    created="",
)


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
        sha256="0",
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
    assert list(frame["image"]) == [str(one.image) for one in samples]
    assert list(frame["outcome"]) == ["PASS", "FAIL", "FAIL", "PASS", "RETAKE"]
    assert list(frame["alarmed"]) == [False, True, True, False, False]
    assert list(frame["defects"]) == [0, 0, 2, 2, 2]
    assert list(frame["defects_hit"]) == [0, 0, 1, 0, 0]
    # A square has 16 pixels; what is below the review threshold is not in the mask.
    assert list(frame["overlap_px"]) == [0, 0, 16, 0, 0]
    assert list(frame["true_px"]) == [0, 0, 32, 32, 32]
    assert list(frame["predicted_px"]) == [0, 16, 16, 0, 0]


def test_an_image_that_cannot_be_read_is_a_row_of_its_own(samples: list[Sample]) -> None:
    samples[2].image.write_bytes(b"no image")
    frame = evaluate(Predictor(Brightness(), CALIBRATION), samples)
    assert list(frame["outcome"]) == ["PASS", "FAIL", "ERROR", "PASS", "RETAKE"]
    assert frame["error"][2]
    assert frame["defective"].dtype == bool


def test_a_label_that_does_not_fit_its_image_is_named_and_costs_no_other(
    samples: list[Sample],
) -> None:
    masks = [sample.mask for sample in samples[2:]]
    write_mask(masks[0], np.ones((20, 19), np.uint8))  # type: ignore[arg-type]
    write_mask(masks[1], np.zeros((20, 20), np.uint8))  # type: ignore[arg-type]
    masks[2].write_bytes(b"no image")  # type: ignore[union-attr]
    frame = evaluate(Predictor(Brightness(), CALIBRATION), samples)
    assert list(frame["outcome"]) == ["PASS", "FAIL", "ERROR", "ERROR", "ERROR"]
    assert "(20, 19)" in frame["error"][2]
    assert "0 defect pixels" in frame["error"][3]
    assert all(str(mask) in error for mask, error in zip(masks, frame["error"][2:], strict=True))


@pytest.mark.parametrize(("corner", "found"), [(1, "the network failed"), (2, "no number")])
def test_an_engine_that_fails_on_one_image_costs_no_other(
    samples: list[Sample], corner: int, found: str
) -> None:
    image = read_image(samples[0].image)
    image[0, 0] = corner
    write_gray(samples[0].image, image)
    frame = evaluate(Predictor(Brightness(), CALIBRATION), samples)
    assert list(frame["outcome"])[:2] == ["ERROR", "FAIL"]
    assert found in frame["error"][0].replace("\\n", " ")


def test_the_empty_answer_passes_everything_and_finds_nothing(samples: list[Sample]) -> None:
    frame = evaluate(Predictor(Brightness(), CALIBRATION), samples)
    empty = answer_empty(frame)
    pd.testing.assert_frame_equal(empty, answer_empty(empty))
    told = evaluate(Predictor(Empty(), CALIBRATION), samples)
    # As a predictor that finds nothing is measured, but for the gate.
    columns = ["score", "overlap_px", "true_px", "predicted_px", "defects", "defects_hit"]
    pd.testing.assert_frame_equal(empty[columns], told[columns])
    assert set(empty["outcome"]) == {"PASS"}


def prepare_two_products(folder: Path, samples: list[Sample]) -> None:
    rows = [replace(samples[0], product="gear"), replace(samples[2], product="bolt", split="val")]
    (folder / manifest.FILE_NAME).write_text(manifest.write_manifest(rows, folder))


@pytest.mark.parametrize(
    ("split", "known", "product", "expected"),
    [
        ("all", ["gear", "bolt"], None, ["gear", "bolt"]),
        ("test", ["gear", "bolt"], None, ["gear"]),
        ("val", ["gear", "bolt"], "gear", ["gear"]),
        ("test", ["nut"], None, ["nut"]),  # one product in both: it is meant
        ("all", ["nut"], "nut", ["nut", "nut"]),
    ],
)
def test_the_split_and_the_product_are_chosen(
    tmp_path: Path,
    samples: list[Sample],
    split: str,
    known: list[str],
    product: str | None,
    expected: list[str],
) -> None:
    prepare_two_products(tmp_path, samples)
    chosen = select_samples(tmp_path, split, known, product)
    assert [sample.product for sample in chosen] == expected


@pytest.mark.parametrize(
    ("split", "known", "product", "found"),
    [
        ("train", ["gear", "bolt"], None, "has no images in its train split"),
        ("all", ["gear", "nut"], None, "knows no product bolt"),
        ("all", ["gear"], None, "knows no product bolt"),
        ("all", ["gear", "bolt"], "nut", "knows no product nut; it was trained on gear, bolt"),
    ],
)
def test_what_cannot_be_chosen_is_an_error(
    tmp_path: Path,
    samples: list[Sample],
    split: str,
    known: list[str],
    product: str | None,
    found: str,
) -> None:
    prepare_two_products(tmp_path, samples)
    with pytest.raises(DataError, match=found):
        select_samples(tmp_path, split, known, product)
