import shutil
from pathlib import Path

import pytest

from defectseg.bundle import (
    CALIBRATION,
    CONFIG,
    PARTS,
    BundleError,
    finish_bundle,
    load_bundle,
)
from defectseg.checksums import SUMS


@pytest.fixture
def copy(bundle_folder: Path, tmp_path: Path) -> Path:
    """A bundle to be damaged."""
    folder = tmp_path / "run"
    ignore = shutil.ignore_patterns("checkpoints", "tensorboard")
    shutil.copytree(bundle_folder, folder, ignore=ignore)
    return folder


def replace(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


def test_whole_bundle_is_read(bundle_folder: Path) -> None:
    bundle = load_bundle(bundle_folder)
    assert bundle.folder == bundle_folder
    assert bundle.exports["float32"].agreement == 1
    assert bundle.config.train.epochs == 3
    thresholds = bundle.calibration.thresholds
    assert 0 <= thresholds.review <= thresholds.fail <= 1
    for gate in bundle.calibration.gate.products.values():
        assert list(gate.baseline.deviations) == sorted(gate.baseline.deviations)


@pytest.mark.parametrize("part", [*PARTS, SUMS])
def test_missing_part_is_named(copy: Path, part: str) -> None:
    if (copy / part).is_dir():
        shutil.rmtree(copy / part)
    else:
        (copy / part).unlink()
    with pytest.raises(BundleError, match=f"not a complete bundle: {part}.* missing.*--resume"):
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


@pytest.mark.parametrize(
    "part",
    ["model.keras", "engine/float32.bin", "engine/float32.xml", "robustness.csv", "MODEL_CARD.md"],
)
@pytest.mark.parametrize("change", ["cut", "altered", "absent"])
def test_a_part_that_is_not_as_it_was_is_named(copy: Path, part: str, change: str) -> None:
    data = (copy / part).read_bytes()
    if change == "absent":
        (copy / part).unlink()
    else:
        (copy / part).write_bytes(data[:-1] if change == "cut" else bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(BundleError, match=rf"{part}.*defectseg calibrate --model"):
        load_bundle(copy)


def test_limits_that_were_changed_by_hand_are_refused(copy: Path) -> None:
    text = (copy / CALIBRATION).read_text()
    replace(copy / CALIBRATION, text.replace('"alpha": 0.25', '"alpha": 0.26'))
    with pytest.raises(BundleError, match=r"calibration\.json was changed"):
        load_bundle(copy)
    finish_bundle(copy)
    assert load_bundle(copy).calibration.gate.alpha == 0.26


def test_what_lies_beside_the_parts_does_not_matter(copy: Path) -> None:
    (copy / "notes.txt").write_text("of people")
    (copy / "engine" / "compiled.blob").write_text("of a cache")
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
