"""The output folder of a prediction: masks, overlays, and the two tables."""

import errno
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from defectseg.atomic import TEMPORARY, write_atomically
from defectseg.errors import DefectsegError
from defectseg.image_io import encode_mask, encode_picture
from defectseg.inference.predictor import Inspection
from defectseg.inference.regions import Region
from defectseg.inference.tables import GrowingTable
from defectseg.inference.verdict import Outcome
from defectseg.pictures import RED, draw_outline, shrink

PREDICTIONS = "predictions.csv"
DEFECTS = "defects.csv"
SHARDS = "predictions.parquet"
RUN = "run.json"
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

# For people: a JPEG could be of 65,500 pixels, and would take as much memory as all the rest.
_LONGEST_OVERLAY_PX = 4096
# Errors of one file's name; all others say that nothing can be written any more.
_OF_ONE_FILE = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.EISDIR})

# What the report shows as numbers.
_SHOWN = ("defect_score", "sharpness", "sharpness_limit")

Row = dict[str, Any]


class OutputError(DefectsegError):
    """Results cannot be written any more."""


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


class Results:
    """The output folder as it fills; the tables get their names when all rows are in.

    Parameters
    ----------
    output : Path
        Of `claim.claim_output`; made if need be.
    names : mapping of str to str
        Of `name_pictures`.
    resume : bool
        Go on with what an interrupted run left there.

    Raises
    ------
    OutputError
        If it cannot be written to; here, and from every method that writes.
    """

    def __init__(self, output: Path, names: Mapping[str, str], *, resume: bool = False) -> None:
        self.output = output
        self._names = names
        with self._named_errors():
            output.mkdir(parents=True, exist_ok=True)
            if resume:
                _remove_unfinished(output)
            self._tables = [
                GrowingTable(output / name, columns, resume=resume)
                for name, columns in ((PREDICTIONS, PREDICTION_COLUMNS), (DEFECTS, DEFECT_COLUMNS))
            ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for table in self._tables:
            table.close()

    def done(self) -> dict[str, Row]:
        """Return the rows that an interrupted run left, by image; those with all their defects."""
        predictions, defects = self._tables
        # A kill between the tables leaves regions without their image's row; they come twice then.
        found = {(row["image"], row["region"]) for row in defects.rows()}
        return {
            row["image"]: row | {name: float(row[name]) for name in _SHOWN if row[name]}
            for row in predictions.rows()
            if all(
                (row["image"], str(number)) in found
                for number in range(1, int(row["defect_regions"] or 0) + 1)
            )
        }

    def write_pictures(
        self, image_name: str, image: npt.NDArray[np.uint8], inspection: Inspection
    ) -> None:
        """Write mask and overlay of an image; may be called by several threads.

        Raises
        ------
        OSError
            If only these have no place, as with a name that is too long.
        """
        self.write_encoded(image_name, *encode_pictures(image, inspection))

    def write_encoded(self, image_name: str, mask: bytes, overlay: bytes) -> None:
        """Write mask and overlay as `write_pictures`, from what `encode_pictures` returned."""
        with self._named_errors(spared=_OF_ONE_FILE):
            write_atomically(self.mask_path(image_name), mask)
            write_atomically(self.overlay_path(image_name), overlay)

    def add(self, row: Row, regions: Sequence[Region] = ()) -> None:
        """Add the row of an image, and one for each of its regions."""
        predictions, defects = self._tables
        with self._named_errors():
            # The defects first: a row among the predictions says that all is there.
            defects.append(
                *(make_defect_row(row["image"], n, region) for n, region in enumerate(regions, 1))
            )
            predictions.append(row)

    def publish(self, order: Sequence[str] | None = None) -> None:
        """Give the tables their names.

        Parameters
        ----------
        order : sequence of str or None
            The images as they are to be ordered: what an interrupted run left of others is
            dropped, and of two rows of one the later is kept. By default rows stay as they came.
        """
        predictions, defects = self._tables
        with self._named_errors():
            if order is None:
                defects.publish()
                predictions.publish()
                return
            rows = {row["image"]: row for row in predictions.rows()}
            regions: dict[tuple[str, str], Row] = {
                (row["image"], row["region"]): row for row in defects.rows()
            }
            own = [rows[image] for image in order]
            defects.publish(
                regions[row["image"], str(number)]
                for row in own
                for number in range(1, int(row["defect_regions"] or 0) + 1)
            )
            predictions.publish(iter(own))

    def mask_path(self, image: str) -> Path:
        """Return where the mask of an image is written."""
        return self._picture("masks", image, ".png")

    def overlay_path(self, image: str) -> Path:
        """Return where the overlay of an image is written."""
        return self._picture("overlays", image, ".jpg")

    def _picture(self, folder: str, image: str, suffix: str) -> Path:
        return self.output / folder / f"{self._names[image]}{suffix}"

    @contextmanager
    def _named_errors(self, spared: frozenset[int] = frozenset()) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in spared:
                raise
            raise OutputError(
                f"{self.output} cannot be written to: {error.strerror or error}. What was done "
                "is kept: mend this, and go on with --resume."
            ) from error


def encode_pictures(image: npt.NDArray[np.uint8], inspection: Inspection) -> tuple[bytes, bytes]:
    """Return mask and overlay of an inspected image as the bytes of a PNG and a JPEG file."""
    return encode_mask(inspection.mask), encode_picture(draw_overlay(image, inspection.mask))


def draw_overlay(
    image: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """Return an image with the border of its mask, for people to look at.

    Returns
    -------
    ndarray of shape (H, W) or (H, W, 3), uint8
        At most 4096 pixels a side; as it is where the mask is empty.
    """
    small = shrink(image, _LONGEST_OVERLAY_PX)
    if not mask.any():
        return small
    # A region thinner than a pixel of the smaller picture stays.
    share = shrink(mask * np.uint8(255), _LONGEST_OVERLAY_PX)
    return draw_outline(small, (share > 0).astype(np.uint8), RED)


def _remove_unfinished(output: Path) -> None:
    """Remove the pictures that were being written when a run was killed."""
    for path in output.rglob(TEMPORARY):
        path.unlink(missing_ok=True)


def make_defect_row(image: str, number: int, region: Region) -> Row:
    """Return the row of ``defects.csv`` of a region, the first of an image being number 1."""
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
