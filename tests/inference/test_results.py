import csv
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectseg.errors import DataError
from defectseg.image_io import read_image, read_mask
from defectseg.inference.predictor import Inspection
from defectseg.inference.regions import Region
from defectseg.inference.results import (
    ResultsWriter,
    check_output,
    make_error_row,
    make_row,
    name_pictures,
)
from defectseg.inference.verdict import Outcome, Verdict
from defectseg.quality.gate import ImageQuality

# Of the design's contract; users' programs read them.
PREDICTION_COLUMNS = (
    "image,outcome,reasons,defect_score,defect_regions,defect_area_px,sharpness,sharpness_limit,"
    "gate_p_value,noise_sigma,mean_luma,width,height,sha256,total_ms,error"
)
DEFECT_COLUMNS = (
    "image,region,area_px,bbox_x,bbox_y,bbox_width,bbox_height,centroid_x,centroid_y,semi_major,"
    "semi_minor,angle,score"
)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (["a.png", "sub/a.bmp", "b"], ["a", "sub/a", "b"]),
        (["a.png", "a.bmp"], ["a.png", "a.bmp"]),
        # a.png is also the short name of a.png.png.
        (["a.png", "a.bmp", "a.png.png"], ["a.png", "a.bmp", "a.png.png"]),
        (["a.png", "a.png.png"], ["a", "a.png"]),
        (["a", "a.png"], ["a", "a.png"]),
        (["two.dots.png", "..png", ".png"], ["two.dots", ".", ".png"]),
        (["caf\udce9.png"], ["caf\udce9"]),
    ],
)
def test_pictures_are_named_after_their_images(images: list[str], expected: list[str]) -> None:
    assert list(name_pictures(images).values()) == expected


@given(st.sets(st.from_regex(r"(d/)?[ab](\.png|\.bmp){0,4}", fullmatch=True)))
def test_no_two_pictures_have_the_same_name(images: set[str]) -> None:
    names = name_pictures(images)
    assert names.keys() == images
    assert len(set(names.values())) == len(images)
    assert all(image.startswith(name) for image, name in names.items())


def test_new_and_empty_folders_are_free(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    check_output(tmp_path / "empty", tmp_path / "in")
    check_output(tmp_path / "new" / "deep", tmp_path / "in")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("full", "full is not empty; it is left as it is"),
        ("results", "results holds results of another run"),
        ("file", "file is not empty"),
        ("in/out", "in/out lies within .*in: its masks would be taken for images"),
        ("in/../in/x", "lies within"),
    ],
)
def test_folder_that_is_not_free_is_refused(tmp_path: Path, output: str, message: str) -> None:
    for name in ("full/x", "results/predictions.csv", "file", "in/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=message):
        check_output(tmp_path / output, tmp_path / "in")


def test_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written to: Not a directory"):
        ResultsWriter(tmp_path / "file" / "out", {}).__enter__()


def inspection(mask: np.ndarray, *regions: Region) -> Inspection:
    quality = ImageQuality(
        3.14159265, 2, gate_p_value=0.5, noise_sigma=1.5, mean_luma=100.126, belief=1, trusted=True
    )
    verdict = Verdict(Outcome.FAIL, ("defect score 0.900 is at or above 0.750", "and so on"))
    return Inspection(0.9, mask, regions, quality, verdict)


REGION = Region(4, (1, 2, 2, 2), (1.5, 2.5), 1.1547, 1.1547, -0.12345678, 0.9)
MASK = np.zeros((6, 8), np.uint8)
MASK[2:4, 1:3] = 1


def write(output: Path, image: np.ndarray, found: Inspection, name: str = "sub/a.png") -> None:
    with ResultsWriter(output, name_pictures([name, "b.png"])) as writer:
        writer.write_inspection(make_row(name, found, image.shape[:2], "5a", 12.34), image, found)
        writer.write_row(make_error_row("b.png", "cut off", 1.26, "6b"))


def test_tables_hold_the_columns_of_the_contract(tmp_path: Path) -> None:
    write(tmp_path, MASK * np.uint8(100), inspection(MASK, REGION))
    assert (tmp_path / "predictions.csv").read_text().splitlines() == [
        PREDICTION_COLUMNS,
        "sub/a.png,FAIL,defect score 0.900 is at or above 0.750; and so on,0.9,1,4,3.1416,2,0.5,"
        "1.5,100.13,8,6,5a,12.3,",
        "b.png,ERROR,could not be inspected,,,,,,,,,,,6b,1.3,cut off",
    ]
    assert (tmp_path / "defects.csv").read_text().splitlines() == [
        DEFECT_COLUMNS,
        "sub/a.png,1,4,1,2,2,2,1.5,2.5,1.15,1.15,-0.1235,0.9",
    ]


def test_mask_and_overlay_lie_at_the_image_s_own_path(tmp_path: Path) -> None:
    image = np.full(MASK.shape, 100, np.uint8)
    write(tmp_path, image, inspection(MASK, REGION))
    np.testing.assert_array_equal(read_mask(tmp_path / "masks" / "sub" / "a.png"), MASK)
    overlay = read_image(tmp_path / "overlays" / "sub" / "a.jpg").astype(int)
    assert overlay.shape == (6, 8, 3)
    # Red stands out on the defect; far from it the image is as it was.
    assert overlay[2:4, 1:3, 0].mean() > overlay[2:4, 1:3, 1].mean() + 30


def test_image_longer_than_a_jpeg_can_be_has_its_mask_whole(tmp_path: Path) -> None:
    mask = np.zeros((70_000, 8), np.uint8)
    mask[69_000:] = 1
    write(tmp_path, mask * np.uint8(100), inspection(mask))
    np.testing.assert_array_equal(read_mask(tmp_path / "masks" / "sub" / "a.png"), mask)
    assert read_image(tmp_path / "overlays" / "sub" / "a.jpg").shape[0] == 65_500


def test_tables_of_an_interrupted_run_keep_another_name(tmp_path: Path) -> None:
    with suppress(KeyboardInterrupt), ResultsWriter(tmp_path, {"b.png": "b"}) as writer:
        writer.write_row(make_error_row("b.png", "cut off", 1))
        raise KeyboardInterrupt
    assert {path.name for path in tmp_path.iterdir()} == {
        "predictions.csv.part",
        "defects.csv.part",
    }
    with (tmp_path / "predictions.csv.part").open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["b.png"]
