"""One table for all images: a CSV or TSV with a file name and an ellipse's five numbers a row.

With a header the columns may stand in any order; without one they are ``image, semi_major,
semi_minor, angle, x, y``. Images below the folder that no row names are good ones; so is an image
whose five numbers are all left empty.
"""

import csv
from pathlib import Path

from defectseg.annotations.ellipse import ELLIPSE_FIELDS, Ellipse, parse_ellipse
from defectseg.annotations.image_names import ImageNames, tell_product
from defectseg.annotations.labels import LabelledImage, LabelSet
from defectseg.annotations.via import is_via_table
from defectseg.errors import DataError, Problem
from defectseg.image_io import find_images

NAME = "table"
DESCRIPTION = "one CSV or TSV with " + ", ".join(("image", *ELLIPSE_FIELDS)) + " a row"

_NAME_COLUMNS = ("image", "file", "filename", "file_name", "name", "path")
_COLUMNS = ("image", *ELLIPSE_FIELDS)


def find(root: Path) -> list[Path]:
    """Return the tables that lie in `root` itself."""
    tables = (path for path in root.iterdir() if path.suffix.lower() in {".csv", ".tsv"})
    return sorted(path for path in tables if path.is_file() and not is_via_table(path))


def read(root: Path) -> LabelSet:
    """Read the table; what is wrong is in the result, not raised."""
    tables = find(root)
    if len(tables) != 1:
        names = ", ".join(path.name for path in tables)
        fix = "Join them, or move all but one out of the folder."
        return LabelSet((), (Problem(str(root), f"{len(tables)} tables: {names}", "one", fix),))
    table = tables[0]
    problems: list[Problem] = []
    rows = _read_rows(table, problems)
    found_images = find_images(root)[0]
    known = {image.relative: image.path for image in found_images}
    image_names = ImageNames(found_images)
    images: list[LabelledImage] = []
    rows_without_image = [
        (
            tell_product(name, root),
            Problem(
                source,
                f"a row for {name!r}, but no such image below {root}{image_names.hint(name)}",
                "an image for every row, its path written from the table's folder",
                "Add the image or remove the row.",
            ),
        )
        for name, own in rows.items()
        if name not in known
        for source, _ in own
    ]
    wrong = {problem.where for problem in problems}
    for relative, path in known.items():
        own = rows.get(relative, [])
        if any(source in wrong for source, _ in own):
            continue  # the label is not known
        ellipses = tuple(ellipse for _, ellipse in own if ellipse)
        if len(own) > 1 and len(ellipses) < len(own):
            found = f"{relative} with several rows, one of them without numbers"
            expected = "one row without numbers for a good image, or an ellipse in each row"
            problems.append(Problem(own[-1][0], found, expected, "Remove the row that is wrong."))
            continue
        product = tell_product(relative, root)
        images.append(LabelledImage(path, product, ellipses, unnamed=not own))
    return LabelSet(tuple(images), tuple(problems), tuple(rows_without_image))


def _read_rows(table: Path, problems: list[Problem]) -> dict[str, list[tuple[str, Ellipse | None]]]:
    """Return the rows of each image: where it stands, and the ellipse or None."""
    text = table.read_text(encoding="utf-8-sig", errors="replace")
    lines = text.splitlines()
    delimiter = max("\t;,", key=lambda mark: lines[0].count(mark)) if lines else ","
    try:
        cells = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
    except csv.Error as error:
        raise DataError(f"{table} is no table that can be read: {error}.") from error
    order = _column_order(cells[0]) if cells else None
    start = 0 if order is None else 1
    words = [cell for cell in cells[0] if cell] if cells else []
    if order is None and len(words) > 1 and not any(_is_number(word) for word in words):
        # Words only: a header, but not one that can be read.
        found = f"the columns {', '.join(cells[0])}"
        fix = "Rename the columns, or leave the header out."
        problems.append(Problem(f"{table}:1", found, ", ".join(_COLUMNS), fix))
        return {}
    width = len(cells[0]) if order else len(_COLUMNS)
    order = order or list(range(len(_COLUMNS)))
    rows: dict[str, list[tuple[str, Ellipse | None]]] = {}
    for number, row in enumerate(cells[start:], start=start + 1):
        source = f"{table}:{number}"
        if not any(row):
            continue
        # More than there should be is no better than fewer: decimal commas make 11 out of 6.
        if len(row) <= max(order) or any(row[width:]):
            found = f"{len(row)} columns: {delimiter.join(row)[:60]!r}"
            expected = f"{width}, among them " + ", ".join(_COLUMNS)
            problems.append(Problem(source, found, expected, "Correct or remove the row."))
            continue
        name, *numbers = (row[column] for column in order)
        name = name.replace("\\", "/").removeprefix("./")
        earlier = rows.setdefault(name, [])
        if not any(numbers):
            earlier.append((source, None))
            continue
        ellipse = parse_ellipse(dict(zip(ELLIPSE_FIELDS, numbers, strict=True)), source)
        first = next((where for where, known in earlier if known == ellipse), None)
        if isinstance(ellipse, list):
            problems += ellipse
            earlier.append((source, None))
        elif first:
            found = f"the same ellipse of {name} twice, also {first}"
            expected = "each defect once (several rows may name one image, with other ellipses)"
            problems.append(Problem(source, found, expected, "Remove one of the rows."))
        else:
            earlier.append((source, ellipse))
    return rows


def _column_order(header: list[str]) -> list[int] | None:
    """Return where each of the six columns stands, or None if this is no such header."""
    names = [cell.lower().replace(" ", "_").replace("-", "_") for cell in header]
    image = next((names.index(name) for name in _NAME_COLUMNS if name in names), None)
    if image is None or not set(ELLIPSE_FIELDS) <= set(names):
        return None
    return [image, *(names.index(name) for name in ELLIPSE_FIELDS)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
