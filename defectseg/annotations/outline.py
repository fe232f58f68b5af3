"""The records of labels that are no ellipses: polygons, and masks of single pixels."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Polygon:
    """A closed polygon; its inside is the defect.

    Attributes
    ----------
    vertices_xy : tuple of (float, float)
        At least 3 corners, the last joined with the first. As in `Ellipse`: column and row, in
        pixels, **1-based**, so that the pixel in the upper left has its centre at (1, 1).
    source, label : str
        As in `Ellipse`.
    """

    vertices_xy: tuple[tuple[float, float], ...]
    source: str = field(default="", compare=False)
    label: str = field(default="", compare=False)


@dataclass(frozen=True)
class PixelMask:
    """A defect that was painted pixel by pixel.

    Attributes
    ----------
    run_lengths : tuple of int
        As in COCO: how many pixels are not of the defect, how many are, how many are not, and so
        on, down the columns from the upper left. They make up the whole image.
    shape_hw : tuple of int
        Height and width of the whole image.
    source, label : str
        As in `Ellipse`.
    """

    run_lengths: tuple[int, ...]
    shape_hw: tuple[int, int]
    source: str = field(default="", compare=False)
    label: str = field(default="", compare=False)
