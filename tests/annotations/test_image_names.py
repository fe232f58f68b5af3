from pathlib import Path

import pytest

from defectseg.annotations.ellipse import Ellipse
from defectseg.annotations.image_names import Entry, match_entries, tell_product
from defectseg.annotations.labels import LabelSet
from defectseg.errors import Problem
from tests.annotations.folders import write_images

ELLIPSE = Ellipse(3, 2, 0, 5, 5)


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def match(root: Path, *names: str, folder: str = "") -> LabelSet:
    entries = [
        Entry(name, f"labels:{n}", (ELLIPSE,), (24, 32), folder)
        for n, name in enumerate(names, start=1)
    ]
    return match_entries(root, entries)


def found(root: Path, *names: str, folder: str = "") -> list[str]:
    labels = match(root, *names, folder=folder)
    return [image.image.relative_to(root).as_posix() for image in labels.images]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("1.png", "1.png"),
        ("./1.png", "1.png"),
        ("images/a/2.png", "images/a/2.png"),
        ("a/2.png", "images/a/2.png"),
        ("2.png", "images/a/2.png"),
        (r"a\2.png", "images/a/2.png"),
        (r"C:\Users\anna\images\a\2.png", "images/a/2.png"),
        ("/home/anna/parts/images/a/2.png", "images/a/2.png"),
        ("../images/a/2.png", "images/a/2.png"),
        ("http://host:8080/data/images/a/2.png?token=7", "images/a/2.png"),
        ("file:///C:/images/b/one%20more.png", "images/b/one more.png"),
    ],
)
def test_an_image_is_found_by_each_way_to_name_it(tmp_path: Path, name: str, file: str) -> None:
    make(tmp_path, "1.png", "images/a/2.png", "images/b/one more.png")
    assert found(tmp_path, name) == [file]


@pytest.mark.parametrize("name", ["", "/", "b/3.png", "x2.png", "2.jpg", "/home/3.png", "http://["])
def test_a_name_that_no_path_fits_finds_nothing(tmp_path: Path, name: str) -> None:
    make(tmp_path, "images/a/2.png")
    labels = match(tmp_path, name)
    assert labels.images == labels.problems == ()
    ((_, problem),) = labels.rows_without_image
    assert problem.where == "labels:1"
    assert repr(name) in problem.found
    assert len(labels.images_without_row) == 1


@pytest.mark.parametrize("name", ["/data/upload/7/2.png", r"C:\data\2.png", "c/2.png", "2.png"])
def test_where_no_path_fits_the_one_file_of_the_same_name_does(tmp_path: Path, name: str) -> None:
    make(tmp_path, "images/a/2.png", "images/b/1.png")
    assert found(tmp_path, name) == ["images/a/2.png"]
    make(tmp_path / "top", "2.png")
    assert found(tmp_path / "top", name) == ["2.png"]


def test_a_file_that_is_missing_among_others_is_not_looked_for_elsewhere(tmp_path: Path) -> None:
    make(tmp_path, "images/a/1.png", "images/b/2.png")
    assert found(tmp_path, "a/2.png") == []
    assert found(tmp_path, "/home/images/a/2.png") == []


def test_of_several_that_fit_those_near_the_labels_are_meant(tmp_path: Path) -> None:
    make(tmp_path, "bolt/images/1.png", "nut/images/1.png", "nut/images/old/1.png")
    assert found(tmp_path, "1.png", folder="bolt") == ["bolt/images/1.png"]
    assert found(tmp_path, "1.png", folder="bolt/labels") == ["bolt/images/1.png"]
    assert found(tmp_path, "/home/1.png", folder="bolt/labels") == ["bolt/images/1.png"]
    for folder in ("", ".", "labels"):
        assert "3 images fit" in match(tmp_path, "1.png", folder=folder).problems[0].found
    assert "2 images fit" in match(tmp_path, "1.png", folder="nut").problems[0].found


def test_the_folder_of_a_subset_is_tried_first(tmp_path: Path) -> None:
    make(tmp_path, "images/train/1.png", "images/test/1.png", "images/2.png")
    entries = [
        Entry("1.png", "labels:1", (), subset="test"),
        Entry("1.png", "labels:2", (ELLIPSE,), subset="train"),
        Entry("2.png", "labels:3", (), subset="train"),
    ]
    labels = match_entries(tmp_path, entries)
    assert [(own.image.parent.name, len(own.shapes)) for own in labels.images] == [
        ("images", 0),
        ("test", 0),
        ("train", 1),
    ]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("IMG_0.PNG", "(there is img_0.png)"),
        ("photos/img_0.jpg", "(there is img_0.png)"),
        ("a/2.png", "(there is b/2.png)"),
        ("img_1.jpg", ""),  # which of the two is not known
        ("img_2.png", ""),
    ],
)
def test_an_image_that_is_missing_is_told_from_one_of_almost_its_name(
    tmp_path: Path, name: str, hint: str
) -> None:
    make(tmp_path, "img_0.png", "img_1.png", "a/img_1.bmp", "a/3.png", "b/2.png")
    ((_, problem),) = match(tmp_path, name).rows_without_image
    assert problem.found.endswith(f"below {tmp_path} {hint}".rstrip())
    uploaded = Entry("/data/upload/1a2b3c4d-other.png", "labels:1", (), uploaded_as=name)
    ((_, problem),) = match_entries(tmp_path, [uploaded]).rows_without_image
    assert problem.found.endswith(f"below {tmp_path} {hint}".rstrip())


def test_several_files_that_fit_are_a_problem_that_names_them(tmp_path: Path) -> None:
    make(tmp_path, "a/1.png", "b/1.png", "b/2.png")
    labels = match(tmp_path, "1.png")
    (problem,) = labels.problems
    assert "'1.png', which 2 images fit: a/1.png, b/1.png" in problem.found
    assert labels.images == labels.rows_without_image == ()
    # Whether they have a label is not known; of the third it is.
    ((_, unnamed),) = labels.images_without_row
    assert unnamed.where == str(tmp_path / "b/2.png")


def test_what_fits_better_leaves_out_what_fits_less(tmp_path: Path) -> None:
    make(tmp_path, "1.png", "a/1.png", "b/1.png")
    assert found(tmp_path, "1.png") == ["1.png"]
    assert found(tmp_path, "1.png", folder="b") == ["b/1.png"]
    assert found(tmp_path, "a/1.png", folder="b") == ["a/1.png"]
    make(tmp_path, "y/x/a/1.png")
    assert found(tmp_path, "x/a/1.png") == ["y/x/a/1.png"]  # which ends so; a/1.png is in its end
    # By its file name alone 1.png in the folder itself would fit as well.
    assert found(tmp_path, "/home/anna/a/1.png") == ["a/1.png"]


def test_an_image_that_is_labelled_twice_is_a_problem(tmp_path: Path) -> None:
    make(tmp_path, "a/1.png")
    labels = match(tmp_path, "1.png", "a/1.png")
    (problem,) = labels.problems
    assert problem.where == "labels:2"
    assert problem.found == "labels of a/1.png twice, also labels:1"


def test_an_image_whose_label_is_wrong_is_neither_good_nor_unnamed(tmp_path: Path) -> None:
    make(tmp_path, "1.png")
    wrong = Problem("labels:1", "a box", "an ellipse", "Draw one.")
    labels = match_entries(tmp_path, [Entry("1.png", "labels:1", (), is_known=False)], [wrong])
    assert labels == LabelSet((), (wrong,))


def test_what_is_known_of_an_image_is_passed_on(tmp_path: Path) -> None:
    make(tmp_path, "images/gear/1.png")
    (image,) = match(tmp_path, "1.png").images
    assert (image.product, image.shapes, image.shape_hw) == ("gear", (ELLIPSE,), (24, 32))


@pytest.mark.parametrize(
    ("relative", "product"),
    [
        ("1.png", "parts"),
        ("gear/1.png", "gear"),
        ("gear/left/1.png", "gear"),
        ("images/1.png", "parts"),
        ("images/gear/1.png", "gear"),
        ("images/Train/gear/1.png", "gear"),
        ("train2017/1.png", "parts"),
        ("training parts/1.png", "training parts"),
    ],
)
def test_the_product_is_the_first_folder_that_is_no_mere_container(
    tmp_path: Path, relative: str, product: str
) -> None:
    assert tell_product(relative, tmp_path / "parts") == product


def test_images_are_told_by_their_content_as_elsewhere(tmp_path: Path) -> None:
    write_images(tmp_path, "1.png")
    (tmp_path / "1.png").rename(tmp_path / "1.dat")
    assert found(tmp_path, "1.dat") == ["1.dat"]


def test_the_name_of_an_upload_counts_where_no_file_fits_the_first(tmp_path: Path) -> None:
    make(tmp_path, "1.png", "2.png", "aa-2.png")
    entries = [
        Entry("up/aa-1.png", "labels:1", (), uploaded_as="1.png"),
        Entry("up/aa-2.png", "labels:2", (), uploaded_as="2.png"),
    ]
    labels = match_entries(tmp_path, entries)
    assert [image.image.name for image in labels.images] == ["1.png", "aa-2.png"]


def test_a_file_of_another_length_is_not_the_one_that_was_labelled(tmp_path: Path) -> None:
    make(tmp_path, "a/1.png", "b/1.png", "b/2.png")
    (tmp_path / "b/1.png").write_bytes(b"1234")
    entries = [
        Entry("1.png", "labels:1", (), file_bytes=4),  # two files fit, one of them has 4 bytes
        Entry("2.png", "labels:2", (), file_bytes=7),
        Entry("a/1.png", "labels:3", ()),
    ]
    labels = match_entries(tmp_path, entries)
    assert [image.image for image in labels.images] == [tmp_path / "a/1.png", tmp_path / "b/1.png"]
    (problem,) = labels.problems
    assert problem.where == "labels:2"
    assert "'2.png' with 7 bytes, but b/2.png has 0" in problem.found
    # Of several none has it: which is meant is not known.
    entry = Entry("1.png", "labels:1", (), file_bytes=9)
    assert "2 images fit" in match_entries(tmp_path, [entry]).problems[0].found


def test_images_that_nobody_names_are_good_where_a_tool_saves_no_others(tmp_path: Path) -> None:
    make(tmp_path, "1.png", "a/2.png")
    entry = Entry("1.png", "labels:1", (ELLIPSE,))
    labels = match_entries(tmp_path, [entry], unnamed_are_good=True)
    assert not labels.images_without_row
    assert [(image.image.name, image.product, image.shapes) for image in labels.images] == [
        ("1.png", tmp_path.name, (ELLIPSE,)),
        ("2.png", "a", ()),
    ]
