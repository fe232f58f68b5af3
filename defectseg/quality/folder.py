"""The sharpness of a folder: a row for every image, measured without a model."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defectseg.errors import DataError, ImageReadError
from defectseg.image_io import FoundFile, read_image, require_images, to_gray
from defectseg.quality.focus import Gray
from defectseg.quality.measures import UNMEASURABLE, Measures, measure
from defectseg.quality.regions import crop, divide_into_tiles

if TYPE_CHECKING:
    from defectseg.quality.blur_classifier import BlurClassifier


@dataclass(frozen=True)
class MeasuredImage:
    """What was measured of an image, or of a tile of it.

    Attributes
    ----------
    image : str
        Path relative to the folder.
    measures : Measures
        Of an image that could not be read, `measures.UNMEASURABLE`.
    tile : tuple of (int, int) or None
        Row and column in the grid, where one was asked for.
    sharp_probability : float or None
        Of the blur classifier, where one was given.
    problem : str
        Why the image could not be measured; empty where it could.
    """

    image: str
    measures: Measures
    tile: tuple[int, int] | None = None
    sharp_probability: float | None = None
    problem: str = ""

    def row(self) -> dict[str, Any]:
        """Return the row of the table: the columns that were asked for, and no others."""
        row = {"image": self.image} | asdict(self.measures)
        if self.tile is not None:
            row |= {"tile_row": self.tile[0], "tile_column": self.tile[1]}
        if self.sharp_probability is not None:
            row["sharp_probability"] = self.sharp_probability
        return row


def measure_folder(
    source: Path,
    *,
    region_xywh: tuple[int, int, int, int] | None = None,
    grid: tuple[int, int] | None = None,
    classifier: "BlurClassifier | None" = None,
    on_image: Callable[[int], None] = lambda total: None,
) -> list[MeasuredImage]:
    """Measure every image below a folder.

    Parameters
    ----------
    source : Path
    region_xywh : tuple of int, optional
        Left column, top row, width and height of the part that is measured.
    grid : tuple of int, optional
        Rows and columns of tiles, each of which is measured on its own.
    classifier : BlurClassifier, optional
    on_image : callable
        Called after each image with the number of all of them.

    Returns
    -------
    list of MeasuredImage
        In sorted order; of each image one or, with a grid, one a tile. What cannot be read, or is
        too small for region or grid, has its row too, as one that is not sharp at all.

    Raises
    ------
    DataError
        If there are no images, or a grid has no tiles.
    """
    if grid is not None and min(grid) < 1:
        raise DataError(f"a grid of {grid[0]}×{grid[1]} has no tiles; expected at least 1×1.")
    found, _ = require_images(source)
    rows = []
    for file in found:
        try:
            parts = _read_parts(file, region_xywh, grid)
        except (ImageReadError, ValueError) as error:
            tiles = _tile_places(grid)
            score = None if classifier is None else 0.0
            rows += [
                MeasuredImage(file.relative, UNMEASURABLE, tile, score, str(error))
                for tile in tiles
            ]
        else:
            for tile, part in parts.items():
                score = classifier.sharp_probability(part) if classifier else None
                rows.append(MeasuredImage(file.relative, measure(part), tile, score))
        on_image(len(found))
    return rows


def _tile_places(grid: tuple[int, int] | None) -> list[tuple[int, int] | None]:
    if grid is None:
        return [None]
    return [(row, column) for row in range(grid[0]) for column in range(grid[1])]


def _read_parts(
    file: FoundFile, region_xywh: tuple[int, int, int, int] | None, grid: tuple[int, int] | None
) -> dict[tuple[int, int] | None, Gray]:
    if file.problem:
        raise ImageReadError(file.problem)
    gray: Gray = to_gray(read_image(file.path))
    if region_xywh is not None:
        gray = crop(gray, region_xywh)
    if grid is None:
        return {None: gray}
    return dict(divide_into_tiles(gray, *grid).items())
