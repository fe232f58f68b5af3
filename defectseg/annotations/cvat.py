"""Labels drawn in CVAT: XML files of the format "CVAT for images 1.1".

An image without shapes is a good one, unless it has a ``<tag>``: that says that something is there,
but not where. Beside a shape that is taken for a defect a tag is passed over. Coordinates count
from the corner of the upper left pixel, an ellipse has half-axes, and its ``rotation`` is in
degrees, clockwise on the screen. The run lengths of a mask go along the rows of its own box, and
begin with pixels that are not of it.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

import numpy as np

from defectseg.annotations.ellipse import FROM_CORNER, Ellipse
from defectseg.annotations.image_names import Entry, match_entries
from defectseg.annotations.json_files import parse_shape_hw, shorten
from defectseg.annotations.labels import DrawnImage, LabelSet, Shape, UnusableShape
from defectseg.annotations.outline import Polygon, make_pixel_mask
from defectseg.annotations.tool_shapes import make_ellipse, make_polygon
from defectseg.errors import DataError, Problem

NAME = "cvat"
DESCRIPTION = "XML of CVAT for images 1.1, with ellipses, polygons and masks; and the images"

_ROOT = re.compile(rb"<annotations[\s/>]")
_CORRECT = "Correct or remove it."
_EXPORT_AGAIN = "Export the task from CVAT anew, as CVAT for images 1.1."
_MOST_DIGITS = 9
_BOX = ("left", "top", "width", "height")
# XML cannot hold these, not even escaped.
_NOT_IN_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def find(root: Path) -> list[Path]:
    """Return the XML files below `root` that hold an element ``annotations``."""
    files = (path for path in root.rglob("*") if path.suffix.lower() == ".xml" and path.is_file())
    return sorted(path for path in files if _ROOT.search(path.read_bytes()))


def read(root: Path) -> LabelSet:
    """Read all files and join them; what is wrong is in the result, not raised."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    unread: list[Problem] = []
    for path in find(root):
        elements = _parse(path)
        if isinstance(elements, Problem):
            unread.append(elements)
            continue
        folder = path.parent.relative_to(root).as_posix()
        for element in elements:
            entry = _read_image(element, path, folder, problems)
            if entry is not None:
                entries.append(entry)
    return match_entries(root, entries, problems, unread=unread)


@dataclass(frozen=True)
class _Element:
    """An element of the file: a child of the root, with its own children but not theirs."""

    tag: str
    attributes: dict[str, str]
    line: int
    children: "list[_Element]" = field(default_factory=list)


class _DeclarationError(Exception):
    """The file declares something, where entities could be."""


def _parse(path: Path) -> list[_Element] | Problem:
    """Return the images of a file, or say why it cannot be read."""
    parser = expat.ParserCreate()
    top: list[_Element] = []
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        element = _Element(tag, attributes, parser.CurrentLineNumber)
        if depth == 1:
            top.append(element)
        elif depth == 2:
            top[-1].children.append(element)
        depth += 1

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse(*declared: object) -> NoReturn:
        raise _DeclarationError

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    # Entities within entities grow without end, and others fetch files. CVAT writes neither.
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(path.read_bytes(), True)
    except _DeclarationError:
        found, expected = "a document type declaration", "XML without one, as CVAT writes it"
        where = f"{path}:{parser.CurrentLineNumber}"
        return Problem(where, found, expected, _EXPORT_AGAIN)
    except expat.ExpatError as error:
        found = f"no XML: {expat.ErrorString(error.code)}"
        return Problem(f"{path}:{error.lineno}", found, "XML of CVAT", _EXPORT_AGAIN)
    except OSError as error:
        found = f"a file that cannot be opened: {error.strerror or error}"
        return Problem(str(path), found, "XML of CVAT", "Make it readable.")
    except (LookupError, ValueError) as error:  # an encoding that Python or expat does not know
        return Problem(f"{path}:1", f"no XML: {error}", "XML in UTF-8", _EXPORT_AGAIN)
    track = next((element for element in top if element.tag == "track"), None)
    if track is not None:
        found = "a track, as in CVAT for video"
        return Problem(f"{path}:{track.line}", found, "images", _EXPORT_AGAIN)
    images = [element for element in top if element.tag == "image"]
    if not images:
        return Problem(str(path), "no image", "images with their shapes", _EXPORT_AGAIN)
    return images


def _read_image(
    element: _Element, path: Path, folder: str, problems: list[Problem]
) -> Entry | None:
    """Return what the file says of an image; None if not even which."""
    where = f"{path}:{element.line}"
    name = element.attributes.get("name", "")
    if not name:
        problems.append(Problem(where, "an image without name", "a name", _EXPORT_AGAIN))
        return None
    subset = element.attributes.get("subset", "")  # of a project, whose tasks are divided so
    height, width = (_number(element.attributes.get(side)) for side in ("height", "width"))
    shape_hw = parse_shape_hw(height, width, where)
    if isinstance(shape_hw, Problem):
        problems.append(shape_hw)
        return Entry(name, where, (), folder=folder, subset=subset, is_known=False)
    shapes: list[Shape | UnusableShape] = []
    tags = [child for child in element.children if child.tag == "tag"]
    for child in element.children:
        if child.tag != "tag":
            labels = _labels_of(child)
            shape = _read_shape(child, f"{path}:{child.line}", labels, shape_hw)
            shapes.append(UnusableShape(labels, tuple(shape)) if isinstance(shape, list) else shape)
    beside = tuple(shapes)
    shapes += [_read_tag(tag, f"{path}:{tag.line}", beside) for tag in tags]
    return Entry(name, where, tuple(shapes), shape_hw, folder, subset)


def _read_tag(
    element: _Element, source: str, beside: tuple[Shape | UnusableShape, ...]
) -> UnusableShape:
    labels = _labels_of(element)
    found, expected = f"a tag {', '.join(labels)!r} without a shape", "a defect that is drawn"
    fix = "Draw it; if the image is good, remove the tag, or leave it out by --defect-label."
    return UnusableShape(labels, (Problem(source, found, expected, fix),), beside)


def _labels_of(element: _Element) -> tuple[str, ...]:
    label = element.attributes.get("label")
    return (label,) if label else ()


def _read_shape(
    element: _Element, source: str, labels: tuple[str, ...], shape_hw: tuple[int, int]
) -> Shape | list[Problem]:
    if element.tag == "ellipse":
        return _read_ellipse(element.attributes, source, labels)
    if element.tag == "polygon":
        return _read_polygon(element.attributes.get("points", ""), source, labels)
    if element.tag == "mask":
        return _read_mask(element.attributes, source, labels, shape_hw)
    found = f"a {element.tag} of {', '.join(labels)!r}"
    fix = "Draw it anew as one of these, or remove it."
    return [Problem(source, found, "an ellipse, a polygon or a mask around each defect", fix)]


def _read_ellipse(
    attributes: dict[str, str], source: str, labels: tuple[str, ...]
) -> Ellipse | list[Problem]:
    numbers = {name: _number(attributes.get(name)) for name in ("cx", "cy", "rx", "ry")}
    numbers["rotation"] = _number(attributes.get("rotation", "0"))
    return make_ellipse(numbers, source, labels, unit=math.radians(1))


def _read_polygon(points: str, source: str, labels: tuple[str, ...]) -> Polygon | list[Problem]:
    pairs = [pair.split(",") for pair in points.split(";")]
    if len(pairs) < 3 or any(len(pair) != 2 for pair in pairs):
        found, expected = f"points = {shorten(points)}", "at least three corners, as 1.5,2;3,4;5,6"
        return [Problem(source, found, expected, _CORRECT)]
    return make_polygon([[_number(x), _number(y)] for x, y in pairs], source, labels)


def _read_mask(
    attributes: dict[str, str], source: str, labels: tuple[str, ...], shape_hw: tuple[int, int]
) -> Shape | list[Problem]:
    named = {name: _whole_number(attributes.get(name, "")) for name in _BOX}
    left, top, width, height = (-1 if value is None else value for value in named.values())
    runs = [_whole_number(text) for text in attributes.get("rle", "").split(",")]
    inside = left + width <= shape_hw[1] and top + height <= shape_hw[0]
    if min(left, top) < 0 or min(width, height) < 1 or not inside:
        found = ", ".join(f"{name} = {shorten(attributes.get(name))}" for name in _BOX)
        expected = f"a box within the image of {shape_hw[1]}×{shape_hw[0]} pixels"
        return [Problem(source, found, expected, _CORRECT)]
    lengths = [run for run in runs if run is not None]
    if len(lengths) < len(runs) or sum(lengths) != width * height:
        found = f"rle = {shorten(attributes.get('rle'))}"
        expected = f"run lengths that make up {width}×{height} pixels"
        return [Problem(source, found, expected, _CORRECT)]
    values = np.arange(len(lengths)) % 2 == 1
    part = np.repeat(values, lengths).reshape(height, width)
    return make_pixel_mask(part, left, top, shape_hw, source, labels)


def _number(text: str | None) -> float | str | None:
    """Return the number that is written; the text itself, if it is none."""
    try:
        return text if text is None or "_" in text else float(text)  # 5_0 is Python's alone
    except ValueError:
        return text


def _whole_number(text: str) -> int | None:
    digits = text.strip()
    return int(digits) if digits.isdecimal() and len(digits) <= _MOST_DIGITS else None


def write(images: Sequence[DrawnImage]) -> str:
    """Return a file of labels that CVAT reads, in its own form; scores have no place in it.

    Raises
    ------
    DataError
        If a name or label holds what XML cannot.
    """
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>", "  <version>1.1</version>"]
    for number, image in enumerate(images):
        height, width = image.shape_hw
        size = f'width="{width}" height="{height}"'
        lines.append(f'  <image id="{number}" name={_quote(image.name)} {size}>')
        lines += [f"    {_write_shape(shape)}" for shape in image.shapes]
        lines.append("  </image>")
    return "\n".join([*lines, "</annotations>", ""])


def _write_shape(shape: Ellipse | Polygon) -> str:
    (label,) = shape.labels
    common = f'label={_quote(label)} source="auto" occluded="0" z_order="0"'
    if isinstance(shape, Polygon):
        corners = ((x - FROM_CORNER, y - FROM_CORNER) for x, y in shape.vertices_xy)
        points = ";".join(f"{x:.2f},{y:.2f}" for x, y in corners)
        return f'<polygon {common} points="{points}"/>'
    centre = f'cx="{shape.x - FROM_CORNER:.2f}" cy="{shape.y - FROM_CORNER:.2f}"'
    axes = f'rx="{shape.semi_major:.2f}" ry="{shape.semi_minor:.2f}"'
    degrees = math.degrees(shape.angle) % 360  # CVAT takes no others
    return f'<ellipse {common} {centre} {axes} rotation="{degrees:.2f}"/>'


def _quote(text: str) -> str:
    if _NOT_IN_XML.search(text):
        raise DataError(f"{text!r} holds characters that XML cannot; rename it, or write COCO.")
    return quoteattr(text)
