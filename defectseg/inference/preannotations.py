"""A prediction as labels for a drawing tool: a person corrects them, instead of drawing anew."""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from defectseg.annotations import coco, cvat
from defectseg.annotations.ellipse import Ellipse
from defectseg.annotations.labels import DrawnImage
from defectseg.atomic import write_atomically
from defectseg.errors import DataError, ImageReadError
from defectseg.image_io import read_mask
from defectseg.inference.outlines import trace_outlines
from defectseg.inference.regions import Region
from defectseg.inference.results import (
    DEFECT_COLUMNS,
    DEFECTS,
    PREDICTION_COLUMNS,
    PREDICTIONS,
    SHARDS,
    name_pictures,
)
from defectseg.inference.verdict import Outcome

ToolFormat = Literal["cvat", "coco"]
DrawnAs = Literal["ellipse", "outline"]

_BOX_COLUMNS = ("bbox_x", "bbox_y", "bbox_width", "bbox_height")
_NOT_INSPECTED = (Outcome.RETAKE, Outcome.ERROR)
_WRITERS = {"cvat": cvat.write, "coco": coco.write}


@dataclass(frozen=True)
class Preannotated:
    """What was written: how many images and shapes; and the images that were left out, and why."""

    images: int
    shapes: int
    left_out: Mapping[str, Outcome]


def preannotate(
    results: Path,
    output: Path,
    *,
    tool: ToolFormat,
    drawn_as: DrawnAs = "ellipse",
    label: str = "defect",
    on_image: Callable[[int], None] = lambda total: None,
) -> Preannotated:
    """Write what a prediction found as a file of labels.

    Images that were not inspected, RETAKE and ERROR, are left out: without a shape, they would be
    read back as good parts.

    Parameters
    ----------
    results : Path
        A folder that a prediction left.
    output : Path
        A new file.
    tool : str
        Whose format it has; see `annotations.cvat` and `annotations.coco`.
    drawn_as : str
        An ellipse a region, of its area's moments; or the outlines of what is connected in the
        mask, without holes.
    label : str
        What each shape is called.
    on_image : callable
        Called after each image with the number of all of them.

    Raises
    ------
    DataError
        If the folder is not whole, or the file exists. Nothing is written then.
    """
    if output.exists():
        raise DataError(f"{output} exists; it is left as it is. Name another file.")
    if (results / SHARDS).exists() and not (results / PREDICTIONS).exists():
        raise DataError(
            f"{results} holds {SHARDS}; expected {PREDICTIONS}, with masks. Predict anew with "
            "--format csv."
        )
    rows = _read_table(results / PREDICTIONS, PREDICTION_COLUMNS)
    regions = _read_regions(results / DEFECTS)
    masks = name_pictures(row["image"] for row in rows)
    images: list[DrawnImage] = []
    left_out: dict[str, Outcome] = {}
    for row in rows:
        name = row["image"]
        outcome = _read_outcome(row, results / PREDICTIONS)
        if outcome in _NOT_INSPECTED:
            left_out[name] = outcome
        else:
            size = _read_size(row, results / PREDICTIONS)
            own = regions.get(name, [])
            if drawn_as == "ellipse":
                images.append(draw_ellipses(name, size, own, label))
            else:
                path = results / "masks" / f"{masks[name]}.png"
                images.append(draw_outlines(name, _read_mask(path, size), own, label))
        on_image(len(rows))
    write_atomically(output, _WRITERS[tool](images))
    return Preannotated(len(images), sum(len(image.shapes) for image in images), left_out)


def draw_ellipses(
    name: str, shape_hw: tuple[int, int], regions: Sequence[Region], label: str
) -> DrawnImage:
    """Return an image with the ellipse of each region."""
    ellipses = tuple(
        Ellipse(
            region.semi_major,
            region.semi_minor,
            region.angle,
            region.centroid_xy[0] + 1,  # a label counts from 1
            region.centroid_xy[1] + 1,
            labels=(label,),
        )
        for region in regions
    )
    return DrawnImage(name, shape_hw, ellipses, tuple(region.score for region in regions))


def draw_outlines(
    name: str, mask: npt.NDArray[np.uint8], regions: Iterable[Region], label: str
) -> DrawnImage:
    """Return an image with an outline of all that is connected in its mask.

    Its score is the highest of the regions that lie in it: some may touch.
    """
    polygons, owners = trace_outlines(mask, label)
    scores = [0.0] * (len(polygons) + 1)  # the first is of what has no outline
    for region in regions:
        left, top, width, height = region.bbox_xywh
        box = owners[top : top + height, left : left + width]
        # A region reaches all sides of its box. So may parts of others, of which as many pixels
        # lie in the box by chance alone. Pixels of a thin ellipse may not touch: then none does.
        sides = [
            set(side.ravel().tolist()) for side in (box[:1], box[-1:], box[:, :1], box[:, -1:])
        ]
        reaching = set.intersection(*sides) - {0} or set.union(*sides) - {0}
        surplus = {n: abs(np.count_nonzero(box == n) - region.area_px) for n in reaching}
        owner = min(surplus, key=lambda number: surplus[number], default=0)
        scores[owner] = max(scores[owner], region.score)
    height, width = mask.shape
    return DrawnImage(name, (height, width), tuple(polygons), tuple(scores[1:]))


def _read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
    except FileNotFoundError as error:
        raise DataError(
            f"{path.parent} holds no {path.name}; expected a folder that `defectseg predict` left, "
            "finished."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no table that can be read: {error}.") from error
    wrong = [number for number, row in enumerate(rows, start=1) if len(row) != len(columns)]
    if not rows or tuple(rows[0]) != tuple(columns) or wrong:
        where = f", row {wrong[0]}" if wrong else ""
        raise DataError(f"{path}{where}: expected the columns {', '.join(columns)}.")
    return [dict(zip(columns, row, strict=True)) for row in rows[1:]]


def _read_regions(path: Path) -> dict[str, list[Region]]:
    """Return the regions of each image."""
    regions: dict[str, list[Region]] = {}
    for row in _read_table(path, DEFECT_COLUMNS):
        try:
            left, top, width, height = (int(row[name]) for name in _BOX_COLUMNS)
            region = Region(
                area_px=int(row["area_px"]),
                bbox_xywh=(left, top, width, height),
                centroid_xy=(float(row["centroid_x"]), float(row["centroid_y"])),
                semi_major=float(row["semi_major"]),
                semi_minor=float(row["semi_minor"]),
                angle=float(row["angle"]),
                score=float(row["score"]),
            )
        except ValueError as error:
            where = f"{path}: region {row['region']} of {row['image']}"
            raise DataError(f"{where} is not as it was written: {error}.") from error
        regions.setdefault(row["image"], []).append(region)
    return regions


def _read_outcome(row: dict[str, str], path: Path) -> Outcome:
    try:
        return Outcome(row["outcome"])
    except ValueError as error:
        raise DataError(f"{path}: {row['image']} is not as it was written: {error}.") from error


def _read_size(row: dict[str, str], path: Path) -> tuple[int, int]:
    try:
        return int(row["height"]), int(row["width"])
    except ValueError as error:
        raise DataError(f"{path}: {row['image']} is not as it was written: {error}.") from error


def _read_mask(path: Path, shape_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    try:
        mask = read_mask(path)
    except ImageReadError as error:
        raise DataError(f"{path}: {error}. Predict the folder anew.") from error
    if mask.shape != shape_hw:
        found, expected = (f"{width}×{height}" for height, width in (mask.shape, shape_hw))
        raise DataError(f"{path} has {found} pixels, its image {expected}. Predict anew.")
    return mask
