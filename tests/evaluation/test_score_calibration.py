from pathlib import Path

import numpy as np
import pytest

from defectseg.config import parse_config
from defectseg.dataset.manifest import Sample
from defectseg.errors import DataError
from defectseg.evaluation.score_calibration import calibrate_thresholds, score_areas
from defectseg.image_io import write_gray, write_mask
from tests.engines import Brightness


def sample(product: str, mask: Path | None = None, image: Path = Path("image.png")) -> Sample:
    return Sample(
        image=image,
        mask=mask,
        product=product,
        defective=mask is not None,
        split="train",
        width=100,
        height=100,
        sha256="0",
    )


def test_score_areas_are_those_of_small_labels_of_each_product(tmp_path: Path) -> None:
    two = np.zeros((100, 100), np.uint8)
    two[0:2, 0:3] = 1  # a speck beside the defect, which does not count
    two[50:70, 50:65] = 1  # 300 px
    write_mask(tmp_path / "two.png", two)
    small, tiny = np.zeros((2, 100, 100), np.uint8)
    small[0:10, 0:10] = 1
    write_mask(tmp_path / "small.png", small)
    tiny[4, 4] = 1
    write_mask(tmp_path / "tiny.png", tiny)
    samples = [
        sample("A", tmp_path / "two.png"),
        sample("A", tmp_path / "small.png"),
        sample("A"),
        sample("B", tmp_path / "tiny.png"),
        sample("C"),
    ]
    assert score_areas(samples) == {
        "A": 110,  # the 5th percentile of 100 and 300: 100 + 0.05 × 200
        "B": 1,
        "C": 11,  # of 1, 100 and 300 together: 1 + 0.1 × 99 = 10.9
    }


def test_a_product_without_training_images_has_the_area_of_all(tmp_path: Path) -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[:2, :5] = 1
    write_mask(tmp_path / "mask.png", mask)
    assert score_areas([sample("A", tmp_path / "mask.png")], also=["B"]) == {"A": 10, "B": 10}


def disc(radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:100, :100]
    return np.hypot(rows - 50, columns - 50) <= radius


@pytest.mark.parametrize(("ellipses", "expected"), [(False, 0.45), (True, 0.5)])
def test_the_pixel_threshold_is_chosen_on_masks_as_they_will_be_answered(
    ellipses: bool, expected: float, tmp_path: Path
) -> None:
    # A ring from radius 6 to 8, bright, is filled at 0.45. The label has radius 10.
    # As it is, the ring covers 28 of 100 parts of the label, filled 64: up to 0.45 is better.
    # Along an axis the ring's variance is (8² + 6²) / 4 = 25, the ellipse of it has radius
    # 2·5 = 10, as the label, and the ellipse of the filled ring radius 8: from 0.5 on is better.
    image = np.zeros((100, 100), np.uint8)
    image[disc(8)] = 116  # 116 / 255 = 0.455
    image[disc(8) & ~disc(6)] = 230
    write_gray(tmp_path / "defective.png", image)
    write_mask(tmp_path / "mask.png", disc(10).astype(np.uint8))
    write_gray(tmp_path / "good.png", np.zeros((100, 100), np.uint8))
    defective = sample("A", tmp_path / "mask.png", tmp_path / "defective.png")
    good = sample("A", image=tmp_path / "good.png")
    settings = {"data": "data", "run": "run", "inference": {"ellipses": ellipses}}
    config = parse_config(settings, "the test's settings")
    ticks: list[int] = []
    val = [good, defective, defective]  # two that agree: one alone would leave 0.5
    found = calibrate_thresholds(
        Brightness(), [defective, good], val, config, lambda: ticks.append(1)
    )
    assert found.pixel == expected
    assert found.score_area_px == {"A": int(disc(10).sum())}
    assert 0 < found.review < found.fail < 1
    assert len(ticks) == 5  # each once, the defective ones again


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_text("no image")
    config = parse_config({"data": "data", "run": "run"}, "the test's settings")
    write_mask(tmp_path / "mask.png", disc(10).astype(np.uint8))
    train = [sample("A", tmp_path / "mask.png")]
    with pytest.raises(DataError, match=r"broken\.png: cannot be decoded"):
        calibrate_thresholds(Brightness(), train, [sample("A", image=broken)], config, lambda: None)
