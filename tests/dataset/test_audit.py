from pathlib import Path

import numpy as np

from defectseg.dataset.audit import MAX_TILES, audit_sheet
from defectseg.dataset.manifest import Sample
from defectseg.image_io import write_gray, write_mask
from defectseg.pictures import RED

# As `contact_sheet` lays them out: a gap of 8, tiles of 256 with 22 for the caption beneath.
GAP, ACROSS, DOWN = 8, 256 + 8, 256 + 22 + 8


def make(folder: Path, product: str, count: int, *, defective: bool = True) -> list[Sample]:
    """Images of 20×30 that are flat, of gray value 0, 1, 2 …, with a 4×4 defect at row 3, col 9."""
    mask = np.zeros((20, 30), np.uint8)
    mask[3:7, 9:13] = 1
    samples = []
    for number in range(count):
        image = folder / product / f"{number}.png"
        write_gray(image, np.full((20, 30), number, np.uint8))
        path = image.with_suffix(".mask.png") if defective else None
        if path:
            write_mask(path, mask)
        samples.append(Sample(image, path, product, defective, "train", 30, 20, "ab12"))
    return samples


def corners(sheet: np.ndarray) -> list[int]:
    """The gray value of each tile's upper left pixel, tile after tile."""
    tiles = [
        sheet[top, left].tolist()
        for top in range(GAP, sheet.shape[0], DOWN)
        for left in range(GAP, sheet.shape[1], ACROSS)
    ]
    assert all(len(set(tile)) == 1 for tile in tiles)
    return [tile[0] for tile in tiles]


def test_the_line_runs_around_the_defect(tmp_path: Path) -> None:
    sheet = audit_sheet(make(tmp_path, "A", 1))
    red = np.argwhere((sheet == RED).all(axis=2)) - GAP
    # The border of rows 3 to 6 and columns 9 to 12: 16 pixels less the 4 inner ones.
    assert len(red) == 12
    assert (red.min(axis=0).tolist(), red.max(axis=0).tolist()) == ([3, 9], [6, 12])


def test_good_images_are_not_drawn(tmp_path: Path) -> None:
    samples = make(tmp_path, "A", 3, defective=False) + make(tmp_path, "B", 2)
    assert corners(audit_sheet(samples)) == [0, 1]


def test_tiles_are_shared_by_the_products_and_taken_from_their_whole_range(tmp_path: Path) -> None:
    samples = make(tmp_path, "A", 45) + make(tmp_path, "B", 5)
    grays = corners(audit_sheet(samples))
    # Half of 24 for each product, and B has no more than 5. The paper's 250 fills the last row.
    shown = [gray for gray in grays if gray != 250]
    assert MAX_TILES == 24
    # linspace(0, 44, 12) has steps of 4.
    assert shown == [*range(0, 45, 4), 0, 1, 2, 3, 4]
