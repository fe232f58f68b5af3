from pathlib import Path

import pytest

from defectseg.annotations import article
from defectseg.annotations.ellipse import Ellipse
from tests.annotations.folders import read_any, refused, write_images, write_lines

SOUND = ("1\t5\t3\t0\t10\t10", "2\t4\t2\t0.5\t20\t12")


def make(root: Path, *more_rows: str, rows: tuple[str, ...] = SOUND) -> Path:
    """Two good and two defective images; `more_rows` begin with line 3 of labels.txt."""
    write_images(root / "Class1", "1.png", "2.png")
    write_images(root / "Class1_def", "1.png", "2.png")
    write_lines(root / "Class1_def" / "labels.txt", *rows, *more_rows)
    return root


def test_good_and_defective_images_of_each_product(tmp_path: Path) -> None:
    make(tmp_path)
    write_images(tmp_path / "Class2", "7.bmp")
    write_images(tmp_path / "Class2_def", "12.png")
    write_lines(tmp_path / "Class2_def" / "labels.txt", "", "12  5 3   0 1 1 ")
    assert read_any(tmp_path) == (
        "article",
        [
            ("Class1/1.png", "Class1", 0, None, None),
            ("Class1/2.png", "Class1", 0, None, None),
            ("Class1_def/1.png", "Class1", 1, None, None),
            ("Class1_def/2.png", "Class1", 1, None, None),
            ("Class2/7.bmp", "Class2", 0, None, None),
            ("Class2_def/12.png", "Class2", 1, None, None),
        ],
    )


def test_several_ellipses_of_one_image_are_kept_in_order(tmp_path: Path) -> None:
    make(tmp_path, "1 3 6 -3.12 15 15", "1 5 3 0 10 11")
    by_name = {image.image.name: image for image in article.read(tmp_path).images if image.shapes}
    assert by_name["1.png"].shapes == (
        Ellipse(5, 3, 0, 10, 10),
        Ellipse(3, 6, -3.12, 15, 15),
        Ellipse(5, 3, 0, 10, 11),
    )
    assert by_name["1.png"].shapes[1].source == f"{tmp_path / 'Class1_def' / 'labels.txt'}:3"


def test_numbers_and_names_need_not_be_written_alike(tmp_path: Path) -> None:
    write_images(tmp_path / "A", "1.png")
    write_images(tmp_path / "A_def", "0003.PNG")
    write_lines(tmp_path / "A_def" / "labels.txt", "\ufeff3 5 3 0 10 10")
    assert ("A_def/0003.PNG", "A", 1, None, None) in read_any(tmp_path)[1]


@pytest.mark.parametrize(
    ("row", "found", "expected"),
    [
        ("1 5 3 0 10", "5 columns: '1 5 3 0 10'", "6: index semi_major semi_minor angle x y"),
        ("1 5 3 0 10 10 9", "7 columns", "6: index"),
        ("one 5 3 0 10 10", "index = 'one'", "a whole number"),
        ("-1 5 3 0 10 10", "index = '-1'", "a whole number"),
        ("1 5 3 up 10 10", "angle = 'up'", "a finite number"),
        ("1 5 3 nan 10 10", "angle = 'nan'", "a finite number"),
        ("1 5 3 0 inf 10", "x = 'inf'", "a number of pixels"),
        ("1 -5 3 0 10 10", "semi_major = '-5'", "greater than 0"),
        ("1 5 0.0 0 10 10", "semi_minor = '0.0'", "greater than 0"),
        ("7 5 3 0 10 10", "no image Class1_def/7.png", "an image for every row"),
        # The image is 32×24; the ellipse ends at column 60 - 1 - 5 = 54 on its left.
        ("1 5 3 0 60 10", "outside its image of 32×24", "at least one pixel inside"),
        # Between four pixel centres, at 9.5, with a radius below sqrt(0.5) = 0.71.
        ("1 .6 .6 0 10.5 10.5", "too small", "at least one pixel inside"),
        ("2 4.0 2 .5 20 12", "index 2 twice, also", "each defect once"),
    ],
)
def test_bad_row_is_refused_with_its_line(
    tmp_path: Path, row: str, found: str, expected: str
) -> None:
    root = make(tmp_path / "raw", row)
    (problem,) = refused(root)
    assert problem.where == f"{root / 'Class1_def' / 'labels.txt'}:3"
    assert found in problem.found
    assert expected in problem.expected


def test_a_row_twice_names_the_line_of_the_first(tmp_path: Path) -> None:
    root = make(tmp_path / "raw", "1 6 6 0 12 12", "1 6 6 0 12 12")
    (problem,) = refused(root)
    assert problem.where.endswith("labels.txt:4")
    assert problem.found.endswith("labels.txt:3")


def test_every_bad_row_is_listed_at_once(tmp_path: Path) -> None:
    bad = ["1 5 3 0", "1 x -1 0 1 1", "8 5 3 0 1 1", "8 5 4 0 1 1", "2 5 3 0 999 1"]
    root = make(tmp_path / "raw", *bad)
    lines = sorted(int(problem.where.rpartition(":")[2]) for problem in refused(root))
    # Line 4 has two wrong numbers; index 8 has two rows and no image.
    assert lines == [3, 4, 4, 5, 6, 7]


def test_image_without_row_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path / "raw", rows=SOUND[:1])
    (problem,) = refused(root)
    assert problem.where == str(root / "Class1_def" / "2.png")
    assert problem.found == "no row of index 2 in labels.txt"


def test_image_whose_only_row_is_bad_is_not_called_one_without_row(tmp_path: Path) -> None:
    root = make(tmp_path / "raw", "2 bad 3 0 10 10", rows=SOUND[:1])
    (problem,) = refused(root)
    assert problem.found == "semi_major = 'bad'"


def test_image_with_a_bad_row_does_not_count_as_good(tmp_path: Path) -> None:
    make(tmp_path, "1 bad 3 0 10 10")
    images = article.read(tmp_path).images
    names = {image.image.relative_to(tmp_path).as_posix() for image in images}
    assert names == {"Class1/1.png", "Class1/2.png", "Class1_def/2.png"}


@pytest.mark.parametrize("other", ["1.jpg", "01.png"])
def test_two_images_of_one_index_are_refused(tmp_path: Path, other: str) -> None:
    root = make(tmp_path / "raw")
    write_images(root / "Class1_def", other)
    (problem,) = refused(root)
    assert "index 1 twice, also" in problem.found
    assert problem.expected == "one image an index"


def test_image_whose_name_is_no_number_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path / "raw")
    write_images(root / "Class1_def", "scratch.png")
    (problem,) = refused(root)
    assert problem.where == str(root / "Class1_def" / "scratch.png")
    assert problem.expected == "a number, as 12.png"


def test_folder_of_defective_images_without_labels_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path / "raw")
    write_images(root / "Class2_def", "1.png")
    (problem,) = refused(root)
    assert (problem.where, problem.found) == (str(root / "Class2_def"), "no labels.txt")


def test_images_of_an_unlabelled_product_are_not_passed_over(tmp_path: Path) -> None:
    root = make(tmp_path / "raw")
    write_images(root / "Class2", "1.png")
    write_images(root / "Class1_def_masks", "1.png")  # belongs to Class1, and is no input
    (root / "notes").mkdir()
    (problem,) = refused(root)
    assert problem.where == str(root / "Class2")
    assert "belong to no product" in problem.found


@pytest.mark.parametrize("folder", ["", "Class1/sub", "Class1_def/sub", "Class1_default"])
def test_images_in_other_places_are_not_passed_over(folder: str, tmp_path: Path) -> None:
    root = make(tmp_path / "raw")
    write_images(root / folder, "901.png", "902.png")
    (problem,) = refused(root)
    assert problem.where == str(root / folder)
    assert problem.found == "2 image(s) that belong to no product"


@pytest.mark.real_data
def test_real_labels_of_six_classes_are_read_whole(real_data: Path) -> None:
    labels = article.read(real_data / "dagm_labels")
    rows = sum(
        len(path.read_text().splitlines())
        for path in (real_data / "dagm_labels").glob("*_def/labels.txt")
    )
    assert not labels.problems
    # There are no images beside these labels: each row is one without image.
    assert len(labels.rows_without_image) == rows > 0
