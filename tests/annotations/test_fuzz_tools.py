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
COCO = json.loads((GOLDEN / "coco.json").read_text(encoding="utf-8"))
CVAT = (GOLDEN / "cvat.xml").read_text(encoding="utf-8")
ATTRIBUTES = [match.span(1) for match in re.finditer('="([^"]*)"', CVAT)]
CONTENT = {"coco": json.dumps(COCO).encode(), "cvat": CVAT.encode()}
FILES = {"coco": "instances.json", "cvat": "annotations.xml"}

# The same examples each time, however slow the machine.
steady = settings(
    deadline=None,
    derandomize=True,
    max_examples=80,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder a format with the three images of its golden file, empty."""
    folders = {layout: tmp_path_factory.mktemp(layout) for layout in FILES}
    for folder in folders.values():
        (folder / "gear").mkdir()
        for name in ("1.png", "2.png", "3.png"):
            (folder / "gear" / name).touch()
    return folders


def read(folders: dict[str, Path], layout: str, data: bytes) -> LabelSet | None:
    """Write a file of labels, and read it; what is sound in it can be drawn."""
    (folders[layout] / FILES[layout]).write_bytes(data)
    labels = read_checked(folders[layout], layout)
    for image in labels.images if labels else ():
        assert image.shape_hw is not None
        if max(image.shape_hw) < 5000:
            rasterise(image.shapes, image.shape_hw)
    return labels


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place within lists and objects."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, own in inner:
        yield (*path, key)
        if isinstance(own, dict | list):
            yield from places(own, (*path, key))


@pytest.mark.parametrize("layout", FILES)
def test_the_sound_file_has_no_problem(folders: dict[str, Path], layout: str) -> None:
    labels = read(folders, layout, CONTENT[layout])
    assert labels is not None
    assert labels.problems == labels.rows_without_image == labels.images_without_row == ()
    assert len(labels.images) == 3


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


@given(place=st.sampled_from(list(places(COCO))), value=VALUES)
@steady
def test_coco_with_any_other_value_is_read_or_a_problem(
    folders: dict[str, Path], place: tuple[Any, ...], value: object
) -> None:
    data = deepcopy(COCO)
    record = data
    for key in place[:-1]:
        record = record[key]
    record[place[-1]] = value
    read(folders, "coco", json.dumps(data).encode("utf-8", "surrogatepass"))


@given(place=st.sampled_from(ATTRIBUTES), value=CELLS, escaped=st.booleans())
@steady
def test_cvat_with_any_other_attribute_is_read_or_a_problem(
    folders: dict[str, Path], place: tuple[int, int], value: str, escaped: bool
) -> None:
    if escaped:
        value = "".join(f"&#{ord(sign)};" for sign in value)
    text = CVAT[: place[0]] + value + CVAT[place[1] :]
    read(folders, "cvat", text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("layout", FILES)
@given(place=st.floats(0, 1), length=st.integers(0, 40), data=st.binary(max_size=6))
@steady
def test_damaged_file_is_read_or_a_problem(
    folders: dict[str, Path], layout: str, place: float, length: int, data: bytes
) -> None:
    sound = CONTENT[layout]
    begin = int(place * len(sound))
    read(folders, layout, sound[:begin] + data + sound[begin + length :])
