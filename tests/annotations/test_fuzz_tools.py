"""Files of drawing tools that nobody would write: records, named problems, or a `DataError`."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from defectseg.annotations.labels import LabelSet
from defectseg.dataset.masks import rasterise
from tests.annotations.test_fuzz import CELLS, read_checked

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str) -> str:
    """A golden file, without the length of an image, which is empty here."""
    return (GOLDEN / name).read_text(encoding="utf-8").replace("700", "-1")


CVAT = golden("cvat.xml")
ATTRIBUTES = [match.span(1) for match in re.finditer('="([^"]*)"', CVAT)]
JSON = {
    "coco": json.loads(golden("coco.json")),
    "label-studio": json.loads(golden("label_studio.json"))[:3],  # of others nobody knows the label
    "via": json.loads(golden("via_project.json")),
    "labelme": json.loads(golden("labelme.json")),
}
CONTENT = {kind: json.dumps(value).encode() for kind, value in JSON.items()}
CONTENT |= {"cvat": CVAT.encode(), "via table": golden("via_region_data.csv").encode()}
FILES = dict.fromkeys(JSON, "gear/labels.json")
FILES |= {"cvat": "annotations.xml", "via table": "regions.csv"}
IMAGES = {
    "coco": ("1.png", "2.png", "3.png"),
    "cvat": ("1.png", "2.png", "3.png"),
    "label-studio": ("part_1.png", "part 2.png", "part_3.png"),
    "via": ("part_1.png", "part_2.png"),
    "via table": ("part_1.png", "part_2.png"),
    "labelme": ("part_1.png", "part_2.png"),
}

# The same examples each time, however slow the machine.
steady = settings(
    deadline=None,
    derandomize=True,
    max_examples=80,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder a format with the images of its golden file, empty."""
    folders = {kind: tmp_path_factory.mktemp(kind.replace(" ", "-")) for kind in FILES}
    for kind, folder in folders.items():
        (folder / "gear").mkdir()
        for name in IMAGES[kind]:
            (folder / "gear" / name).touch()
    return folders


def read(folders: dict[str, Path], kind: str, data: bytes) -> LabelSet | None:
    """Write a file of labels, and read it; what is sound in it can be drawn."""
    (folders[kind] / FILES[kind]).write_bytes(data)
    labels = read_checked(folders[kind], kind.split()[0])
    for image in labels.images if labels else ():
        shape_hw = image.shape_hw or (24, 32)
        if max(shape_hw) < 5000:
            rasterise(image.shapes, shape_hw)
    return labels


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place within lists and objects."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, own in inner:
        yield (*path, key)
        if isinstance(own, dict | list):
            yield from places(own, (*path, key))


@pytest.mark.parametrize("kind", FILES)
def test_the_sound_file_has_no_problem(folders: dict[str, Path], kind: str) -> None:
    labels = read(folders, kind, CONTENT[kind])
    assert labels is not None
    assert labels.problems == labels.rows_without_image == labels.images_without_row == ()
    assert len(labels.images) == len(IMAGES[kind])


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),  # NaN and infinite ones too, as Python's json writes them
    st.text(max_size=8),
    st.sampled_from([0, 11, 24, 768, "11", 10**7, 10**30, 1e-320, "S34d00]c0", "../gear/1.png"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


PLACES = {kind: list(places(value)) for kind, value in JSON.items()}


@pytest.mark.parametrize("kind", JSON)
@given(number=st.integers(0, max(map(len, PLACES.values()))), value=VALUES)
@steady
def test_json_with_any_other_value_is_read_or_a_problem(
    folders: dict[str, Path], kind: str, number: int, value: object
) -> None:
    data = deepcopy(JSON[kind])
    *path, last = PLACES[kind][number % len(PLACES[kind])]
    record = data
    for key in path:
        record = record[key]
    record[last] = value
    read(folders, kind, json.dumps(data).encode("utf-8", "surrogatepass"))


@given(place=st.sampled_from(ATTRIBUTES), value=CELLS, escaped=st.booleans())
@steady
def test_cvat_with_any_other_attribute_is_read_or_a_problem(
    folders: dict[str, Path], place: tuple[int, int], value: str, escaped: bool
) -> None:
    if escaped:
        value = "".join(f"&#{ord(sign)};" for sign in value)
    text = CVAT[: place[0]] + value + CVAT[place[1] :]
    read(folders, "cvat", text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("kind", FILES)
@given(place=st.floats(0, 1), length=st.integers(0, 40), data=st.binary(max_size=6))
@steady
def test_damaged_file_is_read_or_a_problem(
    folders: dict[str, Path], kind: str, place: float, length: int, data: bytes
) -> None:
    sound = CONTENT[kind]
    begin = int(place * len(sound))
    read(folders, kind, sound[:begin] + data + sound[begin + length :])
