import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from defectseg.annotations import coco, cvat
from defectseg.annotations.ellipse import Ellipse
from defectseg.dataset.masks import rasterise
from defectseg.dataset.prepare import prepare
from defectseg.errors import DataError
from defectseg.image_io import read_mask, write_mask
from defectseg.inference.preannotations import draw_outlines, preannotate
from defectseg.inference.regions import Region, find_regions
from defectseg.inference.results import (
    PREDICTION_COLUMNS,
    Results,
    make_error_row,
    name_pictures,
)
from defectseg.inference.verdict import Outcome
from tests.annotations.folders import HEIGHT, WIDTH, write_images

IMAGES = ("gear/1.png", "gear/2.png", "gear/3.png", "gear/broken.png")
TILTED = Ellipse(9, 4, math.radians(30), 16, 12)
SMALL = (Ellipse(3, 2, 0, 6, 6), Ellipse(2, 2, 0, 26, 18))


def make(root: Path) -> Path:
    """What a prediction leaves: 1.png with one region, 2.png with two, 3.png with none."""
    write_images(root / "images" / "gear", "1.png", "2.png", "3.png")
    results = root / "results"
    found = {"gear/1.png": (TILTED,), "gear/2.png": SMALL, "gear/3.png": ()}
    with Results(results, name_pictures(IMAGES)) as table:
        for image, ellipses in found.items():
            probability = rasterise(ellipses, (HEIGHT, WIDTH)).astype(np.float32) * 0.9
            _, regions, mask = find_regions(probability, 5, pixel_threshold=0.5, least_score=0.1)
            known = {"image": image, "outcome": "FAIL", "width": WIDTH, "height": HEIGHT}
            row = dict.fromkeys(PREDICTION_COLUMNS, "") | known
            table.add(row | {"defect_regions": len(regions)}, regions)
            write_mask(table.mask_path(image), mask)
        table.add(make_error_row(IMAGES[3], "no image", 1.0))
        table.publish()
    return results


@pytest.mark.parametrize("tool", ["cvat", "coco"])
@pytest.mark.parametrize("drawn_as", ["outline", "ellipse"])
def test_what_was_found_is_read_back_by_prepare(tmp_path: Path, tool: str, drawn_as: str) -> None:
    results = make(tmp_path)
    output = tmp_path / "images" / {"cvat": "labels.xml", "coco": "labels.json"}[tool]
    calls: list[int] = []
    written = preannotate(
        results, output, tool=tool, drawn_as=drawn_as, label="dent", on_image=calls.append
    )
    assert (written.images, written.shapes) == (3, 3)
    assert written.left_out == {IMAGES[3]: Outcome.ERROR}
    assert calls == [4] * 4
    layout, (gear,) = prepare(tmp_path / "images", tmp_path / "out", val=0, test=0)
    assert layout == tool
    assert (gear.good, gear.defective, gear.shapes) == (1, 2, {"dent": 3})
    for name in ("1.png", "2.png"):
        mask = read_mask(tmp_path / "out" / "masks" / "gear" / name)
        answer = read_mask(results / "masks" / "gear" / name)
        if drawn_as == "outline":
            np.testing.assert_array_equal(mask, answer)
        else:
            # An ellipse of the same moments; a pixel here and there at its edge.
            assert (mask & answer).sum() / (mask | answer).sum() > 0.85


def change_outcome(results: Path, image: str, outcome: str) -> None:
    """In a folder of `make`, where all that could be read is FAIL."""
    table = results / "predictions.csv"
    text = table.read_text(encoding="utf-8")
    assert f"{image},FAIL" in text
    table.write_text(text.replace(f"{image},FAIL", f"{image},{outcome}"), encoding="utf-8")


@pytest.mark.parametrize("tool", ["cvat", "coco"])
def test_an_image_that_was_not_inspected_does_not_come_back_as_a_good_part(
    tmp_path: Path, tool: str
) -> None:
    results = make(tmp_path)
    change_outcome(results, "gear/3.png", "RETAKE")  # without a shape
    change_outcome(results, "gear/2.png", "RETAKE")  # with two
    output = tmp_path / "images" / {"cvat": "labels.xml", "coco": "labels.json"}[tool]
    written = preannotate(results, output, tool=tool)
    assert (written.images, written.shapes) == (1, 1)
    retake = dict.fromkeys(IMAGES[1:3], Outcome.RETAKE)
    assert written.left_out == {**retake, IMAGES[3]: Outcome.ERROR}
    labels = {"cvat": cvat, "coco": coco}[tool].read(tmp_path / "images")
    assert [image.image.name for image in labels.images] == ["1.png"]
    assert len(labels.images_without_row) == 2


def test_ellipse_lies_where_the_region_does(tmp_path: Path) -> None:
    results = make(tmp_path)
    preannotate(results, tmp_path / "images" / "labels.xml", tool="cvat", drawn_as="ellipse")
    (ellipse,) = cvat.read(tmp_path / "images").images[0].shapes
    assert isinstance(ellipse, Ellipse)
    assert ellipse.labels == ("defect",)
    assert (ellipse.x, ellipse.y) == pytest.approx((TILTED.x, TILTED.y), abs=0.15)
    assert ellipse.semi_major == pytest.approx(TILTED.semi_major, abs=0.4)
    assert ellipse.semi_minor == pytest.approx(TILTED.semi_minor, abs=0.4)
    assert ellipse.angle == pytest.approx(TILTED.angle, abs=0.03)


def test_coco_carries_the_scores(tmp_path: Path) -> None:
    results = make(tmp_path)
    with (results / "defects.csv").open(newline="", encoding="utf-8") as file:
        scores = [float(row["score"]) for row in csv.DictReader(file)]
    for drawn_as in ("ellipse", "outline"):
        output = tmp_path / f"{drawn_as}.json"
        preannotate(results, output, tool="coco", drawn_as=drawn_as)
        annotations = json.loads(output.read_text(encoding="utf-8"))["annotations"]
        assert sorted(own["score"] for own in annotations) == sorted(scores)


def region(left: int, top: int, width: int, height: int, score: float) -> Region:
    return Region(width * height, (left, top, width, height), (0, 0), 1, 1, 0, score)


def test_outline_has_the_score_of_the_region_in_it() -> None:
    # A frame around a spot; beside them two regions that touch, so that they have one outline.
    mask = np.zeros((11, 24), np.uint8)
    mask[0:11, 0:11] = 1
    mask[1:10, 1:10] = 0
    mask[4:7, 4:7] = 1
    mask[2:6, 14:20] = 1
    regions = [
        region(0, 0, 11, 11, 0.3),
        region(4, 4, 3, 3, 0.9),
        region(14, 2, 3, 4, 0.5),
        region(17, 2, 3, 4, 0.7),
    ]
    drawn = draw_outlines("1.png", mask, regions, "defect")
    # In the order of their upper left pixels.
    assert drawn.scores == (0.3, 0.7, 0.9)


def test_a_region_in_the_box_of_another_outline_gives_its_score_to_its_own() -> None:
    mask = np.zeros((6, 15), np.uint8)
    mask[:, 0] = mask[5, :6] = 1  # an angle, whose box has 36 pixels
    mask[1:4, 2:5] = mask[2, 5:15] = 1  # in its box a spot, with a tail: together a box of 39
    regions = [region(0, 0, 6, 6, 0.3), region(2, 1, 3, 3, 0.9), region(5, 2, 10, 1, 0.4)]
    assert draw_outlines("1.png", mask, regions, "defect").scores == (0.3, 0.9)


def test_of_two_outlines_that_reach_through_a_box_the_region_is_the_one_of_its_size() -> None:
    mask = np.zeros((11, 11), np.uint8)
    mask[[0, 10]] = mask[:, [0, 10]] = 1  # a frame, that reaches with its corners
    for row in (1, 9):
        for column in (1, 9):
            mask[row, column] = 1
    for rows in (slice(2, 4), slice(7, 9)):
        for columns in (slice(2, 4), slice(7, 9)):
            mask[rows, columns] = 1  # into the box of a cross: 16 pixels
    mask[5, 2:9] = mask[2:9, 5] = 1  # 13 pixels
    cross = replace(region(2, 2, 7, 7, 0.9), area_px=13)
    drawn = draw_outlines("1.png", mask, [cross, region(0, 0, 11, 11, 0.3)], "defect")
    assert drawn.scores == (0.3, 0.9)


def test_the_score_of_a_region_whose_pixels_do_not_touch_is_not_lost() -> None:
    mask = np.zeros((3, 7), np.uint8)
    mask[[0, 1, 2], [0, 3, 6]] = 1  # a thin ellipse
    thin = replace(region(0, 0, 7, 3, 0.9), area_px=3)
    assert max(draw_outlines("1.png", mask, [thin], "defect").scores) == 0.9


def test_file_that_exists_is_left_alone(tmp_path: Path) -> None:
    results, output = make(tmp_path), tmp_path / "mine.xml"
    output.write_text("mine")
    with pytest.raises(DataError, match="is left as it is"):
        preannotate(results, output, tool="cvat")
    assert output.read_text() == "mine"


def test_results_in_parquet_are_refused_with_what_is_needed(tmp_path: Path) -> None:
    (tmp_path / "results" / "predictions.parquet").mkdir(parents=True)
    with pytest.raises(DataError, match="Predict anew with --format csv"):
        preannotate(tmp_path / "results", tmp_path / "out.xml", tool="cvat")


def damage(results: Path, kind: str) -> None:
    table = results / ("defects.csv" if kind.startswith("defect") else "predictions.csv")
    text = table.read_text(encoding="utf-8")
    if kind == "unfinished":
        table.rename(table.with_name("predictions.csv.part"))
    elif kind == "defects missing":
        table.unlink()
    elif kind == "other columns":
        table.write_text("image,score\n1.png,0.5\n")
    elif kind == "short row":
        table.write_text(text + "a,b\n")
    elif kind == "no text":
        table.write_bytes(b"\xff\xfe\xff")
    elif kind == "empty":
        table.write_text("")
    elif kind == "other outcome":
        change_outcome(results, "gear/3.png", "PASSED")
    elif kind == "no size":
        table.write_text(text.replace("32,24", "32,"))
    elif kind == "defect without number":
        table.write_text(text.rstrip() + "x\n")
    elif kind == "mask missing":
        (results / "masks" / "gear" / "2.png").unlink()
    else:
        write_mask(results / "masks" / "gear" / "2.png", np.zeros((2, 3), np.uint8))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("unfinished", "holds no predictions.csv; expected a folder that"),
        ("defects missing", "holds no defects.csv"),
        ("other columns", "predictions.csv, row 1: expected the columns image, outcome"),
        ("short row", "predictions.csv, row 6: expected the columns"),
        ("no text", "predictions.csv is no table"),
        ("empty", "predictions.csv: expected the columns"),
        ("other outcome", "predictions.csv: gear/3.png is not as it was written: 'PASSED'"),
        ("no size", "predictions.csv: gear/1.png is not as it was written"),
        ("defect without number", "region 2 of gear/2.png is not as it was written: could not"),
        ("mask missing", r"2.png: cannot be opened: No such file or directory. Predict"),
        ("mask of another size", "2.png has 3×2 pixels, its image 32×24"),
    ],
)
def test_results_that_are_not_whole_are_refused(tmp_path: Path, kind: str, message: str) -> None:
    results = make(tmp_path)
    damage(results, kind)
    with pytest.raises(DataError, match=message):
        preannotate(results, tmp_path / "out.xml", tool="cvat", drawn_as="outline")
    assert not (tmp_path / "out.xml").exists()


def test_names_that_differ_by_suffix_have_their_own_masks(tmp_path: Path) -> None:
    results = tmp_path / "results"
    names = ("a.png", "a.bmp")
    with Results(results, name_pictures(names)) as table:
        for name, column in zip(names, (2, 6), strict=True):
            mask = np.zeros((8, 9), np.uint8)
            mask[3, column] = 1
            write_mask(table.mask_path(name), mask)
            known = {"image": name, "outcome": "FAIL", "width": 9, "height": 8}
            table.add(dict.fromkeys(PREDICTION_COLUMNS, "") | known)
        table.publish()
    preannotate(results, tmp_path / "out.json", tool="coco", drawn_as="outline")
    for name in names:
        (tmp_path / name).touch()
    # In the order of the paths; a bare pixel at column 6 of a.bmp is at x = 7, counted from 1.
    second, first = coco.read(tmp_path).images
    for image, column in ((first, 3), (second, 7)):
        (polygon,) = image.shapes
        xs = [x for x, _ in polygon.vertices_xy]
        assert (min(xs), max(xs)) == (column - 0.5, column + 0.5)
