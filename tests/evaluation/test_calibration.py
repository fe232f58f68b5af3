from pathlib import Path

import numpy as np

from defectseg.dataset.manifest import Sample
from defectseg.evaluation.calibration import score_areas
from defectseg.image_io import write_mask


def sample(product: str, mask: Path | None = None) -> Sample:
    return Sample(
        image=Path("image.png"),
        mask=mask,
        product=product,
        defective=mask is not None,
        split="train",
        width=100,
        height=100,
        sha256="0",
    )


def test_score_areas_are_three_quarters_of_a_small_label_of_each_product(tmp_path: Path) -> None:
    two = np.zeros((100, 100), np.uint8)
    two[0:10, 0:10] = 1  # 100 px
    two[50:70, 50:65] = 1  # 300 px
    write_mask(tmp_path / "two.png", two)
    tiny = np.zeros((100, 100), np.uint8)
    tiny[4, 4] = 1
    write_mask(tmp_path / "tiny.png", tiny)
    samples = [
        sample("A", tmp_path / "two.png"),
        sample("A"),
        sample("B", tmp_path / "tiny.png"),
        sample("C"),
    ]
    assert score_areas(samples) == {
        "A": 83,  # the 5th percentile of 100 and 300 is 110; three quarters of it are 82.5
        "B": 1,  # never less than a pixel
        "C": 9,  # of 1, 100 and 300 together: 1 + 0.1 × 99 = 10.9, and 8.2 of that
    }
