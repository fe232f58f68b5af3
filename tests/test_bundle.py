import hashlib
from pathlib import Path

import pytest

from defectseg.bundle import (
    CALIBRATION,
    CONFIG,
    MODEL,
    PARTS,
    BundleError,
    file_sha256,
    load_bundle,
)


@pytest.fixture
def copy(bundle_folder: Path, tmp_path: Path) -> Path:
    """A bundle to be damaged: links to the parts of the trained one, which is left whole."""
    for part in PARTS:
        (tmp_path / part).symlink_to(bundle_folder / part)
    return tmp_path


def replace(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


def test_whole_bundle_is_read(bundle_folder: Path) -> None:
    bundle = load_bundle(bundle_folder)
    assert bundle.model_path == bundle_folder / "model.keras"
    assert bundle.config.train.epochs == 6
    thresholds = bundle.calibration.thresholds
    assert 0 <= thresholds.review <= thresholds.fail <= 1
    for gate in bundle.calibration.gate.products.values():
        assert list(gate.baseline.deviations) == sorted(gate.baseline.deviations)


@pytest.mark.parametrize("part", PARTS)
def test_missing_part_is_named(copy: Path, part: str) -> None:
    (copy / part).unlink()
    with pytest.raises(BundleError, match=f"not a complete bundle: {part} missing.*--resume"):
        load_bundle(copy)


def test_all_missing_parts_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        load_bundle(tmp_path)
    assert all(part in str(caught.value) for part in PARTS)


def test_absent_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="absent is not a folder; expected a bundle"):
        load_bundle(tmp_path / "absent")


def test_settings_that_the_limits_were_not_set_with_are_refused(copy: Path) -> None:
    text = (copy / CONFIG).read_text()
    replace(copy / CONFIG, text.replace("flips: false", "flips: true"))
    with pytest.raises(BundleError, match=r"flips=True.*limits were set with flips=False"):
        load_bundle(copy)


@pytest.mark.parametrize("part", ["robustness.csv", "metrics.json"])
def test_a_part_of_another_calibration_is_refused(copy: Path, part: str) -> None:
    # As an interrupted calibration leaves it: some parts are new, calibration.json is not.
    replace(copy / part, (copy / part).read_text() + "\n")
    with pytest.raises(BundleError, match=f"{part} is not the one .* defectseg calibrate --model"):
        load_bundle(copy)


def test_altered_model_is_refused(copy: Path) -> None:
    replace(copy / MODEL, "of another training")
    with pytest.raises(BundleError, match=r"model\.keras is not the model .*its hash differs"):
        load_bundle(copy)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("{", "", "Invalid JSON"),
        ('"pixel"', '"pixels"', "thresholds.pixel\n"),
        ('"pixel": ', '"pixel": 1', "less than 1"),
        ('"pixel": ', '"pixel": NaN, "was": ', "thresholds.pixel\n"),
        ('"fail": ', '"fail": -', "thresholds.fail\n"),
        ('"review": ', '"review": 1, "was": ', "thresholds.was\n"),
        (
            '"score_area_px": {',
            '"score_area_px": {"of another product": 9, ',
            "gate has the products",
        ),
    ],
    ids=["cut", "misspelt", "too large", "no number", "negative", "unknown", "other products"],
)
def test_damaged_calibration_is_refused(copy: Path, old: str, new: str, named: str) -> None:
    path = copy / CALIBRATION
    text = path.read_text()
    assert old in text
    replace(path, text.replace(old, new, 1))
    with pytest.raises(BundleError, match=r"calibration\.json is damaged, or of another") as caught:
        load_bundle(copy)
    assert named in str(caught.value)


def test_band_turned_upside_down_is_refused(copy: Path) -> None:
    calibration = load_bundle(copy).calibration
    thresholds = calibration.thresholds.model_copy(update={"review": 0.9, "fail": 0.1})
    turned = calibration.model_copy(update={"thresholds": thresholds})
    replace(copy / CALIBRATION, turned.model_dump_json())
    with pytest.raises(BundleError, match=r"review = 0\.9 is above fail = 0\.1"):
        load_bundle(copy)


def test_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert file_sha256(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()
