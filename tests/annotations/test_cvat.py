"""The format: docs.cvat.ai, "XML annotation format", version 1.1, "Annotation" (images tasks)."""

import math
from pathlib import Path

import numpy as np
import pytest

from defectseg.annotations import cvat
from defectseg.annotations.ellipse import Ellipse
from defectseg.annotations.labels import DrawnImage, LabelSet
from defectseg.annotations.outline import PixelMask, Polygon
from defectseg.dataset.masks import rasterise
from defectseg.dataset.prepare import prepare
from defectseg.errors import DataError
from defectseg.image_io import read_mask
from tests.annotations.folders import HEIGHT, WIDTH, read_any, refused, write_images, write_lines

GOLDEN = Path(__file__).parent / "golden" / "cvat.xml"
IMAGES = ("1.png", "2.png", "3.png")
FIRST_SHAPE = 28  # the line of the golden file

# The ellipse and the polygon of the golden file, drawn by a browser, as CVAT draws them:
# <ellipse cx="16.3" cy="11.2" rx="9.5" ry="4" transform="rotate(30 16.3 11.2)"/> and
# <polygon points="1,14 7.5,23.2 2.4,21"/>, in SVG of 32×24 that Chromium enlarged 15 times; of each
# pixel the middle one of its 225.
PICTURE = [
    "................................",
    "................................",
    "................................",
    "................................",
    "................................",
    ".........####...................",
    "........########................",
    "........##########..............",
    "........############............",
    ".........############...........",
    ".........#############..........",
    "..........#############.........",
    "...........#############........",
    "............############........",
    "..............###########.......",
    ".#..............#########.......",
    ".##...............######........",
    "..#.............................",
    "..##............................",
    "..###...........................",
    "..####..........................",
    "....##..........................",
    "......#.........................",
    "................................",
]


def make(root: Path, text: str | None = None, name: str = "annotations.xml") -> Path:
    """Three images below images/, as CVAT exports them, and a file of labels."""
    write_images(root / "images" / "gear", *IMAGES)
    text = GOLDEN.read_text(encoding="utf-8") if text is None else text
    (root / name).write_text(text, encoding="utf-8")
    return root


def with_shape(shape: str) -> str:
    """The golden file with another shape in place of the ellipse, in the same line."""
    lines = GOLDEN.read_text(encoding="utf-8").splitlines()
    lines[FIRST_SHAPE - 1 : FIRST_SHAPE + 1] = [shape, ""]
    return "\n".join(lines)


def labels_of(tmp_path: Path, text: str | None = None) -> LabelSet:
    labels = cvat.read(make(tmp_path, text))
    assert labels.problems == ()
    return labels


def draw(labels: LabelSet, name: str) -> list[str]:
    (image,) = (own for own in labels.images if own.image.name == name)
    mask = rasterise(image.shapes, (HEIGHT, WIDTH))
    return ["".join(".#"[pixel] for pixel in row) for row in mask]


def test_images_and_shapes_are_read_with_label_size_and_line(tmp_path: Path) -> None:
    labels = labels_of(tmp_path)
    first, second, third = labels.images
    path = tmp_path / "annotations.xml"
    ellipse, polygon = first.shapes
    # From the corner of the first pixel to its centre it is half a pixel, which counts as 1.
    assert ellipse == Ellipse(9.5, 4, math.radians(30), 16.8, 11.7)
    assert (ellipse.labels, ellipse.source) == (("scratch",), f"{path}:{FIRST_SHAPE}")
    assert polygon == Polygon(((1.5, 14.5), (8, 23.7), (2.9, 21.5)))
    assert (polygon.labels, polygon.source) == (("stain",), f"{path}:{FIRST_SHAPE + 2}")
    assert [image.shape_hw for image in labels.images] == [(24, 32)] * 3
    assert [image.product for image in labels.images] == ["gear"] * 3
    assert len(second.shapes) == 1  # and a tag
    assert third.shapes == ()


def test_ellipse_and_polygon_lie_where_cvat_draws_them(tmp_path: Path) -> None:
    assert draw(labels_of(tmp_path), "1.png") == PICTURE


def test_mask_runs_along_the_rows_of_its_box(tmp_path: Path) -> None:
    # .##. #### .##. in the rows from 2 and the columns from 20.
    rows = draw(labels_of(tmp_path), "2.png")
    assert [row[19:25] for row in rows[1:6]] == ["......", "..##..", ".####.", "..##..", "......"]
    assert sum(row.count("#") for row in rows) == 8


def test_a_tag_without_a_shape_makes_no_good_image(tmp_path: Path) -> None:
    text = GOLDEN.read_text(encoding="utf-8")
    last = '<image id="2" name="gear/3.png" width="32" height="24">'
    tags = '<tag label="defective"/><tag label="seen"/>'
    raw = make(tmp_path / "raw", text.replace(last, f"{last}{tags}"))
    *tagged, missing = refused(raw)
    assert [problem.found for problem in tagged] == [
        "a tag 'defective' without a shape",
        "a tag 'seen' without a shape",
    ]
    assert missing.found == "no good images of the product 'gear'"
    # A tag that is no defect leaves its image a good one.
    (gear,) = prepare(raw, tmp_path / "out", val=0, test=0, defect_labels=["scratch"])[1]
    assert (gear.good, gear.defective) == (2, 1)
    with pytest.raises(DataError, match="a tag 'defective' without a shape"):
        prepare(raw, tmp_path / "out2", defect_labels=["scratch", "defective"])


def test_a_tag_beside_a_shape_that_is_no_defect_makes_no_good_image(tmp_path: Path) -> None:
    text = GOLDEN.read_text(encoding="utf-8")
    last = '<image id="2" name="gear/3.png" width="32" height="24">'
    for number, shape in enumerate(
        [
            '<box label="part" xtl="1" ytl="1" xbr="30" ybr="20"/>',
            '<polygon label="part" points="1,1;30,1;30,20"/>',
        ]
    ):
        tags = f'{shape}<tag label="scratch"/><tag label="seen"/>'
        raw = make(tmp_path / f"raw{number}", text.replace(last, f"{last}{tags}"))
        output = tmp_path / f"out{number}"
        with pytest.raises(DataError, match="a tag 'scratch' without a shape"):
            prepare(raw, output, defect_labels=["scratch"])
        # With this label there is no doubt, for nothing calls the image defective.
        (gear,) = prepare(raw, output, val=0, test=0, defect_labels=["stain"])[1]
        assert (gear.good, gear.defective) == (1, 2)
        assert "seen" not in gear.shapes


@pytest.mark.parametrize(
    ("left", "top", "runs"),
    [
        (0, 0, "0, 4"),  # begins with the defect
        (28, 23, "0, 4"),  # ends with it, in the last corner
        (28, 20, "3, 1"),
        (0, 5, "1, 1, 1, 1"),
    ],
)
def test_mask_at_the_border_becomes_runs_of_the_whole_image(
    tmp_path: Path, left: int, top: int, runs: str
) -> None:
    shape = f'<mask label="a" rle="{runs}" left="{left}" top="{top}" width="4" height="1"/>'
    (mask, _) = labels_of(tmp_path, with_shape(shape)).images[0].shapes
    assert isinstance(mask, PixelMask)
    assert sum(mask.run_lengths) == WIDTH * HEIGHT
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    lengths = [int(run) for run in runs.split(",")]
    values = [number % 2 for number, run in enumerate(lengths) for _ in range(run)]
    expected[top, left : left + 4] = values
    np.testing.assert_array_equal(rasterise([mask], (HEIGHT, WIDTH)), expected)


def test_prepared_masks_are_what_was_drawn(tmp_path: Path) -> None:
    layout, _ = prepare(make(tmp_path / "raw"), tmp_path / "out")
    assert layout == "cvat"
    mask = read_mask(tmp_path / "out" / "masks" / "gear" / "1.png")
    assert ["".join(".#"[pixel] for pixel in row) for row in mask] == PICTURE


def test_files_are_joined_wherever_they_lie(tmp_path: Path) -> None:
    text = GOLDEN.read_text(encoding="utf-8").replace("gear/", "bolt/")
    write_images(tmp_path / "images" / "bolt", *IMAGES)
    (tmp_path / "sub").mkdir()
    make(tmp_path, text, "sub/second.XML")
    make(tmp_path)
    layout, rows = read_any(tmp_path)
    assert layout == "cvat"
    assert [(row[1], row[2]) for row in rows] == [
        ("bolt", 2),
        ("bolt", 1),
        ("bolt", 0),
        ("gear", 2),
        ("gear", 1),
        ("gear", 0),
    ]


@pytest.mark.parametrize(
    ("shape", "found", "expected"),
    [
        ('<ellipse cx="1" cy="2" rx="3"/>', "ry = None", "greater than 0"),
        ('<ellipse cx="x" cy="2" rx="3" ry="4"/>', "cx = 'x'", "a number of pixels"),
        ('<ellipse cx="1" cy="nan" rx="3" ry="4"/>', "cy = nan", "a number of pixels"),
        ('<ellipse cx="1" cy="1e999" rx="3" ry="4"/>', "cy = inf", "a number of pixels"),
        ('<ellipse cx="1" cy="2" rx="0" ry="4"/>', "rx = 0.0", "greater than 0"),
        ('<ellipse cx="1" cy="2" rx="3" ry="-4"/>', "ry = -4.0", "greater than 0"),
        ('<ellipse cx="1" cy="2" rx="3" ry="1_0"/>', "ry = '1_0'", "greater than 0"),
        ('<ellipse cx="1" cy="2" rx="3" ry="4" rotation="inf"/>', "rotation = inf", "degrees"),
        ('<ellipse cx="1" cy="2" rx="3" ry="4" rotation=""/>', "rotation = ''", "degrees"),
        ('<ellipse label="a" cx="90" cy="2" rx="3" ry="4"/>', "covers no pixel", "at least one"),
        ('<polygon points="1,2;3,4"/>', "points = '1,2;3,4'", "three corners"),
        ('<polygon points="1,2;3,4;5"/>', "points = '1,2;3,4;5'", "three corners"),
        ("<polygon/>", "points = ''", "three corners"),
        ('<polygon points="1,2;3,4;5,y"/>', "y of corner 3 = 'y'", "a number of pixels"),
        ('<polygon points="1,2;3,4;1e7,6"/>', "x of corner 3 = 10000000.0", "a number of pixels"),
        (
            '<mask rle="1, 2" left="30" top="0" width="3" height="1"/>',
            "left = '30', top = '0', width = '3', height = '1'",
            "a box within the image of 32×24",
        ),
        ('<mask rle="1" left="-1" top="0" width="1" height="1"/>', "left = '-1'", "a box"),
        ('<mask rle="1" left="0" top="0" width="1"/>', "height = None", "a box within"),
        ('<mask rle="0" left="0" top="0" width="0" height="0"/>', "width = '0'", "a box within"),
        ('<mask rle="1, 2" left="0" top="0" width="2" height="2"/>', "rle = '1, 2'", "2×2"),
        ('<mask rle="-1, 5" left="0" top="0" width="2" height="2"/>', "rle = '-1, 5'", "2×2"),
        ('<mask rle="" left="0" top="0" width="2" height="2"/>', "rle = ''", "2×2"),
        ('<mask rle="4" left="0" top="0" width="2" height="2"/>', "covers no pixel", "one"),
        ('<box label="dent" xtl="1" ytl="2" xbr="3" ybr="4"/>', "a box of 'dent'", "an ellipse"),
        ('<polyline label="dent" points="1,2;3,4"/>', "a polyline of 'dent'", "a polygon"),
        ('<points label="dent" points="1,2"/>', "a points of 'dent'", "a mask"),
        ('<cuboid label="dent"/>', "a cuboid of 'dent'", "around each defect"),
        (
            '<skeleton label="dent"><points label="1" points="1,2"/></skeleton>',
            "a skeleton of 'dent'",
            "around each defect",
        ),
    ],
)
def test_bad_shape_is_refused_with_its_line(
    tmp_path: Path, shape: str, found: str, expected: str
) -> None:
    root = make(tmp_path / "raw", with_shape(shape))
    (problem,) = refused(root)
    assert problem.where == f"{root / 'annotations.xml'}:{FIRST_SHAPE}"
    assert found in problem.found
    assert expected in problem.expected


def test_every_bad_shape_is_listed_at_once(tmp_path: Path) -> None:
    boxes = '<box label="a"/>\n' * 3 + '<ellipse cx="1" rx="1"/>'
    problems = refused(make(tmp_path / "raw", with_shape(boxes)))
    lines = [int(problem.where.rpartition(":")[2]) - FIRST_SHAPE for problem in problems]
    assert lines == [0, 1, 2, 3, 3]  # the ellipse lacks two numbers


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ('name="gear/1.png"', "", "an image without name"),
        ('name="gear/1.png"', 'name="gear/9.png"', "labels of 'gear/9.png', but no such image"),
        ('name="gear/2.png"', 'name="1.png"', "labels of images/gear/1.png twice"),
        ('width="32" height="24"', 'width="32"', "width = 32.0, height = None"),
        ('width="32" height="24"', 'width="0" height="24"', "width = 0.0, height = 24.0"),
        ('width="32" height="24"', 'width="31" height="24"', "an image of 32×24 pixels"),
    ],
)
def test_bad_image_is_refused(tmp_path: Path, old: str, new: str, found: str) -> None:
    text = GOLDEN.read_text(encoding="utf-8").replace(old, new, 1)
    problems = refused(make(tmp_path / "raw", text))
    assert found in problems[0].found
    # An image that has lost its label is not a good one.
    assert {problem.found for problem in problems[1:]} <= {"no label that names this image"}


def test_image_that_no_label_names_is_refused_or_left_out(tmp_path: Path) -> None:
    root = make(tmp_path / "raw")
    write_images(root, "4.png")
    (problem,) = refused(root)
    assert problem.where == str(root / "4.png")
    _, (gear, other) = prepare(root, tmp_path / "out", leave_out_unmatched=True)
    assert (gear.good, gear.defective) == (1, 2)
    assert (other.product, other.good, other.images_without_row) == ("raw", 0, 1)


BILLION_LAUGHS = (
    '<!DOCTYPE annotations [<!ENTITY a0 "ha">{}]><annotations>&a30;</annotations>'.format(
        "".join(f'<!ENTITY a{n + 1} "&a{n};&a{n};&a{n};&a{n};">' for n in range(30))
    )
)


@pytest.mark.parametrize(
    ("text", "place", "found"),
    [
        ("<annotations>\n<image>\n</annotations>", ":3", "no XML: mismatched tag"),
        ("<annotations>", ":1", "no XML: no element found"),
        ("<annotations/>", "", "no image"),
        ("<annotations>&what;</annotations>", ":1", "no XML: undefined entity"),
        ('<?xml version="1.0" encoding="none"?><annotations/>', ":1", "no XML"),
        ('<?xml version="1.0" encoding="utf-32"?><annotations/>', ":1", "no XML"),
        (BILLION_LAUGHS, ":1", "a document type declaration"),
        (
            '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotations>&b;</annotations>',
            ":1",
            "a document type declaration",
        ),
        (
            '<annotations>\n<track id="0" label="a"><box frame="0"/></track></annotations>',
            ":2",
            "a track, as in CVAT for video",
        ),
        ("<a>" * 100_000 + "<annotations>", ":1", "no XML"),
    ],
)
def test_file_that_cannot_be_read_is_one_problem(
    tmp_path: Path, text: str, place: str, found: str
) -> None:
    root = make(tmp_path / "raw", text)
    (problem, *others) = refused(root)
    assert problem.where == f"{root / 'annotations.xml'}{place}"
    assert problem.found.startswith(found)
    assert others == []


def test_other_xml_is_no_sign_of_cvat(tmp_path: Path) -> None:
    make(tmp_path, "<annotation><filename>1.png</filename></annotation>")
    assert cvat.find(tmp_path) == []


DRAWN = (
    DrawnImage(
        'a & "b"/<1>.png',
        (24, 32),
        (
            Ellipse(9.5, 4, -2.5, 16.25, 11.75, labels=("big & small",)),
            Polygon(((1.5, 2), (9, 3), (4.5, 8.5)), labels=("'stain'",)),
        ),
        (0.9, 0.5),
    ),
    DrawnImage("good.png", (24, 32), (), ()),
)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    (tmp_path / 'a & "b"').mkdir()
    for image in DRAWN:
        (tmp_path / image.name).touch()
    (tmp_path / "out.xml").write_text(cvat.write(DRAWN), encoding="utf-8")
    labels = cvat.read(tmp_path)
    assert labels.problems == labels.images_without_row == labels.rows_without_image == ()
    drawn, good = labels.images
    assert good.shapes == ()
    assert drawn.shape_hw == (24, 32)
    ellipse, polygon = drawn.shapes
    assert polygon == DRAWN[0].shapes[1]
    assert [shape.labels for shape in drawn.shapes] == [("big & small",), ("'stain'",)]
    assert isinstance(ellipse, Ellipse)
    # By a whole turn, as CVAT takes no negative degrees; they have two places.
    assert ellipse.angle == pytest.approx(2 * math.pi - 2.5, abs=math.radians(0.005))
    assert (ellipse.semi_major, ellipse.semi_minor, ellipse.x, ellipse.y) == (9.5, 4, 16.25, 11.75)


def test_name_that_xml_cannot_hold_is_an_error() -> None:
    with pytest.raises(DataError, match="XML cannot"):
        cvat.write([DrawnImage("a\x07.png", (1, 1), (), ())])


def test_images_of_a_project_are_told_by_their_subset(tmp_path: Path) -> None:
    for subset in ("train", "test"):
        write_images(tmp_path / "images" / subset, "0.png")
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    lines = [f'<image name="0.png" subset="{subset}" {size}/>' for subset in ("train", "test")]
    write_lines(tmp_path / "annotations.xml", "<annotations>", *lines, "</annotations>")
    labels = cvat.read(tmp_path)
    assert len(labels.images) == 2
    assert labels.problems == labels.images_without_row == ()
