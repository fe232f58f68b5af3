"""Shapes that say too little: a problem, unless shapes of their label are left out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from defectseg.dataset.prepare import prepare
from defectseg.errors import ConfigError, DataError
from tests.annotations import test_coco, test_cvat, test_label_studio, test_labelme, test_via
from tests.annotations.folders import refused


def make_cvat(root: Path) -> Path:
    box = '<box label="part" xtl="2" ytl="2" xbr="20" ybr="9"/>'
    text = test_cvat.GOLDEN.read_text(encoding="utf-8")
    return test_cvat.make(root, text.replace("<ellipse", f"{box}<ellipse"))


def make_coco(root: Path) -> Path:
    data = test_coco.changed("categories", 0)
    data["categories"].append({"id": 9, "name": "part"})
    for number, outline in enumerate(([], [[1, 2]], {"size": [1, 1], "counts": [1]})):
        annotation = {"id": 40 + number, "image_id": 11, "category_id": 9, "segmentation": outline}
        data["annotations"].append(annotation)
    return test_coco.make(root, data)


def make_labelme(root: Path) -> Path:
    box = {"label": "part", "shape_type": "rectangle", "points": [[2, 2], [9, 9]]}
    return test_labelme.make(root, lambda labels: labels["shapes"].append(box))


def make_via(root: Path) -> Path:
    def change(images: dict[str, Any]) -> None:
        shape = {"name": "rect", "x": 2, "y": 2, "width": 9, "height": 9}
        own = {"shape_attributes": shape, "region_attributes": {"kind": "part"}}
        images["part_1.png"]["regions"].append(own)

    return test_via.make(root, change=change)


def make_label_studio(root: Path) -> Path:
    def change(tasks: list[Any]) -> None:
        own = dict(test_label_studio.result(tasks), id="box", type="rectanglelabels")
        own["value"] = {"x": 1, "y": 1, "width": 9, "height": 9, "rectanglelabels": ["part"]}
        tasks[0]["annotations"][0]["result"].append(own)

    return test_label_studio.make(root, change)


MAKERS: dict[Callable[[Path], Path], str] = {
    make_cvat: "scratch",
    make_coco: "scratch",
    make_labelme: "dent",
    make_via: "scratch",
    make_label_studio: "scratch",
}


@pytest.mark.parametrize("make", MAKERS)
def test_a_shape_that_is_left_out_may_be_of_any_form(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    raw, label = make(tmp_path / "raw"), MAKERS[make]
    assert refused(raw)
    (summary,) = prepare(raw, tmp_path / "out", defect_labels=[label], val=0, test=0)[1]
    assert summary.defective > 0
    assert summary.shapes["part"] == (3 if make is make_coco else 1)
    with pytest.raises(DataError):
        prepare(raw, tmp_path / "out2", defect_labels=[label, "part"])


def test_a_label_that_no_shape_has_is_said_after_what_is_wrong(tmp_path: Path) -> None:
    raw = make_cvat(tmp_path / "raw")
    with pytest.raises(DataError, match="a box of 'part'"):
        prepare(raw, tmp_path / "out", defect_labels=["part", "dent"])
    with pytest.raises(ConfigError, match="'dent'; expected some of part, scratch, seen, stain"):
        prepare(raw, tmp_path / "out", defect_labels=["scratch", "dent"])
