import csv
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defectseg.image_io import read_image, read_mask
from defectseg.inference.predictor import Inspection
from defectseg.inference.regions import Region
from defectseg.inference.results import (
    OutputError,
    Results,
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


def test_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot be written to: Not a directory.*--resume"):
        Results(tmp_path / "file" / "out", {})


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
    with Results(output, name_pictures([name, "b.png"])) as results:
        results.write_pictures(name, image, found)
        results.add(make_row(name, found, image.shape[:2], "5a", 12.34), found.regions)
        results.add(make_error_row("b.png", "cut off", 1.26, "6b"))
        results.publish()


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


def test_overlay_without_a_defect_is_the_image_itself(tmp_path: Path) -> None:
    image = np.full(MASK.shape, 100, np.uint8)
    write(tmp_path, image, inspection(np.zeros_like(MASK)))
    overlay = read_image(tmp_path / "overlays" / "sub" / "a.jpg")
    np.testing.assert_allclose(overlay, image, atol=2)


def test_a_large_image_has_its_mask_whole_and_a_smaller_overlay(tmp_path: Path) -> None:
    mask = np.zeros((70_000, 80), np.uint8)
    mask[50_000, 5] = 1  # less than a pixel of the overlay
    write(tmp_path, np.full_like(mask, 100), inspection(mask))
    np.testing.assert_array_equal(read_mask(tmp_path / "masks" / "sub" / "a.png"), mask)
    overlay = read_image(tmp_path / "overlays" / "sub" / "a.jpg").astype(int)
    assert overlay.shape == (4096, 5, 3)
    assert (overlay[..., 0] - overlay[..., 1]).max() > 30  # it is outlined all the same


def start(output: Path, *, resume: bool) -> Results:
    return Results(output, name_pictures(["a.png", "b.png", "c.png"]), resume=resume)


def test_tables_of_an_interrupted_run_keep_another_name(tmp_path: Path) -> None:
    with suppress(KeyboardInterrupt), start(tmp_path, resume=False) as results:
        results.add(make_error_row("b.png", "cut off", 1))
        raise KeyboardInterrupt
    assert {path.name for path in tmp_path.iterdir()} == {
        "predictions.csv.part",
        "defects.csv.part",
    }
    with (tmp_path / "predictions.csv.part").open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["b.png"]


def test_a_resumed_run_knows_what_is_done_and_removes_what_was_begun(tmp_path: Path) -> None:
    found = inspection(MASK, REGION)
    with start(tmp_path, resume=False) as results:
        results.add(make_row("a.png", found, (6, 8), "5a", 1), found.regions)
        results.add(make_error_row("b.png", "cut off", 1, "6b"))
        results.write_pictures("a.png", MASK, found)
    begun = tmp_path / "masks" / f".{'0' * 32}.part"
    begun.write_bytes(b"half a mask")
    with start(tmp_path, resume=True) as results:
        done = results.done()
        assert {name: row["outcome"] for name, row in done.items()} == {
            "a.png": "FAIL",
            "b.png": "ERROR",
        }
        assert done["a.png"]["defect_score"] == 0.9
        results.add(make_error_row("c.png", "cut off", 1, "7c"))
        results.publish(["a.png", "b.png", "c.png"])
    assert not begun.exists()
    lines = (tmp_path / "predictions.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["image", "a.png", "b.png", "c.png"]
    assert len((tmp_path / "defects.csv").read_text().splitlines()) == 2


def test_an_image_whose_defects_are_not_all_there_is_not_done(tmp_path: Path) -> None:
    found = inspection(MASK, REGION)
    with start(tmp_path, resume=False) as results:
        results.add(make_row("a.png", found, (6, 8), "5a", 1), ())  # as if the disk had lost them
    with start(tmp_path, resume=True) as results:
        assert results.done() == {}


def test_regions_that_came_before_a_kill_do_not_count_twice(tmp_path: Path) -> None:
    found = inspection(MASK, REGION)
    row = make_row("a.png", found, (6, 8), "5a", 1)
    with start(tmp_path, resume=False) as results:
        results.add(row, found.regions)
    part = tmp_path / "predictions.csv.part"
    part.write_text(part.read_text().splitlines(keepends=True)[0])  # killed before its own row
    with start(tmp_path, resume=True) as results:
        assert results.done() == {}
        results.add(row, found.regions)
    with start(tmp_path, resume=True) as results:
        assert list(results.done()) == ["a.png"]
        results.publish(["a.png"])
    assert len((tmp_path / "defects.csv").read_text().splitlines()) == 2


def test_rows_are_published_in_order_the_later_of_two_and_none_of_other_images(
    tmp_path: Path,
) -> None:
    with start(tmp_path, resume=False) as results:
        for name, error in (("c.png", "1"), ("b.png", "2"), ("a.png", "3"), ("c.png", "4")):
            results.add(make_error_row(name, error, 1))
        results.publish(["a.png", "c.png"])
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = [(row["image"], row["error"]) for row in csv.DictReader(file)]
    assert rows == [("a.png", "3"), ("c.png", "4")]
