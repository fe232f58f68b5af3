"""The JSON export of Label Studio: ellipses, polygons and what was painted with the brush.

An annotation on which nothing is drawn makes its image a good one. Of a task that nobody annotated,
or everybody skipped, the label is not known. Predictions are nobody's labels and are not read.

As Label Studio draws them, places and sizes are in percent of the image's width and height, counted
from its upper left corner; the radii are along the axes of the image as it is before the ellipse is
turned, about its centre, by degrees clockwise.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from defectseg.annotations.brush_rle import decode_brush
from defectseg.annotations.ellipse import LARGEST_PX
from defectseg.annotations.image_names import Entry, match_entries, path_of
from defectseg.annotations.json_files import (
    find_json,
    is_number,
    parse_shape_hw,
    read_json,
    shorten,
)
from defectseg.annotations.labels import LabelSet, Shape, UnusableShape
from defectseg.annotations.outline import make_pixel_mask
from defectseg.annotations.tool_shapes import make_ellipse, make_polygon
from defectseg.errors import Problem
from defectseg.image_io import IMAGE_SUFFIXES

NAME = "label-studio"
DESCRIPTION = "images, and the JSON export of Label Studio with ellipses, polygons or brush masks"

_FORM = "the export that Label Studio calls JSON"
_DRAW = "Draw an ellipse or a polygon instead, or use the brush."

# What says something of an image or of a shape, and is no shape.
_WORDS = frozenset(
    {"choices", "datetime", "labels", "number", "ranker", "rating", "relation", "taxonomy"}
    | {"textarea"}
)
# Uploaded files get eight digits before their name.
_UPLOADED = re.compile(r"(?:.*/)?data/upload/(?:[0-9]+/)?[0-9a-f]{8}-([^/?#]+)(?=[?#]|$)")
# Files of the server's own disk. The name need not be quoted, so that & and # may be of it.
_LOCAL = re.compile(
    r"(?:[^?#]*/)?data/local-files/?\?(?:.*?&)??d=(?P<all>(?P<part>[^&#]*).*)", re.DOTALL
)


def find(root: Path) -> list[Path]:
    """Return the exports below `root`, also those that Label Studio calls JSON-MIN."""
    files = {
        *find_json(root, "annotations", "data"),
        *find_json(root, "annotation_id", "lead_time"),
    }
    return sorted(path for path in files if _is_list(path))


def _is_list(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(100).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")


def read(root: Path) -> LabelSet:
    """Read all exports; what is wrong is in the result, not raised."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    unread: list[Problem] = []
    for path in find(root):
        tasks = read_json(path)
        if isinstance(tasks, Problem):
            unread.append(tasks)
            continue
        if any(isinstance(task, dict) and "annotation_id" in task for task in tasks):
            found = "an export that Label Studio calls JSON-MIN"
            unread.append(Problem(str(path), found, _FORM, "Export the project in that form."))
            continue
        folder = path.parent.relative_to(root).as_posix()
        for number, task in enumerate(tasks):
            entry = _read_task(task, f"{path}: [{number}]", problems)
            if entry:
                entries.append(replace(entry, folder=folder))
    return match_entries(root, entries, problems, unread=unread)


def _read_task(task: Any, where: str, problems: list[Problem]) -> Entry | None:
    """Return what a task says of its image; None if its label is not known."""
    annotations = task.get("annotations") if isinstance(task, dict) else None
    if not isinstance(annotations, list) or not all(isinstance(own, dict) for own in annotations):
        problems.append(Problem(where, "no list of annotations", _FORM, "Export the project anew."))
        return None
    address = _image_address(task.get("data"))
    if address is None:
        found = f"data = {shorten(task.get('data'))}"
        fix = "Name it 'image', or remove the task."
        problems.append(Problem(where, found, "the name of one image", fix))
        return None
    done = [number for number, own in enumerate(annotations) if not own.get("was_cancelled")]
    chosen = [number for number in done if annotations[number].get("ground_truth")] or done
    if not chosen:
        return None
    name, uploaded_as = _file_names(address)
    if len(chosen) > 1:
        found = f"{len(chosen)} annotations of {name!r}"
        expected = "one, or one that is marked as ground truth"
        fix = "Mark the one that holds with the star, or remove the others."
        problems.append(Problem(where, found, expected, fix))
        return Entry(name, where, (), uploaded_as=uploaded_as, is_known=False)
    where = f"{where}.annotations[{chosen[0]}]"
    own_problems: list[Problem] = []
    shapes, sizes = _read_result(annotations[chosen[0]].get("result"), where, own_problems)
    problems += own_problems
    shape_hw = next(iter(sizes), None)
    is_known = not own_problems
    return Entry(name, where, tuple(shapes), shape_hw, uploaded_as=uploaded_as, is_known=is_known)


def _image_address(data: object) -> str | None:
    """Return the one image that a task shows; that called image, if it shows several."""
    texts = {key: text for key, text in _items(data) if isinstance(text, str)}
    images = {key: text for key, text in texts.items() if _is_image(_file_names(text)[0])}
    if len(images) == 1:
        return next(iter(images.values()))
    return images.get("image")


def _items(value: object) -> list[tuple[str, object]]:
    return list(value.items()) if isinstance(value, dict) else []


def _file_names(address: str) -> tuple[str, str]:
    """Return the path in an address, and the name that an uploaded file had before, or nothing."""
    local = _LOCAL.fullmatch(address)
    if local:
        return unquote(local["all" if _is_image(local["all"]) else "part"]), ""
    path = path_of(address)
    uploaded = _UPLOADED.match(path)
    if uploaded:  # its name holds no % of its own
        return unquote(uploaded[0]), unquote(uploaded[1])
    return path, ""


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def _read_result(
    result: object, where: str, problems: list[Problem]
) -> tuple[list[Shape | UnusableShape], set[tuple[int, int]]]:
    """Return the shapes of an annotation, and the sizes of the image that it was drawn on."""
    shapes: list[Shape | UnusableShape] = []
    sizes: set[tuple[int, int]] = set()
    if not isinstance(result, list) or not all(isinstance(item, dict) for item in result):
        problems.append(Problem(where, f"result = {shorten(result)}", "a list of shapes", _DRAW))
        return shapes, sizes
    places = [f"{where}.result[{number}]" for number in range(len(result))]
    names = _names_by_region(result)
    drawn = {str(item.get("id")) for item in result if str(item.get("type")) not in _WORDS}
    for item, place in zip(result, places, strict=True):
        kind, region = str(item.get("type")), str(item.get("id"))
        if kind in _WORDS:
            # It names a region, but nobody knows of what form.
            if kind == "labels" and region not in drawn:
                problems.append(Problem(place, "labels without a shape", "a shape", _DRAW))
            continue
        value = item.get("value")
        labels = tuple(_texts(value, kind) or names.get(region, []))
        shape_hw = _shape_hw(item, place)
        if isinstance(shape_hw, Problem):
            shapes.append(UnusableShape(labels, (shape_hw,)))
            continue
        sizes.add(shape_hw)
        shape = _read_shape(kind, value if isinstance(value, dict) else {}, shape_hw, place, labels)
        shapes.append(UnusableShape(labels, tuple(shape)) if isinstance(shape, list) else shape)
    if len(sizes) > 1:
        found = " and ".join(sorted(f"{width}×{height}" for height, width in sizes))
        fix = "Export the project anew."
        problems.append(Problem(where, f"sizes of the image {found}", "one", fix))
    pictures = {str(item.get("to_name")) for item in result if str(item.get("type")) not in _WORDS}
    if len(pictures) > 1:
        found = f"shapes on several pictures of a task: {', '.join(sorted(pictures))[:60]}"
        fix = "Give each picture a task of its own."
        problems.append(Problem(where, found, "shapes on one", fix))
    if result and not drawn:
        found = f"{shorten(result[0].get('type'))} without a shape"
        expected = "a defect that is drawn; of a good image, nothing"
        fix = "Draw it; if the image is good, remove what is said of it and submit it so."
        problems.append(Problem(where, found, expected, fix))
    return shapes, sizes


def _names_by_region(result: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the labels that are written apart from the shapes, by the id that they share."""
    return {
        str(item.get("id")): _texts(item.get("value"), "labels")
        for item in result
        if item.get("type") == "labels"
    }


def _texts(value: object, key: str) -> list[str]:
    texts = value.get(key) if isinstance(value, dict) else None
    return (
        [text for text in texts if isinstance(text, str) and text]
        if isinstance(texts, list)
        else []
    )


def _shape_hw(item: Mapping[str, Any], where: str) -> tuple[int, int] | Problem:
    """Return the size of the image, upright and as large as the labels were drawn on."""
    turn = item.get("image_rotation", 0)
    if turn != 0:
        found = f"image_rotation = {shorten(turn)}"
        fix = "Turn the image back in Label Studio, and look whether the shapes fit."
        return Problem(where, found, "0: shapes are drawn on the file as it is", fix)
    return parse_shape_hw(item.get("original_height"), item.get("original_width"), where)


def _read_shape(
    kind: str, value: dict[str, Any], shape_hw: tuple[int, int], where: str, labels: tuple[str, ...]
) -> Shape | list[Problem]:
    height, width = shape_hw
    if kind in {"ellipse", "ellipselabels"}:
        wholes = {"x": width, "y": height, "radiusX": width, "radiusY": height}
        numbers = {
            f"{name} in pixels": _to_px(value.get(name), whole) for name, whole in wholes.items()
        }
        numbers["rotation"] = value.get("rotation", 0)
        return make_ellipse(numbers, where, labels, unit=math.radians(1))
    if kind in {"polygon", "polygonlabels"}:
        points = value.get("points")
        if value.get("closed") is False:
            found, fix = "a polygon that is not closed", "Close it in Label Studio, or remove it."
            return [Problem(where, found, "one that was drawn to its end", fix)]
        if isinstance(points, list):
            points = [
                [_to_px(own, whole) for own, whole in zip(point, (width, height), strict=True)]
                if isinstance(point, list) and len(point) == 2
                else point
                for point in points
            ]
        return make_polygon(points, where, labels)
    if kind in {"brush", "brushlabels"}:
        code = value.get("rle")
        try:
            painted = decode_brush(code if isinstance(code, list) else [], shape_hw)
        except ValueError as error:
            found, expected = f"run lengths with {error}", "those of Label Studio's brush"
            return [Problem(where, found, expected, "Export the project anew.")]
        return make_pixel_mask(painted, 0, 0, shape_hw, where, labels)
    found = f"a shape of the type {kind[:60]!r}"
    return [Problem(where, found, "ellipse, polygon or brush", _DRAW)]


def _to_px(percent: object, whole: int) -> object:
    """Return a share of the width or height in pixels; what is no such number as it is."""
    if not is_number(percent) or abs(percent) > LARGEST_PX:
        return percent
    return percent * whole / 100
