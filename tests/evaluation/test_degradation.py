import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from defectseg.bundle import CurvePoint
from defectseg.config import CalibrationSettings
from defectseg.evaluation.degradation import (
    breaking_point,
    fit_curves,
    has_own_curve,
    refine_levels,
)

PROMISE = CalibrationSettings()


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


def test_a_model_that_finds_nothing_has_nothing_left() -> None:
    no = [False] * 3
    rows = answers(("untouched", 0, [0.0] * 3, no), ("noise", 5, [0.0] * 3, no))
    (point,) = fit_curves(rows, "P")
    assert (point.iou_share, point.iou_share_low) == (0, 0)


def test_better_than_untouched_counts_as_untouched() -> None:
    no = [False] * 3
    rows = answers(("untouched", 0, [0.5] * 3, no), ("noise", 5, [0.8] * 3, no))
    assert fit_curves(rows, "P")[0].iou_share == 1
