from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from defectseg.bundle import Thresholds
from defectseg.config import CalibrationSettings
from defectseg.dataset.manifest import Sample
from defectseg.errors import ConfigError
from defectseg.evaluation.degradation import breaking_point, fit_curves
from defectseg.evaluation.robustness import (
    choose_kinds,
    choose_sweep_images,
    count_answers,
    sweep,
    sweep_closely,
)
from defectseg.image_io import write_gray, write_mask
from defectseg.quality.distortions import SWEEP
from defectseg.quality.measures import MEASURES

PROMISE = CalibrationSettings()
THRESHOLDS = Thresholds(pixel=0.3, review=0.3, fail=0.7, score_area_px={"P": 20})


class Spots:
    """Takes bright pixels for defects."""

    name, precision = "spots", "float32"

    def probability(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return image.astype(np.float32) / np.float32(255)


def sample(folder: Path, name: str, *, defective: bool, product: str = "P") -> Sample:
    """A spot of 0.9 on a ground of 0.1, as `Spots` sees them."""
    image, mask = np.full((40, 40), 26, np.uint8), np.zeros((40, 40), np.uint8)
    image[::2, ::2] += 3
    if defective:
        image[10:20, 10:20] = 230
        mask[10:20, 10:20] = 1
        write_mask(folder / f"{name}_mask.png", mask)
    write_gray(folder / f"{name}.png", image)
    return Sample(
        image=folder / f"{name}.png",
        mask=folder / f"{name}_mask.png" if defective else None,
        product=product,
        defective=defective,
        split="val",
        width=40,
        height=40,
        sha256=name.encode().hex().ljust(8, "0"),
    )


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    return [
        sample(tmp_path, "a", defective=True),
        sample(tmp_path, "b", defective=True),
        sample(tmp_path, "good", defective=False),
    ]


def test_every_image_is_answered_at_every_level(samples: list[Sample]) -> None:
    levels = {"darkening": (0.9, 0.3), "gaussian_blur": (1.0,)}
    ticks: list[int] = []
    rows = sweep(
        Spots(),
        samples,
        THRESHOLDS,
        ellipses=False,
        levels=levels,
        on_image=lambda: ticks.append(1),
    )
    assert len(rows) == len(ticks) == 3 * 4
    dark = rows[(rows["kind"] == "darkening") & (rows["level"] == 0.3)]
    # 0.9 · 0.3 = 0.27 is a PASS.
    assert list(dark["missed"]) == [True, True, False]
    assert list(dark["iou"].fillna(-1)) == [0, 0, -1]
    untouched = rows[rows["kind"] == "untouched"]
    assert list(untouched["iou"].fillna(-1)) == [1, 1, -1]
    assert not untouched["missed"].any()
    assert not rows["alarmed"].any()
    assert np.isfinite(rows[list(MEASURES)].to_numpy()).all()


class Lost(Spots):
    """Answers with what is no number."""

    def probability(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return np.full(image.shape, np.nan, np.float32)


def test_a_score_that_is_no_number_is_the_worst_of_each(samples: list[Sample]) -> None:
    rows = sweep(Lost(), samples, THRESHOLDS, ellipses=False, levels={})
    assert list(rows["missed"]) == [True, True, False]
    assert list(rows["alarmed"]) == list(rows["rejected"]) == [False, False, True]


def test_the_same_image_is_distorted_alike_each_time(samples: list[Sample]) -> None:
    levels = {"noise": (50.0,), "motion_blur": (9.0,)}
    once, again = (
        sweep(Spots(), samples, THRESHOLDS, ellipses=False, levels=levels) for _ in range(2)
    )
    pd.testing.assert_frame_equal(once, again)


def test_every_kind_of_defect_is_swept(tmp_path: Path) -> None:
    every = [
        sample(tmp_path / kind, f"{kind}{number}", defective=True)
        for kind in ("blowhole", "crack", "break")
        for number in range(4)
    ]
    assert {own.kind for own in choose_sweep_images(every, 3)} == {"blowhole", "crack", "break"}


def test_sweep_images_are_shared_among_products(tmp_path: Path) -> None:
    every = [
        sample(tmp_path, f"{product}{number}{defective}", defective=defective, product=product)
        for product in "AB"
        for number in range(8)
        for defective in (True, False)
    ]
    chosen = choose_sweep_images(every, 10)
    assert [(s.product, s.defective) for s in chosen] == [
        *[("A", True)] * 5,
        *[("A", False)] * 2,
        *[("B", True)] * 5,
        *[("B", False)] * 2,
    ]
    # However few, three of each product.
    assert sum(s.defective for s in choose_sweep_images(every, 1)) == 6


def test_kinds_are_chosen_by_name() -> None:
    assert list(choose_kinds(None)) == list(SWEEP)
    assert list(choose_kinds(["noise", "gaussian_blur"])) == ["gaussian_blur", "noise"]
    with pytest.raises(ConfigError, match=r"fog, snow is not known; expected gaussian_blur and"):
        choose_kinds(["gaussian_blur", "snow", "fog"])
    with pytest.raises(ConfigError, match="gaussian_blur is missing"):
        choose_kinds(["noise"])


def test_a_full_sweep_takes_as_many_answers_as_it_says(samples: list[Sample]) -> None:
    rows = sweep(Spots(), samples[:1], THRESHOLDS, ellipses=False)
    assert len(rows) == count_answers(samples[:1])


def test_a_close_sweep_comes_near_to_where_the_promise_breaks(samples: list[Sample]) -> None:
    rows = sweep_closely(
        Spots(), samples, THRESHOLDS, ellipses=False, promise=CalibrationSettings()
    )
    dark = [point for point in fit_curves(rows, "P") if point.kind == "darkening"]
    broken = breaking_point(dark, PROMISE)
    assert broken is not None
    last_good = dark[dark.index(broken) - 1]
    # A spot of 0.9 is missed from 0.3 / 0.9 = 0.33 on. Coarse levels are 0.4 and 0.15; between
    # them comes their geometric mean 0.245, and then that of 0.4 and 0.245.
    assert [round(point.level, 3) for point in dark][:4] == [0.4, 0.313, 0.245, 0.15]
    assert (last_good.level, round(broken.level, 3)) == (0.4, 0.313)
