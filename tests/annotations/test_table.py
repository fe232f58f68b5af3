from pathlib import Path

import pytest

from defectseg.annotations import table
from defectseg.annotations.ellipse import Ellipse
from tests.annotations.folders import read_any, refused, write_images, write_lines

HEADER = "image,semi_major,semi_minor,angle,x,y"
SOUND = ("b/1.png,5,3,0.5,10,12", "b/2.png,4,2,0,20,12")


def make(root: Path, *lines: str, name: str = "labels.csv") -> Path:
    """Images a/1.png, a/2.png, b/1.png, b/2.png and b/3.png, and a table of `lines`."""
    write_images(root / "a", "1.png", "2.png")
    write_images(root / "b", "1.png", "2.png", "3.png")
    write_lines(root / name, *lines)
    return root


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("labels.csv", (HEADER, *SOUND)),
        ("labels.csv", SOUND),  # without a header, in the order that is documented
        ("labels.csv", ("\ufeff" + HEADER, *SOUND, "", "b/3.png,,,,,")),  # as Excel saves it
        ("labels.csv", ("b/3.png,,,,,", *SOUND)),
        ("labels.tsv", [line.replace(",", "\t") for line in (HEADER, *SOUND)]),
        ("labels.csv", [line.replace(",", ";") for line in (HEADER, *SOUND)]),
        (
            "ellipses.CSV",
            (
                "Y,x,comment,Angle,Semi Minor,semi-major,File Name",
                "12,10,deep,0.5,3,5,./b/1.png",
                "12,20,,0,2,4,b\\2.png",
            ),
        ),
    ],
)
def test_each_way_to_write_the_table_gives_the_same(
    tmp_path: Path, name: str, lines: tuple[str, ...]
) -> None:
    make(tmp_path, *lines, name=name)
    assert read_any(tmp_path) == (
        "table",
        [
            ("a/1.png", "a", 0, None, None),
            ("a/2.png", "a", 0, None, None),
            ("b/1.png", "b", 1, None, None),
            ("b/2.png", "b", 1, None, None),
            ("b/3.png", "b", 0, None, None),
        ],
    )
    ellipses = [ellipse for image in table.read(tmp_path).images for ellipse in image.shapes]
    assert ellipses == [Ellipse(5, 3, 0.5, 10, 12), Ellipse(4, 2, 0, 20, 12)]


def test_images_beside_the_table_are_a_product_named_after_the_folder(tmp_path: Path) -> None:
    root = tmp_path / "gears"
    write_images(root, "1.png", "2.png")
    write_lines(root / "labels.csv", HEADER, "1.png,5,3,0,10,10", "1.png,5,3,0,20,10")
    assert read_any(root)[1] == [
        ("1.png", "gears", 2, None, None),
        ("2.png", "gears", 0, None, None),
    ]


@pytest.mark.parametrize(
    ("row", "found", "expected"),
    [
        ("b/3.png,5,3,0", "4 columns", "6, among them image, semi_major"),
        # Decimal commas in a table with commas between the columns.
        ("b/3.png,5,5,3,5,0,1,10,0,10,0", "11 columns", "6, among them"),
        ("b/3.png,5,3,0,ten,10", "x = 'ten'", "a number of pixels"),
        ("b/3.png,5,3,,10,10", "angle = ''", "a finite number"),
        ("b/3.png,5,3,nan,10,10", "angle = 'nan'", "a finite number"),
        ("b/3.png,0,3,0,10,10", "semi_major = '0'", "greater than 0"),
        ("b/3.png,5,-3,0,10,10", "semi_minor = '-3'", "greater than 0"),
        ("b/9.png,5,3,0,10,10", "a row for 'b/9.png', but no such image", "for every row"),
        ("b/9.png,,,,,", "a row for 'b/9.png', but no such image", "for every row"),
        ("b/3.png,5,3,0,10,-50", "outside its image of 32×24", "at least one pixel"),
        ("b/2.png,4,2,0,20,12", "the same ellipse of b/2.png twice, also", "each defect once"),
        ("b/2.png,,,,,", "b/2.png with several rows", "one row without numbers"),
    ],
)
def test_bad_row_is_refused_with_its_line(
    tmp_path: Path, row: str, found: str, expected: str
) -> None:
    root = make(tmp_path / "raw", HEADER, *SOUND, row)
    # Without good images of product b the refusal would have a second reason.
    write_images(root / "b", "4.png")
    (problem,) = refused(root)
    assert problem.where == f"{root / 'labels.csv'}:4"
    assert found in problem.found
    assert expected in problem.expected


def test_every_bad_row_is_listed_at_once(tmp_path: Path) -> None:
    bad = ["b/3.png,x,-1,0,1,1", "b/9.png,5,3,0,1,1", "b/9.png,5,4,0,1,1", "a/1.png,5,3,0,99,1"]
    root = make(tmp_path / "raw", HEADER, *SOUND, *bad)
    write_images(root / "b", "4.png")
    lines = sorted(int(problem.where.rpartition(":")[2]) for problem in refused(root))
    # Line 4 has two wrong numbers; b/9.png has two rows and does not exist.
    assert lines == [4, 4, 5, 6, 7]


def test_header_that_lacks_a_column_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path / "raw", "image,semi_major,semi_minor,x,y", "b/1.png,5,3,10,10")
    (problem,) = refused(root)
    assert problem.where == f"{root / 'labels.csv'}:1"
    assert problem.found == "the columns image, semi_major, semi_minor, x, y"
    assert problem.expected == "image, semi_major, semi_minor, angle, x, y"


def test_two_tables_are_refused(tmp_path: Path) -> None:
    root = make(tmp_path / "raw", HEADER, *SOUND)
    write_lines(root / "more.tsv", HEADER)
    (problem,) = refused(root)
    assert problem.found == "2 tables: labels.csv, more.tsv"


def test_image_with_a_bad_row_does_not_count_as_good(tmp_path: Path) -> None:
    make(tmp_path, HEADER, "b/1.png,5,3,0,10,bad")
    assert "b/1.png" not in {
        image.image.relative_to(tmp_path).as_posix() for image in table.read(tmp_path).images
    }
