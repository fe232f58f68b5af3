"""Which layout a folder of labels has is told by what is in it."""

import re
from pathlib import Path
from types import ModuleType

from defectseg.annotations import (
    article,
    coco,
    competition,
    cvat,
    label_studio,
    labelme,
    mask_pairs,
    table,
    via,
)
from defectseg.annotations.json_files import keys_of
from defectseg.annotations.labels import LabelSet
from defectseg.errors import DataError, Problem

_ALL = (article, competition, table, mask_pairs, cvat, coco, label_studio, via, labelme)

_OUTLINES = "outlines or ellipses; boxes say too little"
_DRAW = "Draw them with one of the tools above, and export the labels so."
# What people have instead, by its suffix and its first bytes: a class and four shares of a side.
_UNREAD = {
    "an archive": (".zip", re.compile(b"PK"), "images and their labels", "Unpack it."),
    "boxes of Pascal VOC": (
        ".xml",
        re.compile(rb"\s*(<\?.*?\?>)?\s*<annotation[\s>]", re.DOTALL),
        _OUTLINES,
        _DRAW,
    ),
    "a project of VGG Image Annotator 3": (
        ".json",
        re.compile(rb'\s*\{\s*"project"\s*:\s*\{\s*"pid"'),
        "version 2, whose labels are read",
        "Draw with version 2 or another of the tools above.",
    ),
    "boxes of YOLO": (
        ".txt",
        re.compile(rb"\s*[0-9]+( [01](\.[0-9]*)?){4}\s*(\n|$)"),
        _OUTLINES,
        _DRAW,
    ),
}

READERS: dict[str, ModuleType] = {reader.NAME: reader for reader in _ALL}


def detect_layout(root: Path) -> str:
    """Return the name of the one layout that the folder has.

    Raises
    ------
    DataError
        If the folder is missing, empty, of no known layout, or of several.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; expected one with images and their labels.")
    if not any(root.iterdir()):
        raise DataError(f"{root} is empty; expected images and their labels.")
    keys_of.cache_clear()
    signs = {name: reader.find(root) for name, reader in READERS.items()}
    # What lies in a folder that a layout claims is part of that layout, not a sign of another:
    # in Class1_def/ the files 1.png and 1.jpg are one index twice, no image and mask.
    claimed = {path for paths in signs.values() for path in paths if path.is_dir()}
    own = {n: [p for p in paths if claimed.isdisjoint(p.parents)] for n, paths in signs.items()}
    found = {name: paths for name, paths in own.items() if paths}
    if len(found) == 1:
        return next(iter(found))
    if not found:
        known = "\n".join(f"  {name}: {reader.DESCRIPTION}" for name, reader in READERS.items())
        raise DataError(f"{root} has none of the known layouts:\n{known}", _tell_what_else(root))
    problems = [
        Problem(
            str(paths[0]),
            f"the layout {name!r} ({len(paths)} of its files or folders)",
            "one layout a folder",
            f"Move the others out, or name the one that is meant: --layout {name}.",
        )
        for name, paths in found.items()
    ]
    raise DataError(f"{root} mixes {len(found)} layouts.", problems)


def _tell_what_else(root: Path) -> list[Problem]:
    """Name what is there instead, as far as it is known."""
    problems: dict[str, Problem] = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        for kind, (suffix, sign, expected, fix) in _UNREAD.items():
            if path.suffix.lower() == suffix and kind not in problems:
                with path.open("rb") as file:
                    is_of_kind = sign.match(file.read(1000))
                if is_of_kind:
                    problems[kind] = Problem(str(path), kind, expected, fix)
    return list(problems.values())


def read_labels(root: Path, layout: str) -> LabelSet:
    """Read the labels of a folder in one of the layouts of `READERS`.

    Raises
    ------
    DataError
        If there is no such layout, or the folder has nothing of it. What is wrong with single
        rows and files is in the result.
    """
    if layout not in READERS:
        known = ", ".join(["auto", *READERS])
        raise DataError(f"There is no layout {layout!r}; expected one of {known}.")
    keys_of.cache_clear()
    if not root.is_dir() or not READERS[layout].find(root):
        raise DataError(
            f"{root} has nothing of the layout {layout!r}; expected {READERS[layout].DESCRIPTION}."
        )
    labels: LabelSet = READERS[layout].read(root)
    return labels
