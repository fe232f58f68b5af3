from pathlib import Path

import pytest

from defectseg.annotations.json_files import (
    check_px,
    find_json,
    parse_json,
    parse_shape_hw,
    read_json,
)
from defectseg.errors import Problem


def written(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_an_object_and_a_list_are_read(tmp_path: Path, mark: str) -> None:
    assert read_json(written(tmp_path / "a.json", mark + '{"x": [1, 2.5, "ü"]}')) == {
        "x": [1, 2.5, "ü"]
    }
    assert read_json(written(tmp_path / "b.json", mark + "[]")) == []


@pytest.mark.parametrize(
    ("data", "place", "found"),
    [
        ("", ":1", "no JSON: Expecting value"),
        ('{"a": 1,\n "b": }', ":2", "no JSON: Expecting value"),
        ('{"a": 1', ":1", "no JSON"),
        (b'{"a": "\xe4"}', "", "no UTF-8, from byte 7 on"),
        ("{}".encode("utf-16"), "", "no UTF-8"),
        ("[" * 200_000, "", "too many levels"),
        ('{"a": NaN}', "", "the number NaN"),
        ('{"a": -Infinity}', "", "the number -Infinity"),
        ('{"a": 1e999}', "", "the number 1e999"),
        ('{"a": ' + "9" * 5000 + "}", "", "Exceeds the limit"),
        ("7", "", "7 alone"),
        ('"text"', "", "'text' alone"),
        ("null", "", "None alone"),
    ],
)
def test_what_is_no_json_of_labels_is_a_problem(
    tmp_path: Path, data: bytes | str, place: str, found: str
) -> None:
    path = written(tmp_path / "labels.json", data)
    problem = read_json(path)
    assert isinstance(problem, Problem)
    assert problem.where == f"{path}{place}"
    assert found in problem.found
    assert problem.expected
    assert problem.fix


def test_json_in_a_cell_of_a_table_is_read_as_a_file_is() -> None:
    assert parse_json('{"name": "ellipse"}', "labels.csv:3") == {"name": "ellipse"}
    problem = parse_json('{"name":', "labels.csv:3")
    assert isinstance(problem, Problem)
    assert problem.where.startswith("labels.csv:3")


def test_a_file_that_cannot_be_opened_is_a_problem(tmp_path: Path) -> None:
    problem = read_json(tmp_path)
    assert isinstance(problem, Problem)
    assert "cannot be opened: Is a directory" in problem.found


def test_files_are_found_by_their_keys_even_if_they_are_damaged(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "link.json").symlink_to("absent")
    both = written(tmp_path / "sub/b.JSON", '{"images" : [], "annotations":\n [')
    written(tmp_path / "a.json", '{"images": [], "text": "annotations"}')
    written(tmp_path / "c.txt", '{"images": [], "annotations": []}')
    assert find_json(tmp_path, "images", "annotations") == [both]


@pytest.mark.parametrize("value", [0, -3, 12.5, 1_000_000, -1_000_000])
def test_numbers_of_pixels_are_accepted(value: float) -> None:
    assert check_px({"cx": value}, "here") == []


@pytest.mark.parametrize("value", [None, True, "5", [5], {}, 1_000_001, -1e7, 10**400])
def test_other_values_are_problems_that_name_them(value: object) -> None:
    (problem,) = check_px({"cx": value, "cy": 5}, "labels.json: annotations[3]")
    assert problem.where == "labels.json: annotations[3]"
    assert problem.found.startswith("cx = ")
    assert len(problem.found) < 80


def test_half_axes_must_be_greater_than_0() -> None:
    problems = check_px({"cx": -1, "rx": 0, "ry": -1e-9}, "here", positive=("rx", "ry"))
    assert [problem.found for problem in problems] == ["rx = 0", "ry = -1e-09"]
    assert all("greater than 0" in problem.expected for problem in problems)


def test_size_is_of_whole_numbers() -> None:
    assert parse_shape_hw(24, 32.0, "here") == (24, 32)
    for height, width in ((0, 32), (24, 32.5), (24, "32"), (None, None), (True, 1), (10**5, 10**5)):
        problem = parse_shape_hw(height, width, "here")
        assert isinstance(problem, Problem)
        assert problem.found == f"width = {width!r}, height = {height!r}"
