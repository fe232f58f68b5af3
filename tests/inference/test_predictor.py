from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from defectseg.bundle import Bundle, Calibration, Thresholds, load_bundle
from defectseg.config import InferenceSettings
from defectseg.errors import DefectsegError
from defectseg.image_io import read_mask, write_gray
from defectseg.inference import predictor
from defectseg.inference.engines import Engine, load_engine
from defectseg.inference.folder import predict_folder
from defectseg.inference.predictor import Predictor
from defectseg.inference.verdict import Outcome
from tests.engines import Brightness
from tests.gates import fixed_gate

CALIBRATION = Calibration(
    thresholds=Thresholds(pixel=0.5, review=0.4, fail=0.6, score_area_px={"P": 3, "Coarse": 600}),
    gate=fixed_gate(1, "P", "Coarse"),
    inference=InferenceSettings(),
    model_sha256="",
    data_sha256="",
    seen_sha256=(),
    engine="keras",
    created="",
)


def picture(level: int, corner: int = 0) -> npt.NDArray[np.uint8]:
    """Fine black and gray checks, sharp enough, with a spot of a level."""
    image = np.zeros((40, 60), np.uint8)
    image[::4] = 20
    image[10:20, 30:45] = level
    image[0, 0] = corner
    return image


@pytest.mark.parametrize(
    ("level", "outcome", "found"),
    [(51, Outcome.PASS, 0), (128, Outcome.REVIEW, 1), (204, Outcome.FAIL, 1)],
)
def test_spot_is_found_and_judged(level: int, outcome: Outcome, found: int) -> None:
    inspection = Predictor(Brightness(), CALIBRATION).inspect(picture(level), "P")
    assert inspection.verdict.outcome is outcome
    # Scores have steps, of at most 0.1.
    assert level / 255 - 0.1 < inspection.score <= level / 255
    assert len(inspection.regions) == found
    assert inspection.mask.sum() == found * 10 * 15


def test_each_product_has_its_own_area() -> None:
    predictor = Predictor(Brightness(), CALIBRATION)
    fine, coarse = (predictor.inspect(picture(204), product) for product in ("P", "Coarse"))
    # The spot has 10 × 15 of the 600 pixels from which a defect counts fully.
    assert coarse.score == pytest.approx(fine.score / 4, rel=1e-6)
    assert (fine.verdict.outcome, coarse.verdict.outcome) == (Outcome.FAIL, Outcome.PASS)


def test_untrusted_image_has_its_mask_but_is_not_inspected() -> None:
    image = np.full((40, 60), 250, np.uint8)  # no gradient at all
    inspection = Predictor(Brightness(), CALIBRATION).inspect(image, "P")
    assert inspection.verdict.outcome is Outcome.RETAKE
    assert inspection.mask.all()


def test_network_that_answers_nan_never_passes() -> None:
    inspection = Predictor(Brightness(), CALIBRATION).inspect(picture(51, corner=2), "P")
    assert inspection.verdict.outcome is Outcome.REVIEW
    assert inspection.verdict.reasons == ("defect score is not a number: the network failed",)


def test_unknown_product_is_an_error() -> None:
    with pytest.raises(DefectsegError, match="no product 'Q'; it was trained on P, Coarse"):
        Predictor(Brightness(), CALIBRATION).inspect(picture(0), "Q")


def test_failing_engine_stops_one_image_and_not_the_folder(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "load_engine", lambda *_, **__: Brightness())
    (tmp_path / "in").mkdir()
    for name, level, corner in (("a", 204, 0), ("b", 51, 1), ("c", 51, 2), ("d", 51, 0)):
        write_gray(tmp_path / "in" / f"{name}.png", picture(level, corner))
    bundle = Bundle(bundle_folder, load_bundle(bundle_folder).config, CALIBRATION, {})
    rows = []
    predict_folder(
        bundle,
        tmp_path / "in",
        tmp_path / "out",
        product="P",
        on_image=lambda row, total: rows.append(row),
    )
    assert [row["outcome"] for row in rows] == ["FAIL", "ERROR", "REVIEW", "PASS"]
    assert rows[1]["error"] == "RuntimeError('the network\\nfailed')"
    assert read_mask(tmp_path / "out" / "masks" / "a.png").sum() == 150


@pytest.fixture(scope="module", params=["keras", "float32"])
def engine(request: pytest.FixtureRequest, bundle_folder: Path) -> Engine:
    return load_engine(bundle_folder, load_bundle(bundle_folder).config, request.param)


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (65, 64), (50, 70, 3)])
def test_engines_take_any_size(engine: Engine, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    probability = engine.probability(image)
    assert (probability.shape, probability.dtype) == (shape[:2], np.float32)
    assert probability.min() >= 0
    assert probability.max() <= 1


def test_engines_answer_as_the_model_does(engine: Engine, bundle_folder: Path) -> None:
    import keras

    # Downscaled by 2, the network takes multiples of 2 · 32.
    image = np.random.default_rng(0).integers(0, 256, (128, 64), np.uint8)
    model = keras.models.load_model(bundle_folder / "model.keras", compile=False)
    expected = np.asarray(model(image[None, ..., None].astype(np.float32), training=False))
    np.testing.assert_allclose(engine.probability(image), expected[0, ..., 0], atol=1e-5)
