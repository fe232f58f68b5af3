from pathlib import Path

import pytest

from defectseg.image_io import write_gray
from tests.annotations.folders import read_any, rectangle, refused, write_images, write_lines

SOUND = ("1\t0\t0001.PNG\t0\t0", "2\t1\t0002.PNG\t1\t0002_label.PNG")


def make(root: Path, *more_rows: str) -> Path:
    """Train and Test of one good and one defective image; `more_rows` of Train begin at line 4."""
    for split in ("Train", "Test"):
        folder = root / "Class1" / split
        write_images(folder, "0001.PNG", "0002.PNG")
        write_gray(folder / "Label" / "0002_label.PNG", rectangle(slice(5, 9), slice(5, 9)))
        rows = more_rows if split == "Train" else ()
        write_lines(folder / "Label" / "Labels.txt", "1", *SOUND, *rows)
    return root


def test_masks_are_found_and_the_authors_split_is_kept(tmp_path: Path) -> None:
    mask = "Class1/{}/Label/0002_label.PNG"
    assert read_any(make(tmp_path)) == (
        "competition",
        [
            ("Class1/Test/0001.PNG", "Class1", 0, None, "test"),
            ("Class1/Test/0002.PNG", "Class1", 0, mask.format("Test"), "test"),
            ("Class1/Train/0001.PNG", "Class1", 0, None, "train"),
            ("Class1/Train/0002.PNG", "Class1", 0, mask.format("Train"), "train"),
        ],
    )


@pytest.mark.parametrize(
    ("row", "found", "expected"),
    [
        ("3 0 0001.PNG", "'3 0 0001.PNG'", "five columns"),
        ("3 yes 0003.PNG 1 0003_label.PNG", "'3 yes", "defective (0 or 1)"),
        ("3 01 0003.PNG 01 0003_label.PNG", "'3 01", "defective (0 or 1)"),
        ("3 1 0003.PNG 0 0", "'3 1 0003.PNG 0 0'", "that agree"),  # defective without a mask
        ("3 1 0003.PNG 1 0", "'3 1 0003.PNG 1 0'", "that agree"),
        ("3 0 0003.PNG 0 0003_label.PNG", "'3 0", "that agree"),  # good with a mask
        ("3 0 0009.PNG 0 0", "a row for 0009.PNG, but no such file", "an image for every row"),
        ("3 1 0003.PNG 1 9.PNG", "a row for 9.PNG, but no such file", "its mask"),
        ("2 0 0001.PNG 0 0", "0001.PNG twice", "each image once"),
    ],
)
def test_bad_row_is_refused_with_its_line(
    tmp_path: Path, row: str, found: str, expected: str
) -> None:
    root = make(tmp_path / "raw", row)
    if "0003.PNG" in row:
        write_images(root / "Class1" / "Train", "0003.PNG")
    problems = refused(root)
    at_row = [problem for problem in problems if problem.where.endswith("Labels.txt:4")]
    assert len(at_row) == 1
    assert found in at_row[0].found
    assert expected in at_row[0].expected
    # A row that cannot be read names no image, so that 0003.PNG is one without row.
    rest = [problem.where for problem in problems if problem not in at_row]
    assert all(where == str(root / "Class1" / "Train" / "0003.PNG") for where in rest)


@pytest.mark.parametrize(("level", "found"), [(0, "is empty"), (1, "largest value is 1")])
def test_mask_of_a_defective_image_must_show_the_defect(
    level: int, found: str, tmp_path: Path
) -> None:
    root = make(tmp_path / "raw")
    mask = rectangle(slice(5, 9), slice(5, 9)) // 255 * level
    write_gray(root / "Class1" / "Train" / "Label" / "0002_label.PNG", mask)
    (problem,) = refused(root)  # not taken for a good image
    assert found in problem.found


def test_image_without_row_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path / "raw")
    write_images(root / "Class1" / "Test", "0003.PNG")
    (problem,) = refused(root)
    assert problem.where == str(root / "Class1" / "Test" / "0003.PNG")
    assert problem.expected == "a row for every image"


def test_folder_without_table_is_not_passed_over(tmp_path: Path) -> None:
    root = make(tmp_path / "raw")
    write_images(root / "Class2" / "Train", "0001.PNG")
    (problem,) = refused(root)
    assert (problem.where, problem.found) == (
        str(root / "Class2" / "Train"),
        "no Label/Labels.txt",
    )


def test_folder_that_is_neither_train_nor_test_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path / "raw")
    write_lines(root / "Class1" / "Extra" / "Label" / "Labels.txt", "1")
    (problem,) = refused(root)
    assert (problem.where, problem.expected) == (str(root / "Class1" / "Extra"), "Train or Test")
