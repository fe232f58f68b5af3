"""VGG Image Annotator, version 2 (and 1): its project, its JSON export and its CSV export.

An image that is listed and has no region is a good one. Places are in pixels, counted from the
corner of the image; an ellipse is turned by `theta` radians clockwise, which old versions do not
write. The tool notes how many bytes an image file has, and -1 where it does not know: another file
of the same name is so told from the one that was labelled.
"""

import csv
import io
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from defectseg.annotations.image_names import Entry, match_entries
from defectseg.annotations.json_files import (
    find_json,
    parse_json,
    read_json,
    read_utf8,
    shorten,
)
from defectseg.annotations.labels import LabelSet, Shape, UnusableShape
from defectseg.annotations.tool_shapes import make_circle, make_ellipse, make_polygon
from defectseg.errors import Problem

NAME = "via"
DESCRIPTION = "images, and a project, JSON or CSV of VGG Image Annotator with ellipses or polygons"

_COLUMNS = (
    "filename",
    "file_size",
    "file_attributes",
    "region_count",
    "region_id",
    "region_shape_attributes",
    "region_attributes",
)
_ATTRIBUTES = "region_attributes"
_SAVE_AGAIN = "Export the annotations anew."


@dataclass
class _Listed:
    """What a file says of an image: its name and size, and of each region the two attributes.

    `count` is how many regions there should be, where that is said.
    """

    where: str
    name: object
    size: object
    regions: list[tuple[str, object, object]] = field(default_factory=list)
    count: str = ""


def find(root: Path) -> list[Path]:
    """Return the projects and exports below `root`."""
    tables = (path for path in root.rglob("*") if path.suffix.lower() == ".csv")
    return sorted(
        [
            *find_json(root, "filename", "regions", "file_attributes"),
            *(path for path in tables if is_via_table(path)),
        ]
    )


def is_via_table(path: Path) -> bool:
    """Tell whether a file is a CSV export, by its first line."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        header = file.readline(1000)
    return b"region_shape_attributes" in header and b"filename" in header


def read(root: Path) -> LabelSet:
    """Read all files; what is wrong is in the result, not raised."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    unread: list[Problem] = []
    for path in find(root):
        folder = path.parent.relative_to(root).as_posix()
        list_images = _list_rows if path.suffix.lower() == ".csv" else _list_project
        for image in list_images(path, unread):
            entry = _read_image(image, problems)
            if entry:
                entries.append(replace(entry, folder=folder))
    return match_entries(root, entries, problems, unread=unread)


def _list_project(path: Path, problems: list[Problem]) -> list[_Listed]:
    """Return the images of a project or of a JSON export."""
    labels: Any = read_json(path)
    if isinstance(labels, Problem):
        problems.append(labels)
        return []
    if isinstance(labels, dict):
        labels = labels.get("_via_img_metadata", labels)
    if not isinstance(labels, dict):
        found, expected = shorten(labels), "an object with an entry for each image"
        problems.append(Problem(str(path), found, expected, _SAVE_AGAIN))
        return []
    listed: list[_Listed] = []
    for key, image in labels.items():
        where = f"{path}: {key[:200]}"
        regions = image.get("regions") if isinstance(image, dict) else None
        if isinstance(regions, dict):  # of version 1, by their numbers
            regions = list(regions.values())
        if not isinstance(regions, list) or not all(isinstance(own, dict) for own in regions):
            found, expected = shorten(image), "an image with a list of regions"
            problems.append(Problem(where, found, expected, _SAVE_AGAIN))
            continue
        own = [
            (f"{where}: regions[{n}]", region.get("shape_attributes"), region.get(_ATTRIBUTES))
            for n, region in enumerate(regions)
        ]
        listed.append(_Listed(where, image.get("filename"), image.get("size"), own))
    return listed


def _list_rows(path: Path, problems: list[Problem]) -> list[_Listed]:
    """Return the images of a CSV export, which has a row for each region."""
    text = read_utf8(path)
    if isinstance(text, Problem):
        problems.append(text)
        return []
    rows = csv.reader(io.StringIO(text, newline=""))
    listed: dict[tuple[str, str], _Listed] = {}
    try:
        header = next(rows)
        if len(header) < len(_COLUMNS) and ";" in "".join(header):
            found, expected = "columns with ; between them", "commas, as VIA writes them"
            fix = "Export the annotations anew, and do not save them from a spreadsheet."
            problems.append(Problem(f"{path}:1", found, expected, fix))
            return []
        for row in rows:
            where = f"{path}:{rows.line_num}"
            if len(row) == len(_COLUMNS):
                name, size, _, count, _, shape, attributes = row
                known = _Listed(where, name, _to_int(size), count=count)
                image = listed.setdefault((name, size), known)
                if count.strip() != "0":
                    image.regions.append((where, shape, attributes))
            elif any(row):
                found = f"{len(row)} columns: {','.join(row)[:60]!r}"
                expected = f"{len(_COLUMNS)}: " + ", ".join(_COLUMNS)
                problems.append(Problem(where, found, expected, "Correct or remove the row."))
    except csv.Error as error:
        problems.append(Problem(f"{path}:{rows.line_num}", str(error), "a CSV", _SAVE_AGAIN))
    return list(listed.values())


def _to_int(text: str) -> object:
    try:
        return int(text)
    except ValueError:
        return text


def _read_image(image: _Listed, problems: list[Problem]) -> Entry | None:
    """Return what is said of an image; None if it cannot be told which one that is."""
    if not isinstance(image.name, str):
        found, expected = f"filename = {shorten(image.name)}", "the name of an image"
        problems.append(Problem(image.where, found, expected, _SAVE_AGAIN))
        return None
    own_problems: list[Problem] = []
    shapes: list[Shape | UnusableShape] = []
    for where, *texts in image.regions:
        shape, attributes = (_parse(text, where) for text in texts)
        wrong = [value for value in (shape, attributes) if isinstance(value, Problem)]
        if wrong:
            own_problems += wrong
            continue
        labels = _tell_labels(attributes)
        read = _read_region(shape, labels, where)
        shapes.append(UnusableShape(labels, tuple(read)) if isinstance(read, list) else read)
    if image.count.strip() not in {"", str(len(image.regions))}:
        found = f"{len(image.regions)} region(s) of {image.name!r}, region_count = {image.count!r}"
        own_problems.append(Problem(image.where, found, "a row for each region", _SAVE_AGAIN))
    problems += own_problems
    length = image.size if isinstance(image.size, int) and image.size > 0 else None
    is_known = not own_problems
    return Entry(image.name, image.where, tuple(shapes), file_bytes=length, is_known=is_known)


def _parse(attributes: object, where: str) -> object:
    """Return attributes as they are in a project; in a table they are text."""
    return parse_json(attributes, where) if isinstance(attributes, str) else attributes


def _read_region(shape: object, labels: tuple[str, ...], where: str) -> Shape | list[Problem]:
    if not isinstance(shape, dict):
        found = f"shape_attributes = {shorten(shape)}"
        return [Problem(where, found, "a shape", _SAVE_AGAIN)]
    kind = shape.get("name")
    if kind == "ellipse":
        numbers = {name: shape.get(name) for name in ("cx", "cy", "rx", "ry")}
        return make_ellipse({**numbers, "theta": shape.get("theta", 0)}, where, labels)
    if kind == "circle":
        return make_circle({name: shape.get(name) for name in ("cx", "cy", "r")}, where, labels)
    if kind != "polygon":
        found, fix = f"a region of the shape {shorten(kind)}", "Draw one of these instead."
        return [Problem(where, found, "ellipse, circle or polygon", fix)]
    columns, rows = shape.get("all_points_x"), shape.get("all_points_y")
    if not isinstance(columns, list) or not isinstance(rows, list) or len(columns) != len(rows):
        found = f"all_points_x = {shorten(columns)}, all_points_y = {shorten(rows)}"
        return [Problem(where, found, "two lists of the same length", "Draw it anew.")]
    points = [[x, y] for x, y in zip(columns, rows, strict=True)]
    return make_polygon(points, where, labels)


def _tell_labels(attributes: object) -> tuple[str, ...]:
    """Return what the attributes of a region say; of a group of boxes, those that are ticked."""
    words: list[str] = []
    for value in attributes.values() if isinstance(attributes, dict) else ():
        ticked = [key for key in value if value[key]] if isinstance(value, dict) else [value]
        words += [word for word in ticked if isinstance(word, str) and word]
    return tuple(words)
