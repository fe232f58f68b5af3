"""The files of LabelMe.

The golden file follows what `LabelFile.save` of version 5.5 writes; where a mask lies between its
two points is told by `shapes_to_label` of the same version.
"""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from defectseg.annotations import labelme
from defectseg.annotations.ellipse import Ellipse
from defectseg.annotations.outline import Polygon
from defectseg.dataset.masks import rasterise
from defectseg.dataset.prepare import prepare
from tests.annotations.folders import HEIGHT, WIDTH, read_any, refused, write_images

GOLDEN = Path(__file__).parent / "golden" / "labelme.json"

Change = Callable[[dict[str, Any]], object]


def make(
    root: Path, change: Change = lambda labels: None, *, name: str = "gear/part_1.json"
) -> Path:
    """Two images, and the golden file of the first, changed."""
    write_images(root / "gear", "part_1.png", "part_2.png")
    labels = json.loads(GOLDEN.read_text())
    changed = change(labels)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(changed if isinstance(changed, str) else json.dumps(labels))
    return root


def test_golden_file(tmp_path: Path) -> None:
    root = make(tmp_path)
    assert read_any(root) == (
        "labelme",
        [("gear/part_1.png", "gear", 3, None, None), ("gear/part_2.png", "gear", 0, None, None)],
    )
    image = labelme.read(root).images[0]
    assert image.shape_hw == (HEIGHT, WIDTH)
    polygon, circle, mask = image.shapes
    assert polygon == Polygon(((20.5, 13.5), (30.75, 17.0), (26.5, 23.25)))
    assert circle == Ellipse(5, 5, 0, 10.5, 12.5)  # from (10, 12) to (13, 16)
    # Columns 24 to 26 and rows 2 to 3, counted from 0.
    rows, columns = np.nonzero(rasterise([mask], (HEIGHT, WIDTH)))
    assert list(zip(rows, columns, strict=True)) == [(2, 24), (2, 26), (3, 24), (3, 25)]
    assert [shape.labels for shape in image.shapes] == [("dent",), ("hole",), ("stain",)]
    assert circle.source == f"{root / 'gear/part_1.json'}: shapes[1]"


@pytest.mark.parametrize(
    ("number", "points", "picture"),
    [
        # From corner to corner of the pixels: four columns of two rows.
        (0, [[1, 2], [5, 2], [5, 4], [1, 4]], ["......", "......", ".####.", ".####.", "......"]),
        # Around a corner where four pixels meet: their centres are √½ away, the next ones √2½.
        (1, [[2, 2], [2, 3]], ["......", ".##...", ".##...", "......", "......"]),
    ],
)
def test_points_are_counted_from_the_corner_of_the_image(
    tmp_path: Path, number: int, points: list[list[float]], picture: list[str]
) -> None:
    make(tmp_path, shape(number, points=points))
    drawn = labelme.read(tmp_path).images[0].shapes[number]
    mask = rasterise([drawn], (HEIGHT, WIDTH))
    assert ["".join(".#"[pixel] for pixel in row[:6]) for row in mask[:5]] == picture
    assert mask.sum() == "".join(picture).count("#")


def test_golden_file_is_prepared(tmp_path: Path) -> None:
    layout, (summary,) = prepare(make(tmp_path / "raw"), tmp_path / "out", val=0, test=0)
    assert (layout, summary.product, summary.good, summary.defective) == ("labelme", "gear", 1, 1)


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("gear/part_1.json", "part_1.png"),
        ("labels/part_1.json", "../gear/part_1.png"),
        ("labels/part_1.json", "..\\gear\\part_1.png"),
        ("gear/other.json", "./part_1.png"),
        ("part_1.json", "C:\\Users\\anna\\gear\\part_1.png"),
    ],
)
def test_an_image_is_looked_for_from_the_folder_of_its_file(
    tmp_path: Path, name: str, image: str
) -> None:
    make(tmp_path, lambda labels: labels.update(imagePath=image), name=name)
    labels = labelme.read(tmp_path)
    assert labels.problems == labels.rows_without_image == ()
    assert [len(image.shapes) for image in labels.images] == [3, 0]


def test_what_old_versions_wrote_is_read(tmp_path: Path) -> None:
    """No size, and no type of a shape."""

    def change(labels: dict[str, Any]) -> None:
        for key in ("imageHeight", "imageWidth", "flags"):
            del labels[key]
        labels["shapes"] = [{"label": "dent", "points": labels["shapes"][0]["points"]}]

    (image, _) = labelme.read(make(tmp_path, change)).images
    assert image.shape_hw is None
    assert isinstance(image.shapes[0], Polygon)


def test_an_image_whose_last_shape_was_removed_is_good(tmp_path: Path) -> None:
    labels = labelme.read(make(tmp_path, lambda labels: labels.update(shapes=[], flags={})))
    assert [image.shapes for image in labels.images] == [(), ()]


@pytest.mark.parametrize(
    ("points", "pixels"),
    [
        ([[30, 22], [32, 23]], [(22, 30), (23, 30), (23, 31)]),  # a column beyond the right border
        ([[-1, -1], [1, 0]], [(0, 0)]),
        ([[24.4, 2.4], [26.6, 3.2]], [(2, 24), (2, 26), (3, 24), (3, 25)]),  # it was moved
        ([[40, 2], [42, 3]], []),
    ],
)
def test_a_mask_is_cut_off_at_the_border(
    tmp_path: Path, points: list[list[float]], pixels: list[tuple[int, int]]
) -> None:
    make(tmp_path, lambda labels: labels["shapes"][2].update(points=points))
    mask = rasterise(labelme.read(tmp_path).images[0].shapes[2:], (HEIGHT, WIDTH))
    assert [tuple(place) for place in np.argwhere(mask).tolist()] == pixels


def encoded(picture: PIL.Image.Image, form: str = "PNG") -> str:
    file = io.BytesIO()
    picture.save(file, form)
    return base64.b64encode(file.getvalue()).decode()


def test_a_mask_of_single_bits_is_read_as_one_of_0_and_1(tmp_path: Path) -> None:
    bits = encoded(PIL.Image.fromarray(np.array([[1, 0, 1], [1, 1, 0]], np.bool_)))
    make(tmp_path, lambda labels: labels["shapes"][2].update(mask=bits))
    mask = rasterise(labelme.read(tmp_path).images[0].shapes[2:], (HEIGHT, WIDTH))
    assert np.count_nonzero(mask) == 4


def shape(number: int, **changes: object) -> Change:
    return lambda labels: labels["shapes"][number].update(changes)


BAD: list[tuple[str, Change, str, str]] = [
    (": shapes[0]", shape(0, shape_type="rectangle"), "the type 'rectangle'", "polygon, circle"),
    (": shapes[0]", shape(0, shape_type="linestrip"), "the type 'linestrip'", "circle or mask"),
    (": shapes[0]", shape(0, shape_type=["line"]), "['line']", "circle or mask"),
    (": shapes[0]", shape(0, points=[[1, 1], [2, 2]]), "2 corner(s)", "at least 3 corners"),
    (": shapes[0]", shape(0, points=[[1, 1], [2, 2], "x"]), "corner 3 = 'x'", "x and y"),
    (": shapes[0]", shape(0, points=[[1, 1], [2, 2], [3, 1e9]]), "corner 3 = 1000000", "pixels"),
    (": shapes[0]", shape(0, points=[[50, 1], [60, 1], [50, 9]]), "outside its image", "one pixel"),
    (": shapes[1]", shape(1, points=[[1, 1]]), "points = [[1, 1]]", "two points"),
    (": shapes[1]", shape(1, points=[[1, 1], [1, None]]), "second point = None", "a number"),
    (": shapes[1]", shape(1, points=[[1, 1], [1, 1]]), "radius = 0", "greater than 0"),
    (": shapes[2]", shape(2, mask=None), "a mask that the file is empty", "PNG in base64"),
    (": shapes[2]", shape(2, mask="ä"), "mask = 'ä'", "PNG in base64"),
    (": shapes[2]", shape(2, mask="AAAA"), "a mask that cannot be decoded", "PNG in base64"),
    (": shapes[2]", shape(2, points=[[4, 2], [9, 3]]), "3×2 pixels from [4, 2] to", "fills"),
    ("", lambda labels: labels.update(imageWidth=64), "an image of 32×24", "64×24"),
    ("", lambda labels: labels.update(imageHeight=None), "height = None", "whole numbers"),
    ("", lambda labels: labels.update(imagePath="gone.png"), "of 'gear/gone.png'", "an image"),
    ("", lambda labels: labels.update(imagePath=7), "imagePath = 7", "a name and a list"),
    ("", lambda labels: labels.update(shapes={}), "shapes = {}", "a name and a list"),
    ("", lambda labels: labels.update(shapes=[]), "checked without a shape", "drawn"),
    (": shapes[1]", lambda labels: labels["shapes"].__setitem__(1, None), "None", "a shape"),
    (":1", lambda labels: '{"shapes": [], "imagePath": "part_1.png"', "no JSON", "JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "change", "found", "expected"), BAD)
def test_bad_file_is_refused_with_its_place(
    tmp_path: Path, place: str, change: Change, found: str, expected: str
) -> None:
    root = make(tmp_path / "raw", change)
    problem = refused(root)[0]
    of_image = "64×24" in expected  # it is the image that is told to be another
    path = root / "gear" / ("part_1.png" if of_image else "part_1.json")
    assert problem.where == f"{path}{place}"
    assert found in problem.found
    assert expected in problem.expected


def test_a_mask_needs_the_size_of_its_image(tmp_path: Path) -> None:
    root = make(tmp_path / "raw", lambda labels: labels.update(imageHeight=None, imageWidth=None))
    problem = refused(root)[0]
    assert "a mask in an image of unknown size" in problem.found


def test_everything_wrong_is_listed_at_once(tmp_path: Path) -> None:
    def change(labels: dict[str, Any]) -> None:
        labels["shapes"][0]["shape_type"] = "rectangle"
        labels["shapes"][1]["points"] = [[None, 1], [1, "2"]]

    root = make(tmp_path / "raw", change)
    make(root, lambda labels: labels.update(imagePath="gone.png"), name="gear/other.json")
    places = [problem.where for problem in refused(root)]
    first = f"{root / 'gear/part_1.json'}: shapes"
    assert places[:3] == [f"{first}[0]", f"{first}[1]", f"{first}[1]"]
    assert str(root / "gear/other.json") in places


def test_two_files_of_one_image_are_refused(tmp_path: Path) -> None:
    root = make(make(tmp_path / "raw"), name="gear/other.json")
    assert "part_1.png twice, also" in refused(root)[0].found


@pytest.mark.parametrize("name", ["gear/part_2.json", "labels/PART_2.JSON"])
@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "no JSON"),
        (GOLDEN.read_bytes()[:300], "no JSON"),  # before its "imagePath"
        (GOLDEN.read_text().encode("utf-16"), "no UTF-8"),
        (b"[]", "imagePath = None"),
    ],
)
def test_a_damaged_file_does_not_make_its_image_a_good_one(
    tmp_path: Path, name: str, data: bytes, found: str
) -> None:
    root = make(tmp_path / "raw")
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_bytes(data)
    problem = refused(root)[0]
    assert problem.where.removesuffix(":1").startswith(str(root / name))
    assert found in problem.found


def test_json_of_other_names_is_passed_over(tmp_path: Path) -> None:
    root = make(tmp_path)
    (root / "gear" / "settings.json").write_text("{}")
    assert not labelme.read(root).problems
