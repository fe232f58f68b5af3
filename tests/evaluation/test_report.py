import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from defectseg.commands import measuring
from defectseg.dataset.manifest import read_manifest, write_manifest
from defectseg.errors import DataError
from defectseg.evaluation.report import worst_first
from defectseg.image_io import read_image


@pytest.fixture(scope="module")
def evaluated(
    bundle_folder: Path, prepared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    output = tmp_path_factory.mktemp("evaluation") / "figures"
    assert measuring.evaluate(bundle_folder, prepared, output, split="test", product=None) == 0
    return output


def test_everything_is_there(evaluated: Path) -> None:
    names = sorted(str(path.relative_to(evaluated)) for path in evaluated.rglob("*.*"))
    assert names == [
        "evaluation.html",
        "evaluation.json",
        "images.csv",
        "plots/error_rates.png",
        "plots/iou.png",
        "plots/precision_recall.png",
        "plots/worst.jpg",
    ]
    for path in evaluated.glob("plots/*"):
        assert min(read_image(path).shape[:2]) > 200


def test_the_figures_are_those_of_the_bundle(evaluated: Path, bundle_folder: Path) -> None:
    record = json.loads((evaluated / "evaluation.json").read_text())
    known = json.loads((bundle_folder / "metrics.json").read_text())["test"]
    assert record["overall"] == known["overall"]
    assert set(record["products"]) == {"Class1", "Class5"}
    assert set(record["kinds"]) == {"Class1_def", "Class5_def"}
    assert record["overall"]["empty_answer"]["iou_mean"] == 0
    assert record["seen_in_training"] == 0


def test_the_blur_classifier_is_rated_at_each_threshold(evaluated: Path) -> None:
    rates = json.loads((evaluated / "evaluation.json").read_text())["blur_classifier"]
    assert [own["threshold"] for own in rates] == [0.5, 0.7, 0.8, 0.9, 0.95]
    for kind in ("false_positive_rate", "true_positive_rate"):
        values = [own[kind] for own in rates]
        assert values == sorted(values, reverse=True)
    assert "called sharp from" in (evaluated / "evaluation.html").read_text()


def test_each_image_has_its_row(evaluated: Path, prepared: Path) -> None:
    rows = pd.read_csv(evaluated / "images.csv")
    images = [str(s.image) for s in read_manifest(prepared) if s.split == "test"]
    assert list(rows["image"]) == images


def test_the_page_shows_the_empty_answer_beside_the_figures(evaluated: Path) -> None:
    page = (evaluated / "evaluation.html").read_text()
    assert "<th>all: empty answer</th>" in page
    assert "4 of 4: 100.0 % (51.0–100.0)" in page  # what the empty answer lets escape
    assert page.count("data:image/png") == 3
    assert "://" not in page


def test_images_that_were_trained_on_are_told(
    bundle_folder: Path, prepared: Path, tmp_path: Path
) -> None:
    output = tmp_path / "figures"
    measuring.evaluate(bundle_folder, prepared, output, split="val", product=None)
    # 2 products, 2 good and 2 defective images each.
    assert "8 of these images were used" in (output / "evaluation.html").read_text()


def test_the_worst_come_first() -> None:
    rows = [
        # outcome, defective, alarmed, overlap of 10 labelled and 10 answered pixels, score
        ("PASS", False, False, 0, 0.1),
        ("FAIL", True, True, 9, 0.9),
        ("FAIL", False, True, 0, 0.8),
        ("FAIL", True, True, 2, 0.9),
        ("ERROR", True, False, 0, np.nan),
        ("PASS", True, False, 0, 0.2),
        ("REVIEW", False, True, 0, 0.9),
    ]
    columns = ["outcome", "defective", "alarmed", "overlap_px", "score"]
    frame = pd.DataFrame(rows, columns=columns).assign(true_px=10, predicted_px=10)
    # The escape, the good ones by falling score, then the defective ones by rising IoU.
    assert worst_first(frame) == [5, 6, 2, 3, 1]


def test_an_occupied_folder_is_left_alone(
    bundle_folder: Path, prepared: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty"):
        measuring.evaluate(bundle_folder, prepared, tmp_path, split="test", product=None)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_image_that_cannot_be_read_is_listed_and_costs_no_other(
    bundle_folder: Path, prepared: Path, tmp_path: Path
) -> None:
    good, broken = (
        next(s for s in read_manifest(prepared) if s.split == "test" and s.defective == defective)
        for defective in (False, True)
    )
    (tmp_path / "broken.png").write_bytes(b"no image")
    samples = [good, replace(broken, image=tmp_path / "broken.png")]
    (tmp_path / "manifest.csv").write_text(write_manifest(samples, tmp_path))
    output = tmp_path / "figures"
    assert measuring.evaluate(bundle_folder, tmp_path, output, split="all", product=None) == 1
    assert list(pd.read_csv(output / "images.csv")["outcome"])[1] == "ERROR"
    record = json.loads((output / "evaluation.json").read_text())
    assert record["overall"]["model"]["unreadable_images"] == 1
    assert record["overall"]["model"]["defective_images"] == 0
    page = (output / "evaluation.html").read_text()
    assert "Could not be read" in page
    assert "broken.png" in page
