from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from skimage import data

from defectseg.bundle import BundleError, CurvePoint, ProductGate
from defectseg.config import CalibrationSettings
from defectseg.dataset.manifest import Sample
from defectseg.dataset.synthetic import generate_sample
from defectseg.evaluation.gate_calibration import calibrate_gate, calibrate_product, measure_good
from defectseg.image_io import read_image, write_gray
from defectseg.quality.distortions import SWEEP, add_noise, blur_defocus, distort
from defectseg.quality.gate import ImageQuality, Judge, describe_cause, measure_quality, open_gates
from defectseg.quality.measures import MEASURES, measure
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
                    missed=9 if bad else 0,
                    defective=9,
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


@pytest.fixture(scope="module")
def product(good: list[Sample]) -> ProductGate:
    """Blur of 2 and noise of 25 are too much, and with noise blur of 1; of all else any goes."""
    breaks = {"gaussian_blur": 2, "noise": 25, "blur_in_noise": 1}
    return calibrate_product(good[:40], curve(breaks), SETTINGS)


def judge_of(product: ProductGate, **settings: float | None) -> Judge:
    gate = calibrate_gate({"P": product}, SETTINGS.model_copy(update=settings))
    return open_gates(gate)["P"]


@pytest.fixture(scope="module")
def judge(product: ProductGate) -> Judge:
    return judge_of(product)


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
    product = calibrate_product(good[:40], curve({"gaussian_blur": 5, "noise": 100}), SETTINGS)
    robust = judge_of(product)
    for kind, level in (("gaussian_blur", 2), ("noise", 25)):
        assert share_trusted(good[40:], judge, kind, level)[0] == 0
        assert share_trusted(good[40:], robust, kind, level)[0] >= 0.9


def test_two_distortions_that_are_harmless_alone_are_not_trusted_together(
    good: list[Sample], judge: Judge
) -> None:
    assert share_trusted(good[40:], judge, "gaussian_blur", 1)[0] >= 0.9
    assert share_trusted(good[40:], judge, "noise", 10)[0] >= 0.9
    for sample in good[40:]:
        # A disc, not the sweep's Gaussian, and other noise than its 10.
        blurred = blur_defocus(read_image(sample.image), 3)
        image = add_noise(blurred, 12, np.random.default_rng(int(sample.sha256, 16)))
        quality = measure_quality(image, judge)
        assert not quality.trusted
        assert "defocus or motion, with noise or gain" in quality.remarks[0]


@pytest.mark.parametrize(("rise", "told"), [(0.3, True), (0.004, False), (0, False)])
def test_escapes_are_told_of_where_more_may_come(
    rise: float, told: bool, good: list[Sample], product: ProductGate
) -> None:
    references = [own.model_copy(update={"escape_rise_high": rise}) for own in product.references]
    judge = judge_of(product.model_copy(update={"references": references}))
    quality = measure_quality(blur_defocus(read_image(good[50].image), 6), judge)
    remark = quality.remarks[0]
    assert "the model may keep only 0 % of its IoU" in remark
    assert remark.endswith(", and up to 30 % more defects may escape" if told else "of its IoU")


@pytest.mark.parametrize(
    ("kind", "level"), [("contrast", 0.004), ("haze", 0.995), ("darkening", 0.004)]
)
def test_beyond_the_strongest_level_nothing_is_harmless(
    kind: str, level: float, good: list[Sample], judge: Judge
) -> None:
    assert share_trusted(good[40:], judge, kind, level)[0] == 0


@pytest.mark.parametrize(
    ("shape", "trusted"),
    [
        ((128, 128), True),
        ((120, 136), True),  # 128 is within 10 % of both
        ((116, 128), False),  # 116 · 1.1 = 127.6
        ((128, 141), False),
        ((64, 64), False),
    ],
)
def test_an_image_of_another_size_is_not_trusted(
    shape: tuple[int, int], trusted: bool, judge: Judge, good: list[Sample]
) -> None:
    image = read_image(good[50].image)
    whole = judge(measure(image), (128, 128))
    assert whole.trusted
    quality = judge(measure(image), shape)
    assert quality.trusted == trusted
    if not trusted:
        assert quality.belief == 0
        assert (
            f"{shape[0]} px high and {shape[1]} wide, is not that of the known images, "
            "128 high and 128 wide"
        ) in quality.remarks[0]


def test_any_size_may_be_allowed(good: list[Sample], product: ProductGate) -> None:
    judge = judge_of(product, size_tolerance=None)
    measures = measure(read_image(good[50].image))
    assert judge(measures, (7, 9)) == judge(measures, (128, 128))


def test_a_fixed_sharpness_leaves_the_size_checked(
    good: list[Sample], product: ProductGate
) -> None:
    judge = judge_of(product, fixed_sharpness=0.0)
    measures = measure(read_image(good[50].image))
    assert judge(measures, (128, 128)).trusted
    assert not judge(measures, (64, 128)).trusted


@pytest.mark.parametrize(
    "update", [{"measures": MEASURES[::-1]}, {"measures": ()}, {"products": "fog"}]
)
def test_a_gate_of_other_measures_or_distortions_is_refused(update: dict[str, object]) -> None:
    gate = fixed_gate(1, "P")
    if update == {"products": "fog"}:
        (reference,) = gate.products["P"].references
        fog = reference.model_copy(update={"kind": "fog"})
        product = gate.products["P"].model_copy(update={"references": (fog,)})
        update = {"products": {"P": product}}
    with pytest.raises(BundleError, match="defectseg calibrate"):
        open_gates(gate.model_copy(update=update))


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
    assert "nothing in it" in quality.remarks[-1]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_never_trusted(bad: float, judge: Judge) -> None:
    gray = np.random.default_rng(0).uniform(0, 255, (64, 64))
    gray[0, 0] = bad
    assert not judge(measure(gray), (128, 128)).trusted


def test_a_picture_of_something_else_is_not_trusted(judge: Judge) -> None:
    for picture in (data.camera(), data.coins()):
        for part in (picture[:128, :128], cv2.resize(picture, (128, 128))):
            assert not measure_quality(part, judge).trusted
    assert not measure_quality(cv2.resize(SLOPE, (128, 128)), judge).trusted


def test_colour_is_judged_by_its_luma(good: list[Sample], judge: Judge) -> None:
    image = read_image(good[50].image)
    assert measure_quality(np.dstack([image] * 3), judge) == measure_quality(image, judge)


def test_good_images_are_measured_in_the_order_of_their_content(good: list[Sample]) -> None:
    measured = measure_good([*good[:3], good[0]])
    assert [sample.sha256 for sample, _ in measured] == sorted(
        sample.sha256 for sample in [*good[:3], good[0]]
    )
    assert measured[0][1] == measure(read_image(measured[0][0].image))
