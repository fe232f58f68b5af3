"""Label Studio's JSON export.

The golden file follows the project's pages "Label Studio JSON format of annotated tasks" and those
of the tags EllipseLabels, PolygonLabels and BrushLabels; what they leave open (the place is the
centre's, the turn is about it) was taken from the editor's EllipseRegion. The brush's bits are
described in the documentation of rle-pack.
"""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from defectseg.annotations import label_studio
from defectseg.annotations.brush_rle import decode_brush
from defectseg.annotations.ellipse import Ellipse
from defectseg.annotations.outline import PixelMask, Polygon
from defectseg.dataset.masks import rasterise
from defectseg.dataset.prepare import prepare
from tests.annotations.folders import HEIGHT, WIDTH, read_any, refused, write_images

GOLDEN = Path(__file__).parent / "golden" / "label_studio.json"
FILE = "project-3.json"

Change = Callable[[list[Any]], object]


def make(root: Path, change: Change = lambda tasks: None) -> Path:
    """The golden export, changed, and the images of its first three tasks."""
    write_images(root / "gear", "part_1.png", "part 2.png", "part_3.png")
    tasks = json.loads(GOLDEN.read_text())
    del tasks[3:]  # their labels are not known
    changed = change(tasks)
    text = changed if isinstance(changed, str) else json.dumps(tasks, ensure_ascii=False)
    (root / FILE).write_text(text, encoding="utf-8")
    return root


def result(tasks: list[Any], number: int = 0) -> dict[str, Any]:
    own: dict[str, Any] = tasks[0]["annotations"][0]["result"][number]
    return own


def test_golden_export(tmp_path: Path) -> None:
    root = make(tmp_path)
    assert read_any(root) == (
        "label-studio",
        [
            ("gear/part 2.png", "gear", 0, None, None),
            ("gear/part_1.png", "gear", 2, None, None),
            ("gear/part_3.png", "gear", 1, None, None),
        ],
    )
    by_name = {image.image.name: image for image in label_studio.read(root).images}
    first = by_name["part_1.png"]
    assert first.shape_hw == (HEIGHT, WIDTH)
    ellipse, polygon = first.shapes
    # 25 % of 32 and 12.5 % of 24 pixels; 37.5 % of 32 is 12, counted from the corner.
    assert ellipse == Ellipse(8, 3, math.radians(30), 12.5, 12.5)
    assert isinstance(polygon, Polygon)
    expected = [(20.5, 6.5), (30.5, 9.5), (26.5, 20.5)]
    assert np.allclose(polygon.vertices_xy, expected, rtol=0, atol=1e-9)
    assert [shape.labels for shape in first.shapes] == [("scratch",), ("dent", "deep")]
    assert ellipse.source == f"{root / FILE}: [0].annotations[0].result[0]"
    # The annotation that is marked as ground truth; its label is written apart from the shape.
    (hole,) = by_name["part_3.png"].shapes
    assert hole == Ellipse(4, 6, 0, 16.5, 12.5)
    assert hole.labels == ("hole",)


def test_golden_export_is_prepared(tmp_path: Path) -> None:
    layout, (summary,) = prepare(make(tmp_path / "raw"), tmp_path / "out", val=0, test=0)
    assert (layout, summary.product) == ("label-studio", "gear")
    assert (summary.good, summary.defective) == (1, 2)


def test_a_shape_of_several_labels_is_a_defect_by_each_of_them(tmp_path: Path) -> None:
    # Image 1 has a scratch and a deep dent, image 2 nothing, image 3 a hole.
    raw = make(tmp_path / "raw")
    (summary,) = prepare(raw, tmp_path / "out", defect_labels=["deep"], val=0, test=0)[1]
    assert (summary.good, summary.defective) == (2, 1)
    assert summary.shapes == {"scratch": 1, "dent": 1, "deep": 1, "hole": 1}


def test_tasks_that_nobody_finished_have_no_label(tmp_path: Path) -> None:
    make(tmp_path)
    write_images(tmp_path / "gear", "part_4.png", "part_5.png")
    (tmp_path / FILE).write_text(GOLDEN.read_text())
    labels = label_studio.read(tmp_path)
    assert len(labels.images) == 3
    assert [problem.where for _, problem in labels.images_without_row] == [
        str(tmp_path / "gear" / name) for name in ("part_4.png", "part_5.png")
    ]


@pytest.mark.parametrize(
    "address",
    [
        "/data/upload/3/1a2b3c4d-part_1.png",
        "/data/upload/1a2b3c4d-part_1.png",
        "http://localhost:8080/data/upload/3/1a2b3c4d-part_1.png",
        "/label-studio/data/upload/3/1a2b3c4d-part_1.png",
        "https://example.com/label-studio/data/upload/3/1a2b3c4d-part_1.png?v=2",
        "/data/local-files/?d=gear/part_1.png",
        "/data/local-files?v=2&d=gear/part_1.png&w=3",
        "http://localhost:8080/data/local-files/?d=home/anna/gear%2Fpart_1.png",
        "s3://bucket/of/gear/part_1.png",
        "https://example.com/gear/part_1.png?token=1",
        "https://example.com/gear/part_1.png?d=part%202.png#d=part_3.png",
        "gear\\part_1.png",
        "part_1.png",
    ],
)
def test_an_image_is_found_by_each_address(tmp_path: Path, address: str) -> None:
    make(tmp_path, lambda tasks: tasks[0].update(data={"image": address, "note": "night shift"}))
    labels = label_studio.read(tmp_path)
    assert not labels.rows_without_image
    assert not labels.images_without_row
    assert len(labels.images) == 3


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/data/local-files/?d=sub/a+b.png", "a+b.png"),
        ("/data/local-files/?d=sub/a%2Bb%20%26%231.png", "a+b &#1.png"),
        ("/data/local-files/?d=sub/a+b &#1.png", "a+b &#1.png"),
        ("/data/local-files/?d=sub/1%25.png", "1%.png"),
        ("https://example.com/sub/1%25.png", "1%.png"),
        ("https://example.com/sub/a+b%20%26%231.png#top", "a+b &#1.png"),
        # A bucket's own names, in which nothing is quoted.
        ("s3://bucket/sub/a%20b.png", "a%20b.png"),
        ("gs://bucket/sub/a+b &#1.png", "a+b &#1.png"),
        ("azure-blob://box/sub/1.png?d=a+b.png", "1.png?d=a+b.png"),
    ],
)
def test_signs_in_a_name_are_read_as_the_server_writes_them(
    tmp_path: Path, address: str, name: str
) -> None:
    signs = ("a+b.png", "a b.png", "a+b &#1.png", "1%.png", "a%20b.png", "1.png", "1.png?d=a+b.png")
    write_images(tmp_path / "sub", *signs)
    make(tmp_path, lambda tasks: tasks[0].update(data={"image": address}))
    labels = label_studio.read(tmp_path)
    assert labels.problems == labels.rows_without_image == ()
    assert {image.image.name for image in labels.images} == {name, "part 2.png", "part_3.png"}


def test_an_image_is_found_by_what_its_upload_made_of_its_name(tmp_path: Path) -> None:
    root = make(tmp_path)  # it names /data/upload/3/1a2b3c4d-part_1.png
    (root / "gear/part_1.png").rename(root / "gear/part (1).png")
    labels = label_studio.read(root)
    assert "part (1).png" in {image.image.name for image in labels.images}
    write_images(root / "gear", "part 1.png")
    (problem,) = label_studio.read(root).problems
    assert "which 2 images fit: gear/part (1).png, gear/part 1.png" in problem.found
    # Its own name is no sign that it is meant: of the other nothing would be left of its own.
    (root / "gear/part 1.png").rename(root / "gear/part_1.png")
    (problem,) = label_studio.read(root).problems
    assert "which 2 images fit: gear/part_1.png, gear/part (1).png" in problem.found


def test_of_several_images_of_a_task_the_one_called_image_is_labelled(tmp_path: Path) -> None:
    data = {"reference": "gear/part 2.png", "image": "gear/part_1.png"}
    labels = label_studio.read(make(tmp_path, lambda tasks: tasks[0].update(data=data)))
    assert labels.problems == ()
    assert len(labels.images) == 3


def test_an_image_that_still_has_the_name_of_its_upload_is_found(tmp_path: Path) -> None:
    root = make(tmp_path)
    (root / "gear/part_1.png").rename(root / "gear/1a2b3c4d-part_1.png")
    assert "1a2b3c4d-part_1.png" in {image.image.name for image in label_studio.read(root).images}


# --- The brush ---------------------------------------------------------------------------------


def pack(*parts: tuple[int, int]) -> list[int]:
    """Bytes out of (number, how many bits)."""
    bits = "".join(f"{number:0{count}b}" for number, count in parts)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]


HEADER = ((7, 5), (2, 4), (3, 4), (7, 4), (15, 4))  # words of 8 bits, counts of 3, 4, 8, 16


def test_the_brushs_bits_are_decoded() -> None:
    # 2 rows of 3 pixels of 4 channels: 24 words.
    code = pack(
        (24, 32),
        *HEADER,
        (1, 1), (1, 2), (11, 4), (0, 8),  # 12 times 0: the first row
        (0, 1), (0, 2), (6, 3), *[(value, 8) for value in (9, 9, 9, 200, 9, 9, 9)],  # 7 words
        (1, 1), (0, 2), (0, 3), (99, 8),  # once 99, not half of 200
        (1, 1), (0, 2), (3, 3), (100, 8),  # 4 times 100
    )  # fmt: skip
    assert decode_brush(code, (2, 3)).tolist() == [[False] * 3, [True, False, True]]


def test_long_runs_of_the_brush_are_decoded() -> None:
    # 300×300 pixels: 360,000 words; 65,536 twice of 0, then a run and words of opacity 255.
    rest = 360_000 - 2 * 65_536
    words = [(value, 8) for value in (0, 0, 0, 255) * 64]
    code = pack(
        (360_000, 32), *HEADER,
        *((1, 1), (3, 2), (65_535, 16), (0, 8)) * 2,
        (0, 1), (2, 2), (255, 8), *words,
        *((1, 1), (3, 2), (65_535, 16), (0, 8)) * (rest // 65_536),
        (1, 1), (3, 2), (rest % 65_536 - 256 - 1, 16), (0, 8),
    )  # fmt: skip
    painted = decode_brush(code, (300, 300))
    # 131,072 words are 32,768 pixels.
    assert np.flatnonzero(painted).tolist() == list(range(32_768, 32_768 + 64))


def test_a_painted_mask_lies_where_it_was_painted(tmp_path: Path) -> None:
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[2:5, 20:29] = 1
    words = np.repeat(expected.ravel() * 255, 4)
    code = pack(
        (words.size, 32), *HEADER,
        *[part for word in words.tolist() for part in ((1, 1), (0, 2), (0, 3), (word, 8))],
    )  # fmt: skip
    brush = {"format": "rle", "rle": code, "brushlabels": ["stain"]}
    make(tmp_path, lambda tasks: result(tasks).update(type="brushlabels", value=brush))
    image = next(i for i in label_studio.read(tmp_path).images if i.image.name == "part_1.png")
    mask = image.shapes[0]
    assert isinstance(mask, PixelMask)
    assert mask.labels == ("stain",)
    assert np.array_equal(rasterise([mask], (HEIGHT, WIDTH)), expected)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ([], "an end before the last pixel"),
        (["a"], "something else than numbers"),
        ([256], "bytes must be in range"),
        (pack((23, 32), *HEADER), "23 words, not 4 for each of 3×2 pixels"),
        (pack((24, 32), (15, 5), *HEADER[1:]), "words of 16 bits"),
        (pack((24, 32), *HEADER, (1, 1), (3, 2), (24, 16), (0, 8)), "more pixels than"),
        (pack((24, 32), *HEADER, (1, 1), (3, 2), (22, 16), (0, 8)), "an end before"),
        (pack((24, 32), *HEADER, (0, 1), (3, 2), (23, 16), (0, 8)), "an end before"),
    ],
)
def test_what_is_no_brush_is_refused(code: list[int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_brush(code, (2, 3))


# --- What is wrong -----------------------------------------------------------------------------


def shape(kind: str, **value: object) -> Change:
    return lambda tasks: result(tasks).update(type=kind, value=value)


def value(**changes: object) -> Change:
    return lambda tasks: result(tasks)["value"].update(changes)


def annotate(tasks: list[Any], **changes: object) -> None:
    tasks[0]["annotations"][0].update(changes)


def annotate_twice(tasks: list[Any]) -> None:
    tasks[0]["annotations"] *= 2


def name_apart(tasks: list[Any]) -> None:
    """A label of a region of which there is no shape."""
    result(tasks, 2).update(type="labels", value={"labels": ["dent"]})


BAD: list[tuple[str, Change, str, str]] = [
    (".result[0]", shape("rectanglelabels", x=1, y=1, width=5), "the type 'rect", "brush"),
    (".result[0]", shape("keypointlabels", x=1, y=1, width=0.3), "the type 'keypoint", "ellipse"),
    (".result[0]", shape("bitmask", imageDataURL="data:"), "the type 'bitmask'", "or brush"),
    (".result[0]", shape("polygonlabels", points=[[1, 1], [2, 2]]), "2 corner(s)", "at least 3"),
    (".result[0]", shape("polygon", points=[[1, 1], [2], [1, 9]]), "corner 2 = [2]", "x and y"),
    (".result[0]", shape("polygon", points=[[1, 1], [2, "3"], [1, 9]]), "corner 2 = '3'", "pixels"),
    (".result[0]", shape("polygonlabels"), "None", "at least 3 corners"),
    (".result[1]", lambda t: result(t, 1)["value"].update(closed=False), "not closed", "to its"),
    (".result[0]", shape("brushlabels", format="rle", rle=[0] * 9), "0 words", "brush"),
    (".result[0]", shape("brush", format="mask"), "run lengths", "brush"),
    (".result[0]", value(x="ten"), "x in pixels = 'ten'", "number of pixels"),
    (".result[0]", value(x=10**300), "x in pixels = 1000", "number of pixels"),
    (".result[0]", value(radiusY=0), "radiusY in pixels = 0", "greater than 0"),
    (".result[0]", value(radiusX=-1), "radiusX in pixels = -0.32", "greater than 0"),
    (".result[0]", value(rotation=None), "rotation = None", "of degrees"),
    (".result[0]", value(y=250), "outside its image of 32×24", "at least one pixel"),
    (".result[0]", lambda t: result(t).pop("value"), "x in pixels = None", "number of pixels"),
    (".result[0]", lambda t: result(t).update(image_rotation=90), "image_rotation = 90", "0:"),
    (".result[0]", lambda t: result(t).update(original_width=0), "width = 0", "whole numbers"),
    (".result[0]", lambda t: result(t).update(original_width=10**5 + 1, original_height=10**5),
     "100001", "200,000,000"),
    ("", lambda t: result(t).update(original_width=64), "32×24 and 64×24", "one"),
    (".result[2]", name_apart, "labels without a shape", "a shape"),
    ("", lambda t: annotate(t, result=[result(t, 2)]), "'choices' without a shape", "is drawn"),
    ("", lambda t: annotate(t, result=None), "result = None", "a list of shapes"),
    ("", lambda t: result(t, 1).update(to_name="other"), "several pictures of a task: img, other",
     "shapes on one"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "change", "found", "expected"), BAD)
def test_bad_result_is_refused_with_its_place(
    tmp_path: Path, place: str, change: Change, found: str, expected: str
) -> None:
    root = make(tmp_path / "raw", change)
    problems = [problem for problem in refused(root) if problem.where.startswith(str(root / FILE))]
    assert {problem.where for problem in problems} == {f"{root / FILE}: [0].annotations[0]{place}"}
    assert found in problems[0].found
    assert expected in problems[0].expected


@pytest.mark.parametrize(
    ("place", "change", "found"),
    [
        (": [0]", annotate_twice, "2 annotations of '/data/upload"),
        (": [0]", lambda t: t[0].pop("annotations"), "no list of annotations"),
        (": [0]", lambda t: t.__setitem__(0, 7), "no list of annotations"),
        (": [0]", lambda t: t[0].update(data={"text": "good"}), "data = {'text': 'good'}"),
        (": [0]", lambda t: t[0].update(data={"a": "1.png", "b": "2.png"}), "data = {'a'"),
        (": [0].annotations[0]", lambda t: t[0].update(data={"image": "9.png"}), "of '9.png'"),
        (": [1].annotations[0]", lambda t: t[1].update(data=t[0]["data"]), "part_1.png twice"),
        (":1", lambda tasks: '[{"annotations": [], "data": ', "no JSON"),
        ("", lambda tasks: json.dumps([{"image": "1.png", "annotation_id": 7, "lead_time": 2.5}]),
         "JSON-MIN"),
    ],
)  # fmt: skip
def test_bad_task_is_refused_with_its_place(
    tmp_path: Path, place: str, change: Change, found: str
) -> None:
    root = make(tmp_path / "raw", change)
    problems = {problem.where: problem.found for problem in refused(root)}
    assert found in problems[f"{root / FILE}{place}"]


def test_everything_wrong_is_listed_at_once(tmp_path: Path) -> None:
    def change(tasks: list[Any]) -> None:
        for number in (0, 1):
            result(tasks, number)["image_rotation"] = 90
        other = copy.deepcopy(result(tasks))
        other.update(image_rotation=0)
        other["value"].update(x=None, radiusX=-5, rotation="left")
        tasks[2]["annotations"][1]["result"].append(other)
        tasks[1]["data"] = {"image": "gone.png"}

    root = make(tmp_path / "raw", change)
    places = sorted(
        problem.where.partition(": ")[2] for problem in refused(root) if ": " in problem.where
    )
    assert places == [
        "[0].annotations[0].result[0]",
        "[0].annotations[0].result[1]",
        "[1].annotations[0]",
        *["[2].annotations[1].result[2]"] * 3,
    ]
