from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from defectseg.bundle import CurvePoint
from defectseg.config import CalibrationSettings
from defectseg.dataset.manifest import Sample
from defectseg.dataset.synthetic import generate_sample
from defectseg.evaluation.gate_calibration import calibrate_gate, calibrate_product, measure_good
from defectseg.image_io import read_image, write_gray
from defectseg.quality.distortions import SWEEP, distort
from defectseg.quality.gate import ImageQuality, Judge, describe_cause, measure_quality, open_gates
from defectseg.quality.measures import measure
from tests.gates import fixed_gate

# |∂/∂column| is 4 everywhere, |∂/∂row| is 0.
SLOPE = np.tile(np.arange(0, 80, 4, dtype=np.uint8), (10, 1))
SETTINGS = CalibrationSettings(gate_alpha=0.05)


@pytest.mark.parametrize(("limit", "trusted"), [(3.9, True), (4, True), (4.001, False)])
def test_a_fixed_sharpness_is_the_only_limit(limit: float, trusted: bool) -> None:
    judge = open_gates(fixed_gate(limit, "P"))["P"]
    quality = measure_quality(SLOPE, judge)
    assert quality.trusted is trusted
    assert (quality.sharpness, quality.sharpness_limit) == (pytest.approx(4), limit)
    assert bool(quality.remarks) is not trusted


def test_no_fixed_sharpness_trusts_an_image_in_which_all_is_alike() -> None:
    judge = open_gates(fixed_gate(0, "P"))["P"]
    assert not measure_quality(np.zeros((64, 64), np.uint8), judge).trusted
    assert not measure_quality(np.full((1, 1), 9, np.uint8), judge).trusted


def test_colour_is_measured_on_its_luma() -> None:
    judge = open_gates(fixed_gate(1, "P"))["P"]
    assert measure_quality(np.dstack([SLOPE] * 3), judge) == measure_quality(SLOPE, judge)
    # Columns 0, 4, ..., 76 have the mean 38.
    assert measure_quality(SLOPE, judge).mean_luma == 38


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["untouched", "noise", "noise"], "noise or gain"),
        (["haze", "contrast", "noise"], "haze or light"),
        (["untouched"], "nothing in particular"),
    ],
)
def test_cause_is_that_of_most_neighbours(kinds: list[str], expected: str) -> None:
    assert describe_cause(kinds) == expected


def curve(breaks: dict[str, float]) -> list[CurvePoint]:
    """A model that is perfect up to a level of each kind, and misses all from there on."""
    points = []
    for name, kind in SWEEP.items():
        bad = False
        for level in kind.levels:
            bad = bad or level == breaks.get(name)
            points.append(
                CurvePoint(
                    kind=name,
                    level=level,
                    iou_share=0 if bad else 1,
                    iou_share_low=0 if bad else 1,
                    escape_rise=1 if bad else 0,
                    escape_rise_high=1 if bad else 0,
                    overkill=0,
                )
            )
    return points


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder = tmp_path_factory.mktemp("good")
    rng = np.random.default_rng(11)
    samples = []
    for number in range(60):
        image, _ = generate_sample("Class1", defective=False, rng=rng, size=128)
        path = folder / f"{number}.png"
        write_gray(path, image)
        sha256 = f"{int(rng.integers(2**32)):08x}"
        samples.append(Sample(path, None, "P", False, "train", 128, 128, sha256))
    return samples


def judge_of(samples: Sequence[Sample], breaks: dict[str, float]) -> Judge:
    product = calibrate_product(measure_good(samples), curve(breaks), SETTINGS)
    return open_gates(calibrate_gate({"P": product}, SETTINGS))["P"]


@pytest.fixture(scope="module")
def judge(good: list[Sample]) -> Judge:
    """Blur of 2 and noise of 25 are too much; of all else the model takes any."""
    return judge_of(good[:40], {"gaussian_blur": 2, "noise": 25})


def share_trusted(
    samples: Sequence[Sample], judge: Judge, kind: str = "", level: float = 0
) -> tuple[float, list[ImageQuality]]:
    seen = []
    for sample in samples:
        image = read_image(sample.image)
        if kind:
            image = distort(image, kind, level, sample.sha256)
        seen.append(measure_quality(image, judge))
    return float(np.mean([quality.trusted for quality in seen])), seen


def test_good_images_are_trusted(good: list[Sample], judge: Judge) -> None:
    assert share_trusted(good[40:], judge)[0] >= 0.9


@pytest.mark.parametrize(
    ("kind", "level", "cause"),
    [
        ("gaussian_blur", 3, "defocus or motion"),
        ("gaussian_blur", 2.5, "defocus or motion"),  # not swept
        ("noise", 50, "noise or gain"),
        ("noise", 30, "noise or gain"),
    ],
)
def test_what_the_model_cannot_bear_is_not_trusted(
    kind: str, level: float, cause: str, good: list[Sample], judge: Judge
) -> None:
    share, seen = share_trusted(good[40:], judge, kind, level)
    assert share == 0
    assert sum(cause in quality.remarks[0] for quality in seen) > 0.8 * len(seen)


@pytest.mark.parametrize(
    ("kind", "level"), [("contrast", 0.2), ("contrast", 0.35), ("haze", 0.6), ("darkening", 0.2)]
)
def test_what_is_harmless_to_the_model_is_named_but_believed(
    kind: str, level: float, good: list[Sample], judge: Judge
) -> None:
    share, seen = share_trusted(good[40:], judge, kind, level)
    assert share >= 0.9
    named = [quality for quality in seen if quality.trusted and quality.remarks]
    assert len(named) > 0.8 * len(seen)
    assert all("harmless to this model" in quality.remarks[0] for quality in named)
    # By sharpness alone they would all be condemned.
    assert all(quality.gate_p_value <= SETTINGS.gate_alpha for quality in named)


def test_the_gate_moves_with_the_model(good: list[Sample], judge: Judge) -> None:
    robust = judge_of(good[:40], {"gaussian_blur": 5, "noise": 100})
    for kind, level in (("gaussian_blur", 2), ("noise", 25)):
        assert share_trusted(good[40:], judge, kind, level)[0] == 0
        assert share_trusted(good[40:], robust, kind, level)[0] >= 0.9


def test_a_distortion_never_swept_is_not_trusted(good: list[Sample], judge: Judge) -> None:
    rng = np.random.default_rng(0)
    for sample in good[40:]:
        image = read_image(sample.image)
        image[rng.random(image.shape) < 0.05] = 255
        image[rng.random(image.shape) < 0.05] = 0
        assert not measure_quality(image, judge).trusted


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (128, 128)])
def test_constant_and_tiny_images_are_never_trusted(
    shape: tuple[int, int], level: int, judge: Judge
) -> None:
    quality = measure_quality(np.full(shape, level, np.uint8), judge)
    assert not quality.trusted
    assert "nothing in it" in quality.remarks[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_never_trusted(bad: float, judge: Judge) -> None:
    gray = np.random.default_rng(0).uniform(0, 255, (64, 64))
    gray[0, 0] = bad
    assert not judge(measure(gray)).trusted


def test_a_picture_of_something_else_is_not_trusted(judge: Judge) -> None:
    for picture in (data.camera(), data.coins(), cv2.resize(SLOPE, (128, 128))):
        assert not measure_quality(picture, judge).trusted


def test_calibration_reads_each_image_where_it_lies(good: list[Sample], tmp_path: Path) -> None:
    measured = measure_good([*good[:3], good[0]])
    assert [sample.sha256 for sample, _ in measured] == sorted(
        sample.sha256 for sample in [*good[:3], good[0]]
    )
    assert measured[0][1] == measure(read_image(measured[0][0].image))
