"""VGG Image Annotator's project, JSON export and CSV export.

The golden files follow what version 2.0.10 of the tool writes: the keys of `_via_img_metadata`,
and the export functions, whose CSV begins with a header of seven names. They hold the same labels.
"""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from defectseg.annotations import via
from defectseg.annotations.ellipse import Ellipse
from defectseg.annotations.outline import Polygon
from defectseg.dataset.prepare import prepare
from tests.annotations.folders import read_any, refused, write_images

GOLDEN = Path(__file__).parent / "golden"
FILES = ["via_project.json", "via_region_data.json", "via_region_data.csv"]

Change = Callable[[dict[str, Any]], object]


def make(root: Path, name: str = FILES[0], change: Change = lambda images: None) -> Path:
    """The golden labels in one of their three forms, changed in the first two, and the images."""
    write_images(root / "gear", "part_1.png", "part_2.png")
    size = str((root / "gear/part_1.png").stat().st_size)
    if name.endswith(".csv"):
        (root / name).write_text((GOLDEN / name).read_text().replace("700", size))
        return root
    project = json.loads((GOLDEN / FILES[0]).read_text().replace("700", size))
    images = project["_via_img_metadata"]
    change({image["filename"]: image for image in images.values()})
    (root / name).write_text(json.dumps(project if name == FILES[0] else images))
    return root


def region(images: dict[str, Any], number: int = 0) -> dict[str, Any]:
    own: dict[str, Any] = images["part_1.png"]["regions"][number]
    return own


@pytest.mark.parametrize("name", FILES)
def test_golden_files_hold_the_same(tmp_path: Path, name: str) -> None:
    root = make(tmp_path, name)
    assert read_any(root) == (
        "via",
        [("gear/part_1.png", "gear", 3, None, None), ("gear/part_2.png", "gear", 0, None, None)],
    )
    shapes = via.read(root).images[0].shapes
    # The centre (12, 12) is counted from the corner of the image.
    assert shapes == (
        Ellipse(9.25, 4, 0.524, 12.5, 12.5),
        Ellipse(4.123, 4.123, 0, 26.5, 6.5),
        Polygon(((20.5, 13.5), (30.5, 16.5), (26.5, 23.5), (20.5, 13.5))),
    )
    assert [shape.labels for shape in shapes] == [("scratch",), ("hole", "left"), ()]
    places = {
        "via_region_data.csv": f"{root / name}:3",
        "via_project.json": f"{root / name}: part_1.png",
        "via_region_data.json": f"{root / name}: part_1.png",
    }
    assert shapes[1].source.startswith(places[name])


@pytest.mark.parametrize("name", [FILES[0], FILES[2]])
def test_golden_files_are_prepared(tmp_path: Path, name: str) -> None:
    layout, (summary,) = prepare(make(tmp_path / "raw", name), tmp_path / "out", val=0, test=0)
    assert (layout, summary.product, summary.good, summary.defective) == ("via", "gear", 1, 1)


@pytest.mark.parametrize("label", ["hole", "left"])
def test_a_region_of_several_attributes_is_a_defect_by_each_of_them(
    tmp_path: Path, label: str
) -> None:
    raw = make(tmp_path / "raw")
    (summary,) = prepare(raw, tmp_path / "out", defect_labels=[label], val=0, test=0)[1]
    assert (summary.good, summary.defective) == (1, 1)
    assert summary.shapes == {"scratch": 1, "hole": 1, "left": 1}


def test_what_version_1_wrote_is_read(tmp_path: Path) -> None:
    """Regions by their numbers, and no angle."""

    def change(images: dict[str, Any]) -> None:
        del region(images)["shape_attributes"]["theta"]
        for image in images.values():
            image["regions"] = {str(n): own for n, own in enumerate(image["regions"])}

    shapes = via.read(make(tmp_path, FILES[1], change)).images[0].shapes
    assert len(shapes) == 3
    assert shapes[0] == Ellipse(9.25, 4, 0, 12.5, 12.5)
    root = make(tmp_path / "other", FILES[2])
    (root / FILES[2]).write_text(f"#{(root / FILES[2]).read_text()}")
    assert read_any(root)[0] == "via"


def test_of_images_of_one_name_the_one_of_the_right_length_is_meant(tmp_path: Path) -> None:
    make(tmp_path)
    write_images(tmp_path / "axle", "part_1.png")
    assert (
        len({(tmp_path / folder / "part_1.png").stat().st_size for folder in ("axle", "gear")}) == 2
    )
    labels = via.read(tmp_path)
    assert labels.problems == ()
    assert [image.image.parent.name for image in labels.images] == ["gear", "gear"]
    assert len(labels.images_without_row) == 1  # whether it is good is not known


def test_an_image_is_looked_for_beside_the_file_first(tmp_path: Path) -> None:
    make(tmp_path, change=lambda images: images["part_1.png"].update(size=-1))
    write_images(tmp_path / "axle", "part_1.png", "part_2.png")
    (tmp_path / FILES[0]).rename(tmp_path / "axle" / FILES[0])
    labels = via.read(tmp_path)
    assert labels.problems == ()
    assert [image.image.parent.name for image in labels.images] == ["axle", "axle"]


BAD_SHAPES: list[tuple[dict[str, Any] | None, str, str]] = [
    ({"name": "rect", "x": 1, "y": 1, "width": 5, "height": 5}, "the shape 'rect'", "or polygon"),
    ({"name": "point", "cx": 1, "cy": 1}, "the shape 'point'", "ellipse, circle or polygon"),
    ({"name": "polyline", "all_points_x": [1], "all_points_y": [1]}, "'polyline'", "ellipse"),
    ({}, "the shape None", "ellipse"),
    (None, "shape_attributes = None", "a shape"),
    ({"name": "ellipse", "cx": "1", "cy": 1, "rx": 2, "ry": 2}, "cx = '1'", "number of pixels"),
    ({"name": "ellipse", "cx": 1, "cy": 1, "rx": 0, "ry": 2}, "rx = 0", "greater than 0"),
    ({"name": "ellipse", "cx": 1, "cy": 1, "rx": 2}, "ry = None", "greater than 0"),
    (
        {"name": "ellipse", "cx": 1, "cy": 1, "rx": 2, "ry": 2, "theta": "0"},
        "theta = '0'",
        "radians",
    ),
    ({"name": "ellipse", "cx": 99, "cy": 1, "rx": 2, "ry": 2}, "outside its image", "one pixel"),
    ({"name": "circle", "cx": 1, "cy": True, "r": 2}, "cy = True", "number of pixels"),
    ({"name": "circle", "cx": 1, "cy": 1, "r": -2}, "r = -2", "greater than 0"),
    ({"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1, 2]}, "2 corner(s)", "3"),
    ({"name": "polygon", "all_points_x": [1, 2, 3], "all_points_y": [1]}, "[1, 2, 3]", "same"),
    ({"name": "polygon", "all_points_x": [1, 9, {}], "all_points_y": [1, 2, 9]}, "= {}", "pixels"),
]


@pytest.mark.parametrize("name", [FILES[0], FILES[2]])
@pytest.mark.parametrize(("shape", "found", "expected"), BAD_SHAPES)
def test_bad_region_is_refused_with_its_place(
    tmp_path: Path, name: str, shape: dict[str, Any] | None, found: str, expected: str
) -> None:
    if name == FILES[0]:
        root = make(tmp_path / "raw", name, lambda i: region(i, 1).update(shape_attributes=shape))
        place = ": part_1.png"
    else:
        root = make(tmp_path / "raw", name)
        rows = read_rows(root / name)
        rows[2][5] = json.dumps(shape)
        write_rows(root / name, rows)
        place, found = ":3", found.replace("shape_attributes = None", "None alone")
    problem = refused(root)[0]
    assert problem.where.startswith(f"{root / name}{place}")
    assert found in problem.found
    assert shape is None or expected in problem.expected


def read_rows(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text())))


def write_rows(path: Path, rows: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    path.write_text(text.getvalue())


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda i: i["part_1.png"].update(size=7), "'part_1.png' with 7 bytes, but gear/"),
        (lambda i: i["part_1.png"].update(filename="9.png"), "labels of '9.png'"),
        (lambda i: i["part_1.png"].update(filename=None), "filename = None"),
        (lambda i: i["part_1.png"].pop("regions"), "{'filename': 'part_1.png'"),
        (lambda i: i["part_1.png"].update(regions=[7]), "{'filename': 'part_1.png'"),
        (lambda i: i["part_2.png"].update(filename="gear/part_1.png"), "gear/part_1.png twice"),
    ],
)  # fmt: skip
def test_bad_image_is_refused_with_its_place(tmp_path: Path, change: Change, found: str) -> None:
    root = make(tmp_path / "raw", FILES[0], change)
    problem = refused(root)[0]
    assert problem.where.startswith(f"{root / FILES[0]}: part_")
    assert found in problem.found


@pytest.mark.parametrize(
    ("change", "place", "found"),
    [
        (lambda rows: rows[2].pop(), 3, "6 columns"),
        (lambda rows: rows[2].__setitem__(5, "{"), 3, "no JSON"),
        (lambda rows: rows[2].__setitem__(6, '"none"'), 3, "'none' alone"),
        (lambda rows: rows.pop(2), 2, "2 region(s) of 'part_1.png', region_count = '3'"),
        (lambda rows: rows[1].__setitem__(3, "x"), 2, "3 region(s) of 'part_1.png', region_count"),
        (lambda rows: rows[4].__setitem__(0, "9.png"), 5, "labels of '9.png'"),
        (lambda rows: rows[4].__setitem__(0, "a" * 200_000), 5, "field larger than"),
    ],
)
def test_bad_row_is_refused_with_its_line(
    tmp_path: Path, change: Callable[[list[list[str]]], object], place: int, found: str
) -> None:
    root = make(tmp_path / "raw", FILES[2])
    path = root / FILES[2]
    rows = read_rows(path)
    change(rows)
    write_rows(path, rows)
    problem = refused(root)[0]
    assert problem.where.startswith(f"{path}:{place}")
    assert found in problem.found


def test_everything_wrong_is_listed_at_once(tmp_path: Path) -> None:
    def change(images: dict[str, Any]) -> None:
        region(images)["shape_attributes"].update(cx=None, rx=-1)
        region(images, 2)["shape_attributes"].update(name="rect")
        images["part_2.png"]["filename"] = "gone.png"

    root = make(tmp_path / "raw", FILES[0], change)
    found = [problem.found for problem in refused(root)]
    assert [text.partition(",")[0] for text in found[:4]] == [
        "cx = None",
        "rx = -1",
        "a region of the shape 'rect'",
        "labels of 'gone.png'",
    ]


def test_the_same_labels_in_two_files_are_refused(tmp_path: Path) -> None:
    root = make(make(tmp_path / "raw"), FILES[2])
    assert all("twice" in problem.found for problem in refused(root)[:2])


def test_a_table_that_is_not_in_utf_8_is_refused_once(tmp_path: Path) -> None:
    root = make(tmp_path / "raw", FILES[2])
    text = (root / FILES[2]).read_text()
    (root / FILES[2]).write_bytes(text.replace("scratch", "Kratzer für").encode("latin-1"))
    (problem,) = refused(root)
    assert problem.where == str(root / FILES[2])
    assert "no UTF-8, from byte" in problem.found


def test_a_table_saved_with_semicolons_is_refused_once(tmp_path: Path) -> None:
    root = make(tmp_path / "raw", FILES[2])
    text = (root / FILES[2]).read_text()
    (root / FILES[2]).write_text(text.replace(",", ";"))
    problem = refused(root)[0]
    assert problem.where == f"{root / FILES[2]}:1"
    assert problem.expected == "commas, as VIA writes them"
