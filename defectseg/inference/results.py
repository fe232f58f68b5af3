"""The output folder of a prediction: masks, overlays, and the two tables."""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from defectseg.errors import DataError
from defectseg.image_io import write_mask, write_picture
from defectseg.inference.predictor import Inspection
from defectseg.inference.regions import Region
from defectseg.inference.verdict import Outcome
from defectseg.pictures import RED, draw_outline, shrink

PREDICTIONS = "predictions.csv"
DEFECTS = "defects.csv"
PREDICTION_COLUMNS = (
    "image",
    "outcome",
    "reasons",
    "defect_score",
    "defect_regions",
    "defect_area_px",
    "sharpness",
    "sharpness_limit",
    "gate_p_value",
    "noise_sigma",
    "mean_luma",
    "width",
    "height",
    "sha256",
    "total_ms",
    "error",
)
DEFECT_COLUMNS = (
    "image",
    "region",
    "area_px",
    "bbox_x",
    "bbox_y",
    "bbox_width",
    "bbox_height",
    "centroid_x",
    "centroid_y",
    "semi_major",
    "semi_minor",
    "angle",
    "score",
)

# What the JPEG library takes; a scan of a web can be longer.
_LONGEST_JPEG_PX = 65_500

Row = dict[str, Any]


def check_output(output: Path, source: Path) -> None:
    """Check that results can go to a folder without mixing with anything.

    Raises
    ------
    DataError
        If it holds something, is no folder, or lies within the folder of the images.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        what = "holds results of another run" if (output / PREDICTIONS).exists() else "is not empty"
        raise DataError(f"{output} {what}; it is left as it is. Name another output folder.")
    if output.resolve().is_relative_to(source.resolve()):
        raise DataError(
            f"{output} lies within {source}: its masks would be taken for images the next time. "
            "Name an output folder elsewhere."
        )


def name_pictures(images: Iterable[str]) -> dict[str, str]:
    """Return the path, without suffix, of each image's mask and overlay.

    It is the image's own without its suffix; where two images differ by that alone, as ``a.png``
    and ``a.bmp``, or would meet otherwise, the suffix is kept: ``a.png`` and ``a.bmp``.
    """
    names = {image: image.removesuffix(PurePosixPath(image).suffix) for image in images}
    while True:
        # Repeated, for a kept suffix can meet another's short name: a.png with that of a.png.png.
        count = Counter(names.values())
        clashing = [image for image, name in names.items() if count[name] > 1]
        if not clashing:
            return names
        names |= {image: image for image in clashing}


def make_row(
    image: str, inspection: Inspection, shape_hw: tuple[int, int], sha256: str, total_ms: float
) -> Row:
    """Return the row of ``predictions.csv`` of an inspected image."""
    quality = inspection.quality
    return {
        "image": image,
        "outcome": inspection.verdict.outcome.value,
        "reasons": "; ".join(inspection.verdict.reasons),
        "defect_score": round(inspection.score, 4),
        "defect_regions": len(inspection.regions),
        "defect_area_px": int(inspection.mask.sum(dtype=np.int64)),
        "sharpness": round(quality.sharpness, 4),
        "sharpness_limit": round(quality.sharpness_limit, 4),
        "gate_p_value": round(quality.gate_p_value, 4),
        "noise_sigma": round(quality.noise_sigma, 4),
        "mean_luma": round(quality.mean_luma, 2),
        "width": shape_hw[1],
        "height": shape_hw[0],
        "sha256": sha256,
        "total_ms": round(total_ms, 1),
        "error": "",
    }


def make_error_row(image: str, error: str, total_ms: float, sha256: str = "") -> Row:
    """Return the row of an image that could not be inspected; what is not known stays empty."""
    known = {
        "image": image,
        "outcome": Outcome.ERROR.value,
        "reasons": "could not be inspected",
        "sha256": sha256,
        "total_ms": round(total_ms, 1),
        "error": error,
    }
    return {column: known.get(column, "") for column in PREDICTION_COLUMNS}


class ResultsWriter:
    """Writes results as they come; the tables get their names when all rows are in.

    Parameters
    ----------
    output : Path
        Checked by `check_output`; made if need be.
    names : mapping of str to str
        Of `name_pictures`.
    """

    def __init__(self, output: Path, names: Mapping[str, str]) -> None:
        self.output = output
        self._names = names
        self._files = ExitStack()

    def __enter__(self) -> Self:
        try:
            self.output.mkdir(parents=True, exist_ok=True)
            self._predictions = self._open(PREDICTIONS, PREDICTION_COLUMNS)
            self._defects = self._open(DEFECTS, DEFECT_COLUMNS)
        except OSError as error:
            raise DataError(f"{self.output} cannot be written to: {error.strerror}.") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._files.close()
        if kind is None:
            for name in (PREDICTIONS, DEFECTS):
                (self.output / f"{name}.part").replace(self.output / name)

    def write_row(self, row: Row) -> None:
        """Append a row to ``predictions.csv``."""
        self._predictions.writerow(row)

    def write_inspection(
        self, row: Row, image: npt.NDArray[np.uint8], inspection: Inspection
    ) -> None:
        """Write mask and overlay of an image, then its rows in both tables."""
        name = row["image"]
        write_mask(self.mask_path(name), inspection.mask)
        overlay = shrink(draw_outline(image, inspection.mask, RED), _LONGEST_JPEG_PX)
        write_picture(self.overlay_path(name), overlay)
        for number, region in enumerate(inspection.regions, start=1):
            self._defects.writerow(_defect_row(name, number, region))
        self.write_row(row)

    def mask_path(self, image: str) -> Path:
        """Return where the mask of an image is written."""
        return self._picture("masks", image, ".png")

    def overlay_path(self, image: str) -> Path:
        """Return where the overlay of an image is written."""
        return self._picture("overlays", image, ".jpg")

    def _picture(self, folder: str, image: str, suffix: str) -> Path:
        return self.output / folder / f"{self._names[image]}{suffix}"

    def _open(self, name: str, columns: tuple[str, ...]) -> "csv.DictWriter[str]":
        path = self.output / f"{name}.part"
        # A file name that is not valid Unicode is kept, escaped, rather than refused.
        file = path.open("w", newline="", encoding="utf-8", errors="backslashreplace", buffering=1)
        table = csv.DictWriter(self._files.enter_context(file), columns, lineterminator="\n")
        table.writeheader()
        return table


def _defect_row(image: str, number: int, region: Region) -> Row:
    left, top, width, height = region.bbox_xywh
    column, row = region.centroid_xy
    return {
        "image": image,
        "region": number,
        "area_px": region.area_px,
        "bbox_x": left,
        "bbox_y": top,
        "bbox_width": width,
        "bbox_height": height,
        "centroid_x": round(column, 2),
        "centroid_y": round(row, 2),
        "semi_major": round(region.semi_major, 2),
        "semi_minor": round(region.semi_minor, 2),
        "angle": round(region.angle, 4),
        "score": round(region.score, 4),
    }
