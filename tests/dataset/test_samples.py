from pathlib import Path

import numpy as np
import pytest

from defectseg.dataset.manifest import Sample
from defectseg.dataset.samples import read_label, read_sample_image
from defectseg.errors import DataError
from defectseg.image_io import write_gray, write_mask


def sample(image: Path, mask: Path | None) -> Sample:
    return Sample(image, mask, "p", mask is not None, "train", 6, 4, "0")


def test_image_and_label_are_read(tmp_path: Path) -> None:
    mask = np.zeros((4, 6), np.uint8)
    mask[1, 2] = 1
    write_gray(tmp_path / "image.png", 90 + mask)
    write_mask(tmp_path / "mask.png", mask)
    own = sample(tmp_path / "image.png", tmp_path / "mask.png")
    np.testing.assert_array_equal(read_sample_image(own), 90 + mask)
    np.testing.assert_array_equal(read_label(own, (4, 6)), mask)


def test_the_label_of_a_good_image_is_empty() -> None:
    assert not read_label(sample(Path("good.png"), None), (4, 6)).any()


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.png: cannot be opened"):
        read_sample_image(sample(tmp_path / "absent.png", None))


@pytest.mark.parametrize("mask", ["empty", "another size", "no image"])
def test_a_label_that_does_not_fit_is_named(mask: str, tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    if mask == "empty":
        write_mask(path, np.zeros((4, 6), np.uint8))
    elif mask == "another size":
        write_mask(path, np.ones((6, 4), np.uint8))
    else:
        path.write_text("no image")
    with pytest.raises(DataError, match=r"mask\.png: .*Prepare the data again"):
        read_label(sample(tmp_path / "image.png", path), (4, 6))
