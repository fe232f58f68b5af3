"""The layout of the DAGM competition: ``ClassN/Train|Test/NNNN.PNG`` with ``Label/``.

``Label/Labels.txt`` begins with a line that holds 1 alone; a row of it is
``number  defective  NNNN.PNG  has_mask  NNNN_label.PNG``, with 0 for the mask of a good image.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from defectseg.annotations.labels import LabelledImage, LabelSet
from defectseg.errors import Problem
from defectseg.image_io import IMAGE_SUFFIXES

NAME = "competition"
DESCRIPTION = "ClassN/Train and ClassN/Test with images, Label/Labels.txt and Label/NNNN_label.PNG"

_COLUMNS = "number, defective (0 or 1), image name, has mask (0 or 1), mask name or 0"


def find(root: Path) -> list[Path]:
    """Return the ``Label/Labels.txt`` files below `root`."""
    return sorted(path for path in root.glob("*/*/Label/Labels.txt") if path.is_file())


def read(root: Path) -> LabelSet:
    """Read every product of the folder; what is wrong is in the result, not raised.

    The authors' division is kept: ``Test`` stays the test split.
    """
    images: list[LabelledImage] = []
    problems = _folders_without_labels(root)
    rows_without_image: list[tuple[str, Problem]] = []
    images_without_row: list[tuple[str, Problem]] = []
    for labels in find(root):
        folder = labels.parent.parent
        product, split = folder.parent.name, folder.name.lower()
        if split not in {"train", "test"}:
            found = f"the folder {folder.name!r}"
            problems.append(Problem(str(folder), found, "Train or Test", "Rename the folder."))
            continue
        seen: set[str] = set()
        for source, name, mask_name in _read_rows(labels, problems):
            if name in seen:
                found = f"{name} twice"
                problems.append(Problem(source, found, "each image once", "Remove one row."))
                continue
            seen.add(name)
            image, mask = folder / name, labels.parent / mask_name if mask_name else None
            for path in (image, mask):
                if path is not None and not os.path.isfile(path):  # noqa: PTH113 - never raises
                    problem = Problem(
                        source,
                        f"a row for {path.name}, but no such file in {path.parent}",
                        "an image for every row, and its mask if it is defective",
                        "Add the file or remove the row.",
                    )
                    rows_without_image.append((product, problem))
                    break
            else:
                declared = source if mask else ""
                label = LabelledImage(image, product, mask=mask, split=split, source=declared)
                images.append(label)
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in IMAGE_SUFFIXES and path.name not in seen:
                found, expected = f"no row in {labels}", "a row for every image"
                problem = Problem(str(path), found, expected, "Add the row or remove the image.")
                images_without_row.append((product, problem))
    return LabelSet(
        tuple(images), tuple(problems), tuple(rows_without_image), tuple(images_without_row)
    )


def _folders_without_labels(root: Path) -> list[Problem]:
    """Find folders Train and Test that have no table, and would else be passed over."""
    fix = "Add it, or move the folder out."
    return [
        Problem(str(folder), "no Label/Labels.txt", f"one with a row an image: {_COLUMNS}", fix)
        for folder in sorted(root.glob("*/*"))
        if folder.name.lower() in {"train", "test"}
        and folder.is_dir()
        and not (folder / "Label" / "Labels.txt").is_file()
    ]


def _read_rows(labels: Path, problems: list[Problem]) -> Iterator[tuple[str, str, str]]:
    """Yield source, image name, and mask name (empty for a good image) of each sound row."""
    text = labels.read_text(encoding="utf-8-sig", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        cells = line.split()
        if not cells or (number == 1 and len(cells) == 1):
            continue
        if not _is_sound(cells):
            problem = Problem(
                f"{labels}:{number}",
                f"{line.strip()[:60]!r}",
                f"five columns that agree: {_COLUMNS}",
                "Correct or remove the row.",
            )
            problems.append(problem)
            continue
        yield f"{labels}:{number}", cells[2], cells[4] if cells[1] == "1" else ""


def _is_sound(cells: list[str]) -> bool:
    if len(cells) != 5 or cells[1] not in {"0", "1"}:
        return False
    if "/" in cells[2] + cells[4]:  # another folder's, perhaps an image of the test set
        return False
    return cells[3] == cells[1] and (cells[4] == "0") == (cells[1] == "0")
