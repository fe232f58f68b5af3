"""Pictures for people: masks drawn over images, and contact sheets."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from defectseg.image_io import to_rgb

RED = (230, 40, 40)
GREEN = (40, 200, 80)
_PAPER = 250
_INK = (30, 30, 30)


def draw_outline(
    image: npt.NDArray[np.uint8],
    mask: npt.NDArray[np.uint8],
    colour: tuple[int, int, int] = RED,
) -> npt.NDArray[np.uint8]:
    """Draw the border of a mask over an image.

    Parameters
    ----------
    image : ndarray of shape (H, W) or (H, W, 3), uint8
    mask : ndarray of shape (H, W), uint8, 0 or 1
    colour : tuple of int
        RGB.

    Returns
    -------
    ndarray of shape (H, W, 3), uint8
        A new picture; the line is thicker on larger images, so that it shows when they are shrunk.
    """
    picture = np.ascontiguousarray(to_rgb(image)).copy()
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    thickness = max(1, round(max(mask.shape) / 250))
    cv2.drawContours(picture, contours, -1, colour, thickness)
    return picture


def shrink(image: npt.NDArray[np.uint8], longest: int) -> npt.NDArray[np.uint8]:
    """Return the image reduced so that its longer side is at most `longest` pixels."""
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def contact_sheet(
    tiles: Sequence[npt.NDArray[np.uint8]],
    captions: Sequence[str],
    *,
    columns: int = 6,
    tile_px: int = 256,
) -> npt.NDArray[np.uint8]:
    """Lay pictures out in rows, each with a caption beneath.

    Parameters
    ----------
    tiles : sequence of ndarray of shape (H, W) or (H, W, 3), uint8
        Larger ones are reduced to fit `tile_px`.
    captions : sequence of str
        One a tile; other than ASCII letters are shown as ``?``.

    Returns
    -------
    ndarray of shape (H, W, 3), uint8
    """
    gap, text = 8, 22
    columns = min(columns, max(1, len(tiles)))
    rows = -(-len(tiles) // columns)
    shape = (rows * (tile_px + text + gap) + gap, columns * (tile_px + gap) + gap, 3)
    sheet = np.full(shape, _PAPER, np.uint8)
    for index, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        small = to_rgb(shrink(tile, tile_px))
        top = gap + index // columns * (tile_px + text + gap)
        left = gap + index % columns * (tile_px + gap)
        sheet[top : top + small.shape[0], left : left + small.shape[1]] = small
        plain = caption.encode("ascii", "replace").decode()
        place = (left, top + tile_px + 15)
        cv2.putText(sheet, plain, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)
    return sheet
