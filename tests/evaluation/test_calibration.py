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
