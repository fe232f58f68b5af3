"""The layout of the DAGM article: ``ClassN/`` and ``ClassN_def/`` with ``labels.txt``.

A row of ``labels.txt`` is ``index  semi_major  semi_minor  angle  x  y``; index k names ``k.png``.
"""

from pathlib import Path

from defectseg.annotations.ellipse import ELLIPSE_FIELDS, Ellipse, parse_ellipse
from defectseg.annotations.labels import LabelledImage, LabelSet
from defectseg.errors import Problem
from defectseg.image_io import IMAGE_SUFFIXES

NAME = "article"
DESCRIPTION = "ClassN/ with good images, ClassN_def/ with defective ones and labels.txt"

_COLUMNS = ("index", *ELLIPSE_FIELDS)

_LONGEST_INDEX = 18  # digits; Python refuses thousands of them


def find(root: Path) -> list[Path]:
    """Return the ``*_def`` folders in `root`."""
    return sorted(path for path in root.glob("*_def") if path.is_dir())


def read(root: Path) -> LabelSet:
    """Read every product of the folder; what is wrong is in the result, not raised."""
    images: list[LabelledImage] = []
    problems = _unclaimed_folders(root)
    rows_without_image: list[tuple[str, Problem]] = []
    images_without_row: list[tuple[str, Problem]] = []
    for folder in find(root):
        product = folder.name.removesuffix("_def")
        images += [LabelledImage(path, product) for path in _image_files(root / product)]
        labels = folder / "labels.txt"
        by_index = _files_by_index(folder, problems)
        rows = _read_rows(labels, problems)
        for index, own in rows.items():
            ellipses = tuple(ellipse for _, ellipse in own if ellipse)
            if index not in by_index:
                found = f"a row of index {index}, but no image {folder.name}/{index}.png"
                fix = "Add the image or remove the row."
                rows_without_image += [
                    (product, Problem(source, found, "an image for every row", fix))
                    for source, _ in own
                ]
            elif len(ellipses) == len(own):  # else a row is wrong, and the label not known
                images.append(LabelledImage(by_index[index], product, ellipses))
        for index, path in by_index.items():
            if labels.is_file() and index not in rows:
                problem = Problem(
                    str(path),
                    f"no row of index {index} in {labels.name}",
                    "a row for every image of a _def folder",
                    "Add the row, or move the image to the folder of good ones.",
                )
                images_without_row.append((product, problem))
    return LabelSet(
        tuple(images), tuple(problems), tuple(rows_without_image), tuple(images_without_row)
    )


def _unclaimed_folders(root: Path) -> list[Problem]:
    """Find images that belong to no product, which would else be passed over."""
    products = [folder.name.removesuffix("_def") for folder in find(root)]
    # The official masks lie beside the labels they are the same as.
    claimed = {root / f"{name}{end}" for name in products for end in ("", "_def", "_def_masks")}
    folders = [root, *sorted(path for path in root.rglob("*") if path.is_dir())]
    return [
        Problem(
            str(folder),
            f"{len(_image_files(folder))} image(s) that belong to no product",
            "images in ClassN or ClassN_def only, and a ClassN_def for each ClassN",
            "Move them there, or out of the folder; ClassN_def may hold an empty labels.txt.",
        )
        for folder in folders
        if folder not in claimed and _image_files(folder)
    ]


def _image_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    files = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    return sorted(files, key=lambda path: (len(path.stem), path.name))


def _files_by_index(folder: Path, problems: list[Problem]) -> dict[int, Path]:
    """Return the images of a _def folder by the number that is their name."""
    by_index: dict[int, Path] = {}
    for path in _image_files(folder):
        if not path.stem.isdecimal():
            found, expected = f"the name {path.name!r}", "a number, as 12.png"
        elif int(path.stem) in by_index:
            found = f"index {int(path.stem)} twice, also {by_index[int(path.stem)].name}"
            expected = "one image an index"
        else:
            by_index[int(path.stem)] = path
            continue
        problems.append(Problem(str(path), found, expected, "Rename or remove one."))
    return by_index


def _read_rows(
    labels: Path, problems: list[Problem]
) -> dict[int, list[tuple[str, Ellipse | None]]]:
    """Return the rows of each index: where it stands, and the ellipse or None if it is wrong."""
    if not labels.is_file():
        problem = Problem(
            str(labels.parent),
            "no labels.txt",
            "one with a row an ellipse: " + " ".join(_COLUMNS),
            "Add it, or leave the folder out.",
        )
        problems.append(problem)
        return {}
    rows: dict[int, list[tuple[str, Ellipse | None]]] = {}
    text = labels.read_text(encoding="utf-8-sig", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        cells = line.split()
        if not cells:
            continue
        source = f"{labels}:{number}"
        if len(cells) != len(_COLUMNS):
            found = f"{len(cells)} columns: {line.strip()[:60]!r}"
            expected = f"{len(_COLUMNS)}: " + " ".join(_COLUMNS)
            problems.append(Problem(source, found, expected, "Correct or remove the row."))
            continue
        if not cells[0].isdecimal() or len(cells[0]) > _LONGEST_INDEX:
            found, expected = f"index = {cells[0]!r}", "a whole number, the image's name"
            problems.append(Problem(source, found, expected, "Correct or remove the row."))
            continue
        index = int(cells[0])
        ellipse = parse_ellipse(dict(zip(ELLIPSE_FIELDS, cells[1:], strict=True)), source)
        earlier = rows.setdefault(index, [])
        first = next((where for where, known in earlier if known == ellipse), None)
        if isinstance(ellipse, list):
            problems += ellipse
            earlier.append((source, None))
        elif first:
            found = f"the same ellipse of index {index} twice, also {first}"
            expected = "each defect once (several rows may name one image, with other ellipses)"
            problems.append(Problem(source, found, expected, "Remove one of the rows."))
        else:
            earlier.append((source, ellipse))
    return rows
