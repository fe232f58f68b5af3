"""The format: cocodataset.org, "Data format", "Object Detection"; of masks: mask.py of pycocotools.

pycocotools itself is trusted only with masks that it has made.
"""

import json
import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco_masks

from defectseg.annotations import coco
from defectseg.annotations.ellipse import Ellipse
from defectseg.annotations.labels import DrawnImage, LabelSet
from defectseg.annotations.outline import PixelMask, Polygon
from defectseg.dataset.masks import rasterise
from defectseg.dataset.prepare import prepare
from defectseg.image_io import read_mask
from tests.annotations.folders import HEIGHT, WIDTH, read_any, refused, write_images
from tests.annotations.test_cvat import DRAWN

GOLDEN = json.loads((Path(__file__).parent / "golden" / "coco.json").read_text(encoding="utf-8"))
IMAGES = ("1.png", "2.png", "3.png")


def make(root: Path, data: object = GOLDEN, name: str = "annotations/instances.json") -> Path:
    """Three images below images/, and a file of labels."""
    write_images(root / "images" / "gear", *IMAGES)
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return root


def changed(key: str, number: int, **values: object) -> dict[str, Any]:
    """The golden file with other values in one of its records; None removes one."""
    data = deepcopy(GOLDEN)
    data[key][number] |= values
    for name, value in values.items():
        if value is None:
            del data[key][number][name]
    return data


def labels_of(tmp_path: Path, data: object = GOLDEN) -> LabelSet:
    labels = coco.read(make(tmp_path, data))
    assert labels.problems == ()
    return labels


def test_images_and_shapes_are_read_with_label_size_and_place(tmp_path: Path) -> None:
    first, second, third = labels_of(tmp_path).images
    path = tmp_path / "annotations" / "instances.json"
    # From the corner of the first pixel to its centre it is half a pixel, which counts as 1.
    assert first.shapes == (
        Polygon(((1.5, 14.5), (8, 23.7), (2.9, 21.5))),
        Polygon(((10.5, 14.5), (12.5, 14.5), (12.5, 16.5), (10.5, 16.5))),
    )
    assert [shape.labels for shape in first.shapes] == [("scratch",), ("scratch",)]
    assert first.shapes[1].source == f"{path}: annotations[0] (id 1): segmentation[1]"
    rectangle = PixelMask((99, 4, 20, 4, 641), (24, 32))
    assert second.shapes == (rectangle, rectangle)
    assert [shape.labels for shape in second.shapes] == [("stain",), ("scratch",)]
    assert second.shapes[0].source == f"{path}: annotations[1] (id 2)"
    assert third.shapes == ()
    assert [image.shape_hw for image in (first, second, third)] == [(24, 32)] * 3
    assert {image.product for image in (first, second, third)} == {"gear"}


def test_polygon_of_whole_numbers_takes_the_pixels_between_them(tmp_path: Path) -> None:
    # From 10 to 12 and from 14 to 16: the columns 10 and 11 of the rows 14 and 15.
    square = labels_of(tmp_path).images[0].shapes[1]
    rows, columns = np.nonzero(rasterise([square], (HEIGHT, WIDTH)))
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [
        (14, 10),
        (14, 11),
        (15, 10),
        (15, 11),
    ]


def test_prepared_mask_is_what_was_painted(tmp_path: Path) -> None:
    layout, _ = prepare(make(tmp_path / "raw"), tmp_path / "out")
    assert layout == "coco"
    # 99 pixels down the columns of 24: column 4, row 3.
    rectangle = np.zeros((24, 32), np.uint8)
    rectangle[3:7, 4:6] = 1
    mask = read_mask(tmp_path / "out" / "masks" / "gear" / "2.png")
    np.testing.assert_array_equal(mask, rectangle)


def test_files_are_joined(tmp_path: Path) -> None:
    write_images(tmp_path / "val2017" / "gear", "4.png")
    image = {"id": 11, "file_name": "4.png", "width": 32, "height": 24}
    other = {"images": [image], "annotations": []}  # ids are each file's own
    make(tmp_path, GOLDEN, "annotations/instances_train2017.json")
    make(tmp_path, other, "annotations/instances_val2017.json")
    layout, rows = read_any(tmp_path)
    assert layout == "coco"
    assert [(row[0], row[1], row[2]) for row in rows] == [
        ("images/gear/1.png", "gear", 2),
        ("images/gear/2.png", "gear", 2),
        ("images/gear/3.png", "gear", 0),
        ("val2017/gear/4.png", "gear", 0),
    ]


def mask_of(counts: object, size: object = (24, 32)) -> dict[str, object]:
    return {"size": size, "counts": counts}


TRIANGLE = [1, 2, 9, 2, 5, 9]


@pytest.mark.parametrize(
    ("values", "found", "expected"),
    [
        ({"image_id": 99}, "image_id = 99", "id of one of the images"),
        ({"image_id": True}, "image_id = True", "id of one of the images"),
        ({"image_id": [11]}, "image_id = [11]", "id of one of the images"),
        ({"image_id": None}, "image_id = None", "id of one of the images"),
        ({"category_id": 99}, "category_id = 99", "id of one of the categories"),
        ({"category_id": None}, "category_id = None", "id of one of the categories"),
        ({"id": 1}, "the id 1 twice", "annotations with an id each"),
        ({"id": None}, "id = None", "a number or text"),
        ({"id": {}}, "id = {}", "a number or text"),
        (
            {"segmentation": []},
            "no outline of 'stain' (segmentation = [])",
            "a box says too little",
        ),
        ({"segmentation": None}, "no outline of 'stain'", "polygons or a mask"),
        ({"segmentation": "abc"}, "segmentation = 'abc'", "polygons or a mask"),
        ({"segmentation": [TRIANGLE, [1, 2, 3, 4]]}, "[1, 2, 3, 4]", "at least three corners"),
        ({"segmentation": [[*TRIANGLE, 1]]}, "[1, 2, 9, 2, 5, 9, 1]", "at least three corners"),
        ({"segmentation": TRIANGLE}, "[1, 2, 9, 2, 5, 9]", "polygons, as [[x, y, x, y, x, y]]"),
        ({"segmentation": [[1, 2, 9, 2, 5, "9"]]}, "y of corner 3 = '9'", "a number of pixels"),
        (
            {"segmentation": [[1, 2, 9, 2, 5, 1e7]]},
            "y of corner 3 = 10000000.0",
            "at most 1,000,000",
        ),
        ({"segmentation": [[90, 2, 99, 2, 95, 9]]}, "a polygon of 3 corners that covers no", "one"),
        ({"segmentation": {}}, "a mask whose size is None", "[24, 32], height and width"),
        ({"segmentation": mask_of([768], [32, 24])}, "a mask whose size is [32, 24]", "[24, 32]"),
        ({"segmentation": mask_of([768])}, "a painted mask that covers no pixel", "one pixel"),
        ({"segmentation": mask_of([99, 4])}, "counts = [99, 4]", "that make up 768 pixels"),
        ({"segmentation": mask_of([800, -32])}, "counts = [800, -32]", "make up 768 pixels"),
        ({"segmentation": mask_of([767.0, 1])}, "counts = [767.0, 1]", "make up 768 pixels"),
        ({"segmentation": mask_of([767, True])}, "counts = [767, True]", "make up 768 pixels"),
        ({"segmentation": mask_of(None)}, "counts = None", "make up 768 pixels"),
        ({"segmentation": mask_of("S34d00]c")}, "counts = 'S34d00]c'", "make up 768 pixels"),
        ({"segmentation": mask_of("S34d0")}, "counts = 'S34d0'", "make up 768 pixels"),
        ({"segmentation": mask_of("größe")}, "counts = 'größe'", "make up 768 pixels"),
        ({"segmentation": mask_of("o" * 9999)}, "counts = 'ooooo", "make up 768 pixels"),
    ],
    ids=str,
)
def test_bad_annotation_is_refused_with_its_place(
    tmp_path: Path, values: dict[str, object], found: str, expected: str
) -> None:
    if isinstance(mask := values.get("segmentation"), dict) and "size" in mask:
        values = {"segmentation": mask | {"size": list(mask["size"])}}
    root = make(tmp_path / "raw", changed("annotations", 1, **values))
    (problem,) = refused(root)
    path = root / "annotations" / "instances.json"
    assert problem.where.startswith(f"{path}: annotations[1]")
    assert found in problem.found
    assert expected in problem.expected


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"file_name": None}, "file_name = None"),
        ({"file_name": 7}, "file_name = 7"),
        ({"file_name": "gear/9.png"}, "labels of 'gear/9.png', but no such image"),
        ({"file_name": "gear/1.png"}, "labels of images/gear/1.png twice"),
        ({"height": None}, "width = 32, height = None"),
        ({"height": 10**9}, "width = 32, height = 1000000000"),
        ({"width": 31}, "an image of 32×24 pixels"),
        ({"id": 11}, "the id 11 twice"),
    ],
    ids=str,
)
def test_bad_image_is_refused(tmp_path: Path, values: dict[str, object], found: str) -> None:
    problems = refused(make(tmp_path / "raw", changed("images", 2, **values)))
    assert found in problems[0].found
    # An image that has lost its label is not a good one.
    others = {"no label that names this image", "no good images of the product 'gear'"}
    assert {problem.found for problem in problems[1:]} <= others


def test_every_problem_is_listed_at_once(tmp_path: Path) -> None:
    data = changed("annotations", 0, segmentation=[[1, 2], [3, 4]])
    data["annotations"] += [7, "x", {"id": 50, "image_id": 51}]
    places = [problem.where.partition(": ")[2] for problem in refused(make(tmp_path / "raw", data))]
    assert sorted(places) == [
        "annotations[0] (id 1): segmentation[0]",
        "annotations[0] (id 1): segmentation[1]",
        "annotations[3]",
        "annotations[4]",
        "annotations[5] (id 50)",
    ]


@pytest.mark.parametrize(
    "data",
    [
        '{"images": [], "annotations": [], "file_name": ',
        '[{"images": [], "annotations": [], "file_name": 1}]',
        {"images": {}, "annotations": [], "file_name": 1},
        {"images": [], "annotations": 7, "file_name": 1},
    ],
)
def test_file_that_cannot_be_read_is_one_problem(tmp_path: Path, data: object) -> None:
    root = make(tmp_path / "raw", data)
    (problem,) = refused(root)
    assert problem.where.startswith(str(root / "annotations" / "instances.json"))


def test_the_letters_of_run_lengths() -> None:
    # 2, 3 and 1 are below 16: one letter each, 48 above. The fourth is 1 - 3 = -2: 30 in five bits
    # of two's complement, N.
    assert coco.decode_counts("231N") == [2, 3, 1, 1]
    # 99 = 3·32 + 3: the lower five bits with the mark of more, 3 + 32 + 48 = "S", then "3".
    assert coco.decode_counts("S3") == [99]
    assert coco.decode_counts("") == []
    assert coco.decode_counts("S") is None  # more was to follow
    assert coco.decode_counts("2/") is None  # below 48


@given(
    arrays.arrays(
        np.uint8,
        st.tuples(st.integers(1, 60), st.integers(1, 60)),
        elements=st.integers(0, 1),
        fill=st.integers(0, 1),
    )
)
@settings(deadline=None, derandomize=True, max_examples=100)
def test_letters_of_any_mask_are_read_as_pycocotools_writes_them(mask: np.ndarray) -> None:
    counts = coco_masks.encode(np.asfortranarray(mask))["counts"].decode()
    runs = coco.decode_counts(counts)
    assert runs is not None
    np.testing.assert_array_equal(rasterise([PixelMask(tuple(runs), mask.shape)], mask.shape), mask)


def test_what_is_written_is_read_back_and_has_a_score(tmp_path: Path) -> None:
    text = coco.write(DRAWN)
    data = json.loads(text)
    (tmp_path / 'a & "b"').mkdir()
    for image in DRAWN:
        (tmp_path / image.name).touch()
    (tmp_path / "out.json").write_text(text, encoding="utf-8")
    labels = coco.read(tmp_path)
    assert labels.problems == labels.images_without_row == labels.rows_without_image == ()
    drawn, good = labels.images
    assert good.shapes == ()
    assert [shape.labels for shape in drawn.shapes] == [("big & small",), ("'stain'",)]
    assert drawn.shapes[1] == DRAWN[0].shapes[1]
    assert [own["score"] for own in data["annotations"]] == [0.9, 0.5]
    # The triangle (1, 1.5), (8.5, 2.5), (4, 8): ½·|7.5·6.5 - 3·1| = 22.875.
    triangle = data["annotations"][1]
    assert triangle["area"] == 22.88
    assert triangle["bbox"] == [1, 1.5, 7.5, 6.5]


@pytest.mark.parametrize(("a", "b"), [(9.5, 4), (0.6, 0.6), (90, 8), (3, 200)])
def test_ellipse_becomes_a_polygon_close_to_it(a: float, b: float) -> None:
    angle, x, y = 0.7, 250.5, 260.5
    image = DrawnImage("1.png", (500, 500), (Ellipse(a, b, angle, x, y, labels=("a",)),), (1.0,))
    (annotation,) = json.loads(coco.write([image]))["annotations"]
    corners = np.reshape(annotation["segmentation"][0], (-1, 2)) - (x - 0.5, y - 0.5)
    along = corners @ (math.cos(angle), math.sin(angle))
    across = corners @ (-math.sin(angle), math.cos(angle))
    # No corner is a tenth outside, none of the middles between two a tenth inside; two decimals.
    places = np.hypot(along / a, across / b)
    assert places.min() > 1 - 0.01 / min(a, b)
    assert places.max() < 1 + 0.1 / max(a, b) + 0.01 / min(a, b)
    middles = (np.roll(along, 1) + along) / 2, (np.roll(across, 1) + across) / 2
    assert min(np.hypot(middles[0] / a, middles[1] / b)) > 1 - 0.1 / max(a, b) - 0.01 / min(a, b)
    assert annotation["area"] == pytest.approx(math.pi * a * b, rel=0.003, abs=0.02)
