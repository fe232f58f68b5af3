from collections.abc import Callable
from pathlib import Path

import pytest

from defectseg.annotations.layouts import READERS, detect_layout, read_labels
from defectseg.errors import DataError
from tests.annotations import (
    test_article,
    test_coco,
    test_competition,
    test_cvat,
    test_label_studio,
    test_labelme,
    test_mask_pairs,
    test_table,
    test_via,
)

Maker = Callable[[Path], Path]


def make_table(root: Path) -> Path:
    return test_table.make(root, test_table.HEADER, *test_table.SOUND)


MAKERS: dict[str, Maker] = {
    "article": test_article.make,
    "competition": test_competition.make,
    "table": make_table,
    "mask-pairs": test_mask_pairs.make,
    "cvat": test_cvat.make,
    "coco": test_coco.make,
    "label-studio": test_label_studio.make,
    "via": test_via.make,
    "labelme": test_labelme.make,
}


@pytest.mark.parametrize("layout", READERS)
def test_each_layout_is_told_by_what_is_in_it(tmp_path: Path, layout: str) -> None:
    assert detect_layout(MAKERS[layout](tmp_path)) == layout


@pytest.mark.parametrize(
    "pair",
    [
        ("article", "competition"),
        ("article", "table"),
        ("table", "mask-pairs"),
        ("cvat", "coco"),
        ("coco", "label-studio"),
        ("label-studio", "via"),
        ("via", "labelme"),
    ],
    ids=" ".join,
)
def test_mixed_layouts_are_refused_and_both_named(tmp_path: Path, pair: tuple[str, str]) -> None:
    for layout in pair:
        MAKERS[layout](tmp_path)
    with pytest.raises(DataError) as caught:
        detect_layout(tmp_path)
    problems = caught.value.problems
    assert all(repr(name) in problem.found for name, problem in zip(pair, problems, strict=True))
    assert [problem.fix.rpartition(" ")[2] for problem in problems] == [f"{p}." for p in pair]


def test_a_table_of_via_is_no_table_of_ours(tmp_path: Path) -> None:
    root = test_via.make(tmp_path, test_via.FILES[2])
    assert detect_layout(root) == "via"
    make_table(root)
    with pytest.raises(DataError, match="mixes 2 layouts"):
        detect_layout(root)
    assert len(read_labels(root, "via").images) == 2


def test_mixture_can_be_read_as_the_layout_that_is_named(tmp_path: Path) -> None:
    make_table(test_article.make(tmp_path))
    assert len(read_labels(tmp_path, "article").images) == 4


@pytest.mark.parametrize("kind", ["missing", "empty", "a file", "unknown"])
def test_folder_without_labels_is_refused(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "raw"
    if kind == "a file":
        folder.touch()
    elif kind != "missing":
        folder.mkdir()
    if kind == "unknown":
        (folder / "notes.txt").touch()
    words = {
        "missing": "is not a folder",
        "a file": "is not a folder",
        "empty": "is empty",
        "unknown": "none of the known layouts",
    }
    with pytest.raises(DataError, match=words[kind]) as caught:
        detect_layout(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("layout", READERS)
@pytest.mark.parametrize("exists", [True, False])
def test_named_layout_that_is_not_there_is_refused(
    tmp_path: Path, layout: str, exists: bool
) -> None:
    folder = tmp_path if exists else tmp_path / "missing"
    with pytest.raises(DataError, match=f"nothing of the layout '{layout}'"):
        read_labels(folder, layout)


def test_unknown_layout_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected one of auto, article, competition, table, mask"):
        read_labels(tmp_path, "voc")


@pytest.mark.parametrize(
    ("name", "content", "found", "advice"),
    [
        ("export.zip", "PK\x03\x04", "an archive", "Unpack it"),
        ("a/1.xml", "<?xml version='1.0'?>\n<annotation>\n<folder>", "Pascal VOC", "too little"),
        ("a/1.xml", "<annotation verified='yes'>", "Pascal VOC", "outlines or ellipses"),
        ("a/1.txt", "0 0.5 0.25 0.1 0.2\n1 1 0 0.5 0.5\n", "YOLO", "too little"),
        (
            "via.json",
            '{"project":{"pid":"__VIA_PROJECT_ID__",',
            "VGG Image Annotator 3",
            "version 2",
        ),
        ("a/other.json", '{"project":{"name":"gears"}}', "", ""),
        ("a/notes.txt", "3 parts were looked at\n", "", ""),
        ("a/other.xml", "<settings/>", "", ""),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, name: str, content: str, found: str, advice: str
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match="none of the known layouts") as caught:
        detect_layout(tmp_path)
    problems = caught.value.problems
    assert len(problems) == bool(found)
    assert all(found in own.found and advice in str(own) for own in problems)
