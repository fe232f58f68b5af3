"""The files of LabelMe: one JSON for each image that has defects.

LabelMe saves no image without a shape, so an image that no file names is a good one; so is one
whose last shape was removed. The image is looked for from the folder of its file; a copy of it that
is embedded is not read. Points are counted from the corner of the image; the two of a mask are the
first and the last of its pixels, counted from 0.
"""

import base64
import math
import posixpath
from collections.abc import Collection
from pathlib import Path
from typing import Any

from defectseg.annotations.image_names import Entry, match_entries
from defectseg.annotations.json_files import (
    all_json,
    check_px,
    find_json,
    parse_shape_hw,
    read_json,
    shorten,
)
from defectseg.annotations.labels import LabelSet, Shape, UnusableShape
from defectseg.annotations.outline import make_pixel_mask
from defectseg.annotations.tool_shapes import make_circle, make_polygon
from defectseg.errors import ImageReadError, Problem
from defectseg.image_io import decode_image, find_images, to_gray

NAME = "labelme"
DESCRIPTION = "images, and a JSON of LabelMe for each that has polygons, circles or masks"

_SAVE_AGAIN = "Open it in LabelMe and save it."


def find(root: Path) -> list[Path]:
    """Return the files of LabelMe below `root`."""
    return find_json(root, "shapes", "imagePath")


def read(root: Path) -> LabelSet:
    """Read all files; what is wrong is in the result, not raised."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    unread: list[Problem] = []
    files = find(root)
    for path in [*files, *_unknown_files(root, files)]:
        labels = read_json(path)
        if isinstance(labels, Problem):
            unread.append(labels)
            continue
        entry = _read_file(labels, path, root, problems)
        if entry:
            entries.append(entry)
    return match_entries(root, entries, problems, unread=unread, unnamed_are_good=True)


def _unknown_files(root: Path, known: Collection[Path]) -> list[Path]:
    """Return the other JSON files that have the name of an image.

    Each may be a file of LabelMe that was damaged, and its image be taken for good.
    """
    stems = {Path(image.relative).stem.lower() for image in find_images(root)[0]}
    others = sorted({*all_json(root)} - {*known})
    return [path for path in others if path.stem.lower() in stems]


def _read_file(labels: Any, path: Path, root: Path, problems: list[Problem]) -> Entry | None:
    """Return what a file says of its image; None if it cannot be told which one that is."""
    name = labels.get("imagePath") if isinstance(labels, dict) else None
    shapes = labels.get("shapes") if isinstance(labels, dict) else None
    if not isinstance(name, str) or not isinstance(shapes, list):
        found = f"imagePath = {shorten(name)}, shapes = {shorten(shapes)}"
        problems.append(Problem(str(path), found, "a name and a list of shapes", _SAVE_AGAIN))
        return None
    folder = path.parent.relative_to(root).as_posix()
    name = posixpath.normpath(posixpath.join(folder, name.replace("\\", "/")))
    own_problems: list[Problem] = []
    shape_hw = _read_size(labels, path, own_problems)
    known: list[Shape | UnusableShape] = []
    for number, shape in enumerate(shapes):
        where = f"{path}: shapes[{number}]"
        if not isinstance(shape, dict):
            own_problems.append(Problem(where, shorten(shape), "a shape", _SAVE_AGAIN))
            continue
        label = shape.get("label")
        own = (label,) if isinstance(label, str) and label else ()
        read = _read_shape(shape, shape_hw, where, own)
        known.append(UnusableShape(own, tuple(read)) if isinstance(read, list) else read)
    flags = labels.get("flags")
    if not shapes and isinstance(flags, dict) and any(flags.values()):
        found = f"{', '.join(flag for flag in flags if flags[flag])} without a shape"
        expected = "a defect that is drawn; of a good image, nothing"
        own_problems.append(Problem(str(path), found, expected, "Draw it, or remove the flag."))
    problems += own_problems
    return Entry(name, str(path), tuple(known), shape_hw, is_known=not own_problems)


def _read_size(
    labels: dict[str, Any], path: Path, problems: list[Problem]
) -> tuple[int, int] | None:
    """Return the size of the image; None from a version of LabelMe that did not note it."""
    height, width = labels.get("imageHeight"), labels.get("imageWidth")
    if height is None and width is None:
        return None
    shape_hw = parse_shape_hw(height, width, str(path))
    if isinstance(shape_hw, Problem):
        problems.append(shape_hw)
        return None
    return shape_hw


def _read_shape(
    shape: dict[str, Any], shape_hw: tuple[int, int] | None, where: str, labels: tuple[str, ...]
) -> Shape | list[Problem]:
    kind = str(shape.get("shape_type") or "polygon")  # of old files, that knew no other
    points = shape.get("points")
    if kind == "polygon":
        return make_polygon(points, where, labels)
    if kind not in {"circle", "mask"}:
        found = f"a shape of the type {kind[:60]!r}"
        return [Problem(where, found, "polygon, circle or mask", "Draw one of these instead.")]
    if not isinstance(points, list) or [_length(point) for point in points] != [2, 2]:
        return [Problem(where, f"points = {shorten(points)}", "two points", "Draw it anew.")]
    (x, y), (other_x, other_y) = points
    numbers = {"x": x, "y": y, "x of the second point": other_x, "y of the second point": other_y}
    problems = check_px(numbers, where)
    if problems:
        return problems
    if kind == "circle":
        circle = {"x": x, "y": y, "radius": math.hypot(other_x - x, other_y - y)}
        return make_circle(circle, where, labels)
    return _read_mask(shape.get("mask"), points, shape_hw, where, labels)


def _length(value: object) -> int:
    return len(value) if isinstance(value, list) else 0


def _read_mask(
    code: object,
    points: list[list[float]],
    shape_hw: tuple[int, int] | None,
    where: str,
    labels: tuple[str, ...],
) -> Shape | list[Problem]:
    """Return a mask, which is stored as a PNG of 0 and 1 in base64."""
    try:
        picture = decode_image(
            base64.b64decode(code if isinstance(code, str) else "", validate=True)
        )
    except ValueError:
        found, expected = f"mask = {shorten(code)}", "a PNG in base64"
        return [Problem(where, found, expected, _SAVE_AGAIN)]
    except ImageReadError as error:
        reason = str(error).partition("; expected")[0]
        return [Problem(where, f"a mask that {reason}", "a PNG in base64", _SAVE_AGAIN)]
    (left, top), (right, bottom) = points
    height, width = picture.shape[:2]
    # Corners may be fractions since the shape was moved.
    if max(abs(right - left + 1 - width), abs(bottom - top + 1 - height)) > 1:
        found = f"a mask of {width}×{height} pixels from {points[0]} to {points[1]}"
        return [Problem(where, found, "one that fills these corners", "Draw it anew.")]
    if shape_hw is None:
        found = "a mask in an image of unknown size"
        return [Problem(where, found, "imageHeight and imageWidth", _SAVE_AGAIN)]
    x, y = round(left), round(top)
    inside = to_gray(picture)[max(-y, 0) :, max(-x, 0) :]  # a shape may be moved over the border
    x, y = min(max(x, 0), shape_hw[1]), min(max(y, 0), shape_hw[0])
    inside = inside[: shape_hw[0] - y, : shape_hw[1] - x]
    return make_pixel_mask(inside > 0, x, y, shape_hw, where, labels)
