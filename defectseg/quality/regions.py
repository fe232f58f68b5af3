"""Parts of an image that are measured on their own: a region, or the tiles of a grid."""

import numpy as np

from defectseg.quality.focus import Gray


def crop(gray: Gray, region_xywh: tuple[int, int, int, int]) -> Gray:
    """Return a region of an image: its left column, top row, width and height in pixels.

    Raises
    ------
    ValueError
        If it is empty, or does not lie within the image.
    """
    left, top, width, height = region_xywh
    rows, columns = gray.shape
    inside = 0 <= left < left + width <= columns and 0 <= top < top + height <= rows
    if not inside:
        raise ValueError(
            f"the region {left},{top},{width},{height} (left, top, width, height) does not lie "
            f"within the image of {columns}×{rows} pixels"
        )
    return gray[top : top + height, left : left + width]


def divide_into_tiles(gray: Gray, rows: int, columns: int) -> dict[tuple[int, int], Gray]:
    """Return the tiles of a grid by (row, column), as equal in size as whole pixels allow.

    Raises
    ------
    ValueError
        If the image has fewer pixels along a side than the grid has tiles.
    """
    height, width = gray.shape
    if not 1 <= rows <= height or not 1 <= columns <= width:
        raise ValueError(
            f"a grid of {rows}×{columns} does not fit the image of {height}×{width} pixels"
        )
    return {
        (row, column): tile
        for row, strip in enumerate(np.array_split(gray, rows, axis=0))
        for column, tile in enumerate(np.array_split(strip, columns, axis=1))
    }
