import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from defectseg.bundle import CurvePoint, Thresholds
from defectseg.config import CalibrationSettings
from defectseg.dataset.manifest import Sample
from defectseg.evaluation.robustness import (
    breaking_point,
    choose_sweep_images,
    count_answers,
    fit_curves,
    has_own_curve,
    refine_levels,
    sweep,
    sweep_closely,
)
from defectseg.image_io import write_gray, write_mask
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


def test_a_full_sweep_takes_as_many_answers_as_it_says(samples: list[Sample]) -> None:
    rows = sweep(Spots(), samples[:1], THRESHOLDS, ellipses=False)
    assert len(rows) == count_answers(samples[:1])


def test_the_same_image_is_distorted_alike_each_time(samples: list[Sample]) -> None:
    levels = {"noise": (50.0,), "motion_blur": (9.0,)}
    once, again = (
        sweep(Spots(), samples, THRESHOLDS, ellipses=False, levels=levels) for _ in range(2)
    )
    pd.testing.assert_frame_equal(once, again)


def answers(*values: tuple[str, float, list[float], list[bool]]) -> pd.DataFrame:
    """Rows of `sweep`: kind, level, IoU and missed of each defective image."""
    return pd.DataFrame(
        {
            "image": str(number),
            "product": "P",
            "defective": True,
            "kind": kind,
            "level": level,
            "iou": iou,
            "missed": missed,
            "margin": -9.0 if missed else 9.0,
            "alarmed": False,
            "rejected": False,
        }
        for kind, level, ious, misses in values
        for number, (iou, missed) in enumerate(zip(ious, misses, strict=True))
    )


def test_curves_by_hand() -> None:
    no = [False] * 4
    rows = answers(
        ("untouched", 0, [0.8, 0.8, 0.4, 0.4], no),  # mean 0.6
        ("noise", 5, [0.8, 0.8, 0.4, 0.4], no),
        ("noise", 10, [0.4, 0.4, 0.2, 0.2], [True, False, False, False]),  # 0.3 is half of 0.6
        ("noise", 15, [0.6, 0.6, 0.2, 0.2], [False] * 4),  # better than 10: both are taken as one
        ("jpeg", 95, [0.8, 0.8, 0.4, 0.4], no),
        ("jpeg", 60, [0.0] * 4, [True] * 4),
    )
    curve = {(point.kind, point.level): point for point in fit_curves(rows, "P")}
    assert list(curve) == [("noise", 5), ("noise", 10), ("noise", 15), ("jpeg", 95), ("jpeg", 60)]
    assert curve["noise", 5].iou_share == pytest.approx(1)
    # Means of 0.3 and 0.4, over 0.6; of 1/4 and 0 missed.
    for level in (10, 15):
        assert curve["noise", level].iou_share == pytest.approx(0.35 / 0.6)
        assert curve["noise", level].escape_rise == pytest.approx(0.125)
        # Which of the four are drawn makes a difference.
        assert curve["noise", level].iou_share_low < 0.35 / 0.6
        assert curve["noise", level].escape_rise_high > 0.125
    assert [curve["noise", level].missed for level in (5, 10, 15)] == [0, 1, 0]
    assert curve["noise", 10].defective == 4
    # Here they all agree.
    assert curve["jpeg", 60].iou_share_low == curve["jpeg", 60].iou_share == 0
    assert curve["jpeg", 60].escape_rise_high == curve["jpeg", 60].escape_rise == 1


def test_curves_never_rise_with_the_level() -> None:
    rng = np.random.default_rng(0)
    levels = (5, 10, 15, 25, 50, 100)
    rows = answers(
        ("untouched", 0, list(rng.uniform(0.5, 1, 6)), [False] * 6),
        *(
            ("noise", level, list(rng.uniform(0, 1, 6)), list(rng.random(6) < 0.5))
            for level in levels
        ),
    )
    for before, after in pairwise(fit_curves(rows, "P")):
        assert before.iou_share >= after.iou_share
        assert before.iou_share_low >= after.iou_share_low
        assert before.escape_rise <= after.escape_rise
        assert before.escape_rise_high <= after.escape_rise_high


def test_escapes_are_expected_where_margins_are_small_by_hand() -> None:
    no = [False] * 2
    rows = answers(("untouched", 0, [0.8] * 2, no), ("noise", 5, [0.8] * 2, no))
    rows["margin"] = [100.0, 100.0, 1.0, 3.0]
    (point,) = fit_curves(rows, "P")
    # Mean 2, standard deviation √2, of a further image √2 · √(1 + 1/2) = √3; of Student's t with
    # one degree of freedom, a Cauchy distribution, this is below -2/√3:
    assert point.escape_rise == 0
    expected = 0.5 - math.atan(2 / math.sqrt(3)) / math.pi
    assert point.escape_rise_high == pytest.approx(expected, abs=1e-4)


def test_of_one_defective_image_nothing_is_promised() -> None:
    rows = answers(("untouched", 0, [0.8], [False]), ("noise", 5, [0.8], [False]))
    assert fit_curves(rows, "P")[0].escape_rise_high == 1


def test_a_product_with_few_defective_images_has_the_curve_of_all() -> None:
    no = [False] * 4
    rows = answers(
        ("untouched", 0, [0.8, 0.8, 0.8, 0.8], no), ("noise", 5, [0.8, 0.8, 0.8, 0.4], no)
    )
    few = rows.assign(product=np.where(rows["image"] == "3", "Q", "P"))
    assert fit_curves(few, "Q")[0].iou_share == pytest.approx(0.7 / 0.8)
    assert fit_curves(few, "P")[0].iou_share == pytest.approx(1)
    assert (has_own_curve(few, "P"), has_own_curve(few, "Q")) == (True, False)


def points(*shares: float, rises: tuple[float, ...] = ()) -> list[CurvePoint]:
    return [
        CurvePoint(
            kind="noise",
            level=level,
            iou_share=share,
            iou_share_low=share,
            escape_rise=rise,
            escape_rise_high=rise,
            missed=0,
            defective=9,
            overkill=0,
        )
        for level, share, rise in zip(
            (5, 10, 20, 40), shares, rises or (0.0,) * len(shares), strict=False
        )
    ]


def test_the_promise_breaks_where_iou_or_escapes_do() -> None:
    assert breaking_point(points(1, 0.8, 0.79), PROMISE).level == 20  # type: ignore[union-attr]
    escapes = points(1, 1, 1, rises=(0, 0.03, 0.5))
    assert breaking_point(escapes, PROMISE).level == 10  # type: ignore[union-attr]
    assert breaking_point(points(1, 0.9), PROMISE) is None


def test_levels_are_refined_between_good_and_bad() -> None:
    # √(10 · 20)
    assert refine_levels(points(1, 0.9, 0.1), PROMISE) == {
        "noise": [pytest.approx(14.142, abs=1e-3)]
    }
    assert refine_levels(points(1, 0.9, 0.9), PROMISE) == {}
    assert refine_levels(points(0.1, 0.1), PROMISE) == {}


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


def test_every_kind_of_defect_is_swept(tmp_path: Path) -> None:
    every = [
        sample(tmp_path / kind, f"{kind}{number}", defective=True)
        for kind in ("blowhole", "crack", "break")
        for number in range(4)
    ]
    assert {own.kind for own in choose_sweep_images(every, 3)} == {"blowhole", "crack", "break"}


def test_a_model_that_finds_nothing_has_nothing_left() -> None:
    no = [False] * 3
    rows = answers(("untouched", 0, [0.0] * 3, no), ("noise", 5, [0.0] * 3, no))
    (point,) = fit_curves(rows, "P")
    assert (point.iou_share, point.iou_share_low) == (0, 0)


def test_better_than_untouched_counts_as_untouched() -> None:
    no = [False] * 3
    rows = answers(("untouched", 0, [0.5] * 3, no), ("noise", 5, [0.8] * 3, no))
    assert fit_curves(rows, "P")[0].iou_share == 1


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
