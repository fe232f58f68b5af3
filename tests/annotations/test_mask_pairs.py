from pathlib import Path

import cv2
import numpy as np
import pytest

from defectseg.annotations.layouts import read_labels
from defectseg.dataset.prepare import prepare
from defectseg.image_io import write_gray
from tests.annotations.folders import noise, read_any, rectangle, refused, write_images

DEFECT = rectangle(slice(5, 9), slice(5, 9))
EMPTY = rectangle(slice(0), slice(0))


def make(root: Path) -> Path:
    """A defective and a good image, side by side with their masks."""
    write_images(root, "1.jpg", "2.jpg")
    write_gray(root / "1.png", DEFECT)
    write_gray(root / "2.png", EMPTY)
    return root


def test_image_and_mask_side_by_side(tmp_path: Path) -> None:
    root = tmp_path / "tiles"
    write_images(root / "a", "1.jpg")
    write_images(root / "b", "1.bmp")
    for folder in ("a", "b"):
        write_gray(root / folder / "1.png", DEFECT)
    assert read_any(root) == (
        "mask-pairs",
        [
            ("a/1.jpg", "tiles", 0, "a/1.png", None),
            ("b/1.bmp", "tiles", 0, "b/1.png", None),
        ],
    )


@pytest.mark.parametrize("folders", ["images masks", "imgs ground_truth", "image Label"])
def test_images_and_masks_in_folders_of_their_own(tmp_path: Path, folders: str) -> None:
    images, masks = folders.split()
    root = tmp_path / "tiles"
    write_images(root / images, "1.png", "2.jpg")
    for name in ("1.png", "2.png"):
        write_gray(root / masks / name, DEFECT)
    assert read_any(root) == (
        "mask-pairs",
        [
            (f"{images}/1.png", "tiles", 0, f"{masks}/1.png", None),
            (f"{images}/2.jpg", "tiles", 0, f"{masks}/2.png", None),
        ],
    )


def test_in_between_values_are_thresholded_and_empty_masks_are_good(tmp_path: Path) -> None:
    root = make(tmp_path / "raw")
    drawn = np.zeros_like(DEFECT)
    drawn[3, 4:8] = (127, 128, 200, 1)
    write_gray(root / "1.png", drawn)
    _, (summary,) = prepare(root, tmp_path / "out", val=0, test=0)
    assert (summary.good, summary.defective, summary.empty_masks) == (1, 1, 1)
    mask = cv2.imread(str(tmp_path / "out" / "masks" / "raw" / "1.png"), cv2.IMREAD_UNCHANGED)
    # 128 and 200 are defect, 127 and 1 are not.
    assert np.argwhere(mask == 255).tolist() == [[3, 5], [3, 6]]
    assert np.unique(mask).tolist() == [0, 255]


def test_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path / "raw")
    write_gray(root / "1.png", DEFECT[:20])
    problems = refused(root)
    assert problems[0].where == str(root / "1.png")
    assert problems[0].found == "a mask of 32×20 pixels for 1.jpg"
    assert problems[0].expected == "32×24, as its image"


def test_unreadable_mask_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path / "raw")
    write_images(root, "3.jpg")
    (root / "3.png").write_bytes((root / "1.png").read_bytes()[:60])
    (problem,) = refused(root)
    assert problem.where == str(root / "3.png")
    assert "an unreadable file" in problem.found


def test_files_without_partner_are_refused_each(tmp_path: Path) -> None:
    root = make(tmp_path / "raw")
    write_images(root, "3.jpg")
    write_gray(root / "4.png", DEFECT)
    found = {Path(problem.where).name: problem.found for problem in refused(root)}
    assert found == {"3.jpg": "no mask of the stem '3'", "4.png": "no image of the stem '4'"}
    labels = read_labels(root, "mask-pairs")
    assert (len(labels.rows_without_image), len(labels.images_without_row)) == (1, 1)


def test_two_images_for_one_mask_are_refused_also_when_unmatched_are_left_out(
    tmp_path: Path,
) -> None:
    root = make(tmp_path / "raw")
    write_gray(root / "1.bmp", noise(5))
    (problem,) = [problem for problem in refused(root, leave_out=True) if "stem" in problem.found]
    assert problem.found == "3 files of one stem: 1.bmp, 1.jpg, 1.png"


@pytest.mark.real_data
def test_every_magnetic_tile_has_its_mask(real_data: Path) -> None:
    layout, rows = read_any(real_data / "magnetic_tile" / "MT_Blowhole")
    assert layout == "mask-pairs"
    assert len(rows) == len(list((real_data / "magnetic_tile" / "MT_Blowhole").glob("*.jpg")))
