from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from defectseg.bundle import Export, Thresholds
from defectseg.dataset.manifest import Sample
from defectseg.evaluation.parity import measure_parity
from defectseg.image_io import write_gray, write_mask
from tests.engines import Brightness

THRESHOLDS = Thresholds(pixel=0.5, review=0.4, fail=0.6, score_area_px={"P": 50})
DEFECT = np.s_[20:30, 20:40]  # 200 of 10,000 pixels


class Changed(Brightness):
    """Answers as the reference does, but for what is set within one place."""

    def __init__(self, place: tuple[slice, slice], probability: float, first: int = 0) -> None:
        self.place, self.new, self.left = place, probability, first

    def probability(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        answer = super().probability(image)
        self.left -= 1
        if self.left < 0:  # from image number `first` on
            answer[self.place] = self.new
        return answer


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Two defective images, of which one is bright, and two good ones that are dark."""
    image = np.full((100, 100), 20, np.uint8)
    defective = image.copy()
    defective[DEFECT] = 230
    label = (defective > 100).astype(np.uint8)
    write_gray(tmp_path / "good.png", image)
    write_gray(tmp_path / "defective.png", defective)
    write_mask(tmp_path / "mask.png", label)
    return [
        Sample(
            image=tmp_path / f"{name}.png",
            mask=tmp_path / "mask.png" if name == "defective" else None,
            product="P",
            defective=name == "defective",
            split="val",
            width=100,
            height=100,
            sha256="0",
        )
        for name in ("defective", "defective", "good", "good")
    ]


def compare(samples: list[Sample], engine: Brightness) -> Export:
    return measure_parity(Brightness(), {"own": engine}, samples, THRESHOLDS, ellipses=False)["own"]


def test_the_same_answers_are_accepted(samples: list[Sample]) -> None:
    assert compare(samples, Brightness()) == Export(
        precision="float32",
        images=4,
        agreement=1,
        iou_drop=0,
        flipped_share=0,
        greatest_difference=0,
        refused="",
    )


def test_a_little_less_sure_is_accepted_and_told(samples: list[Sample]) -> None:
    found = compare(samples, Changed(np.s_[20:21, 20:21], 0.85))
    assert found.greatest_difference == pytest.approx(0.85 - 20 / 255)  # on a good image
    assert (found.flipped_share, found.refused) == (0, "")


def test_pixels_that_change_sides_are_refused_from_a_thousandth_on(samples: list[Sample]) -> None:
    # 1 and 41 of 40,000 pixels: on the last of the four, a good image, too few for a REVIEW.
    one = compare(samples, Changed(np.s_[20:30, 20:24], 0.0, first=1_000))
    assert one.flipped_share == 0
    # A column less of the defect, of both images: 10 + 10 of 40,000; the IoU is 0.95 instead of 1.
    found = compare(samples, Changed(np.s_[20:30, 20:21], 0.0))
    assert found.flipped_share == pytest.approx(20 / 40_000)
    assert found.iou_drop == pytest.approx(0.05)
    assert found.refused == "the IoU drops by 0.0500, more than 0.005"
    # A rim of 22 pixels around each: 44 of 40,000, beside what the IoU loses.
    wide = compare(samples, Changed(np.s_[19:20, 19:41], 0.9))
    assert wide.flipped_share == pytest.approx(44 / 40_000)
    assert "0.110 % of the pixels change sides, more than 0.1 %" in wide.refused


def test_another_verdict_on_one_image_is_refused(samples: list[Sample]) -> None:
    # The last good image is a FAIL.
    found = compare(samples, Changed(np.s_[60:70, 60:70], 0.9, first=3))
    assert found.agreement == 3 / 4
    assert "verdicts agree in 75.0 % of the images, not 99.5 %" in found.refused


def test_what_is_no_number_is_refused(samples: list[Sample]) -> None:
    found = compare(samples, Changed(np.s_[60:61, 60:61], np.nan))
    assert "verdicts agree" in found.refused
