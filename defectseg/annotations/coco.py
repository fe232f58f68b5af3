"""Labels as COCO's instances: JSON files with ``images``, ``annotations`` and ``categories``.

A segmentation is a list of polygons, whose pixels all belong to the defect, or the run lengths of
a mask, as numbers or in COCO's own letters. Coordinates count from the corner of the upper left
pixel. An image without annotations is a good one. Several files, as ``instances_train.json`` and
``instances_val.json``, are joined: `prepare` divides the images anew, all in one way.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard

from defectseg.annotations.ellipse import FROM_CORNER, Ellipse
from defectseg.annotations.image_names import Entry, match_entries
from defectseg.annotations.json_files import (
    find_json,
    parse_shape_hw,
    read_json,
    shorten,
)
from defectseg.annotations.labels import DrawnImage, LabelSet, Shape, UnusableShape
from defectseg.annotations.outline import PixelMask, Polygon
from defectseg.annotations.tool_shapes import make_polygon
from defectseg.errors import Problem

NAME = "coco"
DESCRIPTION = "JSON of COCO's instances, with polygons or masks; and the images"

_CORRECT = "Correct or remove it."
_MOST_BITS = 40  # of a run length in letters
_LARGEST_GAP_PX = 0.1

_Id = int | str


def find(root: Path) -> list[Path]:
    """Return the JSON files below `root` that have COCO's keys."""
    return find_json(root, "images", "annotations", "file_name")


def read(root: Path) -> LabelSet:
    """Read all files and join them; what is wrong is in the result, not raised."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    unread: list[Problem] = []
    for path in find(root):
        data = _load(path)
        if isinstance(data, Problem):
            unread.append(data)
        else:
            entries += _read_file(data, path, path.parent.relative_to(root).as_posix(), problems)
    return match_entries(root, entries, problems, unread=unread)


def _load(path: Path) -> dict[str, Any] | Problem:
    data = read_json(path)
    if isinstance(data, Problem):
        return data
    keys = ("images", "annotations", "categories")
    if not isinstance(data, dict) or not all(isinstance(data.get(key, []), list) for key in keys):
        found = "other JSON, though it has the keys of COCO"
        expected = f"an object with the lists {', '.join(keys)}"
        return Problem(str(path), found, expected, "Export the labels anew.")
    return data


def _read_file(
    data: Mapping[str, Any], path: Path, folder: str, problems: list[Problem]
) -> list[Entry]:
    """Return what a file says of each of its images."""
    names = {
        record["id"]: str(record.get("name", ""))
        for _, record in _records(data, "categories", path, problems)
    }
    entries: dict[_Id, Entry | None] = {}
    for where, record in _records(data, "images", path, problems):
        entries[record["id"]] = _read_image(record, where, folder, problems)
    for where, record in _records(data, "annotations", path, problems):
        image_id = record.get("image_id")
        if not _is_id(image_id) or image_id not in entries:
            found = f"image_id = {shorten(image_id)}"
            problems.append(Problem(where, found, "the id of one of the images", _CORRECT))
            continue
        entry = entries[image_id]
        if entry is None or entry.shape_hw is None:
            continue  # what is wrong with the image has been said
        shapes, wrong = _read_annotation(record, where, names, entry.shape_hw)
        problems += wrong
        is_known = entry.is_known and not wrong
        entries[image_id] = replace(entry, shapes=(*entry.shapes, *shapes), is_known=is_known)
    return [entry for entry in entries.values() if entry is not None]


def _records(
    data: Mapping[str, Any], key: str, path: Path, problems: list[Problem]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the records of a list that can be told from each other, each with its place."""
    seen: set[_Id] = set()
    for number, record in enumerate(data.get(key, [])):
        where = f"{path}: {key}[{number}]"
        own = record.get("id") if isinstance(record, dict) else None
        if not isinstance(record, dict):
            problems.append(Problem(where, shorten(record), "an object", _CORRECT))
        elif not _is_id(own):
            problems.append(Problem(where, f"id = {shorten(own)}", "a number or text", _CORRECT))
        elif own in seen:
            found = f"the id {shorten(own)} twice"
            problems.append(Problem(where, found, f"{key} with an id each", _CORRECT))
        else:
            seen.add(own)
            yield f"{where} (id {own})", record


def _is_id(value: object) -> TypeGuard[_Id]:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _read_image(
    record: Mapping[str, Any], where: str, folder: str, problems: list[Problem]
) -> Entry | None:
    """Return an image without shapes so far; None if it has no name."""
    name = record.get("file_name")
    size = parse_shape_hw(record.get("height"), record.get("width"), where)
    shape_hw = None if isinstance(size, Problem) else size
    if isinstance(size, Problem):
        problems.append(size)
    if not isinstance(name, str) or not name:
        problems.append(Problem(where, f"file_name = {shorten(name)}", "a name", _CORRECT))
        return None
    return Entry(name, where, (), shape_hw, folder, is_known=shape_hw is not None)


def _read_annotation(
    record: Mapping[str, Any],
    where: str,
    names: Mapping[_Id, str],
    shape_hw: tuple[int, int],
) -> tuple[list[Shape | UnusableShape], list[Problem]]:
    """Return the shapes of an annotation, and what else is wrong with it."""
    category_id = record.get("category_id")
    if not _is_id(category_id) or category_id not in names:
        found = f"category_id = {shorten(category_id)}"
        return [], [Problem(where, found, "the id of one of the categories", _CORRECT)]
    name = names[category_id]
    labels = (name,) if name else ()
    segmentation = record.get("segmentation")
    if isinstance(segmentation, dict):
        mask = _read_mask(segmentation, where, labels, shape_hw)
        return [UnusableShape(labels, (mask,)) if isinstance(mask, Problem) else mask], []
    if not isinstance(segmentation, list) or not segmentation:
        found = f"no outline of {name!r} (segmentation = {shorten(segmentation)})"
        expected = "polygons or a mask; a box says too little"
        problem = Problem(where, found, expected, "Draw its outline, or remove it.")
        return [UnusableShape(labels, (problem,))], []
    if not all(isinstance(numbers, list) for numbers in segmentation):
        found, expected = shorten(segmentation), "polygons, as [[x, y, x, y, x, y]]"
        problem = Problem(f"{where}: segmentation", found, expected, _CORRECT)
        return [UnusableShape(labels, (problem,))], []
    shapes: list[Shape | UnusableShape] = []
    for number, numbers in enumerate(segmentation):
        polygon = _read_polygon(numbers, f"{where}: segmentation[{number}]", labels)
        if isinstance(polygon, list):
            shapes.append(UnusableShape(labels, tuple(polygon)))
        else:
            shapes.append(polygon)
    return shapes, []


def _read_polygon(
    numbers: list[Any], where: str, labels: tuple[str, ...]
) -> Polygon | list[Problem]:
    if len(numbers) < 6 or len(numbers) % 2:
        expected = "at least three corners, as [x, y, x, y, x, y]"
        return [Problem(where, shorten(numbers), expected, _CORRECT)]
    return make_polygon(
        [list(own) for own in zip(numbers[::2], numbers[1::2], strict=True)], where, labels
    )


def _read_mask(
    segmentation: Mapping[str, Any], where: str, labels: tuple[str, ...], shape_hw: tuple[int, int]
) -> PixelMask | Problem:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != list(shape_hw):
        found = f"a mask whose size is {shorten(size)}"
        return Problem(where, found, f"{list(shape_hw)}, height and width of its image", _CORRECT)
    runs = decode_counts(counts) if isinstance(counts, str) else counts
    if (
        not isinstance(runs, list)
        or not all(type(run) is int and run >= 0 for run in runs)
        or sum(runs) != math.prod(shape_hw)
    ):
        found = f"counts = {shorten(counts)}"
        expected = f"run lengths that make up {math.prod(shape_hw)} pixels"
        return Problem(where, found, expected, _CORRECT)
    return PixelMask(tuple(runs), shape_hw, where, labels)


def decode_counts(letters: str) -> list[int] | None:
    """Return the run lengths that COCO's letters mean; None if they mean none.

    A letter is 48 and six bits: five of a number, the lowest first, and one that says whether more
    follow. The highest bit of a number is its sign; from the fourth on, it is the difference from
    the number two places before.
    """
    runs: list[int] = []
    number = bits = 0
    for letter in letters:
        six = ord(letter) - ord("0")
        if not 0 <= six < 64 or bits > _MOST_BITS:
            return None
        number |= (six & 31) << bits
        bits += 5
        if six & 32:
            continue
        if six & 16:
            number -= 1 << bits
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number = bits = 0
    return None if bits else runs


def write(images: Sequence[DrawnImage]) -> str:
    """Return a file of labels in COCO's form, with a score for each annotation.

    COCO has no ellipses: one is written as a polygon of the same area that is nowhere further off
    than a tenth of a pixel.
    """
    labels = sorted({label for image in images for shape in image.shapes for label in shape.labels})
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(images, start=1):
        for shape, score in zip(image.shapes, image.scores, strict=True):
            own = {"id": len(annotations) + 1, "image_id": number}
            (label,) = shape.labels
            category = {"category_id": labels.index(label) + 1}
            annotations.append(own | category | _write_shape(shape) | {"score": round(score, 4)})
    data = {
        "images": [
            {
                "id": number,
                "file_name": image.name,
                "width": image.shape_hw[1],
                "height": image.shape_hw[0],
            }
            for number, image in enumerate(images, start=1)
        ],
        "annotations": annotations,
        "categories": [{"id": n, "name": label} for n, label in enumerate(labels, start=1)],
    }
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def _write_shape(shape: Ellipse | Polygon) -> dict[str, Any]:
    corners = shape.vertices_xy if isinstance(shape, Polygon) else _ellipse_corners(shape)
    xs = [round(x - FROM_CORNER, 2) for x, _ in corners]
    ys = [round(y - FROM_CORNER, 2) for _, y in corners]
    pairs = list(zip(xs, ys, strict=True))
    following = [*pairs[1:], pairs[0]]
    twice = sum(
        x * next_y - next_x * y for (x, y), (next_x, next_y) in zip(pairs, following, strict=True)
    )
    box = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
    return {
        "segmentation": [[value for pair in pairs for value in pair]],
        "area": round(abs(twice) / 2, 2),
        "bbox": [round(value, 2) for value in box],
        "iscrowd": 0,
    }


def _ellipse_corners(ellipse: Ellipse) -> list[tuple[float, float]]:
    # A chord of an n-th of a circle, t = 2π/n, is rt²/8 away from its arc: of this gap, equal area
    # moves two thirds to the outside of the corners.
    longest = max(ellipse.semi_major, ellipse.semi_minor)
    count = max(8, math.ceil(math.pi * math.sqrt(longest / 2 / _LARGEST_GAP_PX)))
    step = 2 * math.pi / count
    larger = math.sqrt(step / math.sin(step))  # n triangles of ½r² sin t make up πr² = ½nr²t
    cos, sin = math.cos(ellipse.angle), math.sin(ellipse.angle)
    corners = []
    for turn in range(count):
        along = larger * ellipse.semi_major * math.cos(step * turn)
        across = larger * ellipse.semi_minor * math.sin(step * turn)
        corners.append(
            (ellipse.x + along * cos - across * sin, ellipse.y + along * sin + across * cos)
        )
    return corners
