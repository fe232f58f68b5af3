import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from defectseg.evaluation.figures import Rate, answer_empty, greatest_share, rate, summarise


def row(product: str, kind: str, outcome: str, score: float, **counts: int) -> dict[str, object]:
    counts = {"overlap_px": 0, "true_px": 0, "predicted_px": 0, "defects_hit": 0} | counts
    defective = counts["true_px"] > 0
    return {
        "image": "",
        "product": product,
        "kind": kind,
        "defective": defective,
        "outcome": outcome,
        "score": score,
        "alarmed": score >= 0.5,
        "sharpness": 1.0,
        "trusted": outcome != "RETAKE",
        "defects": int(defective),
        "error": "",
        **counts,
    }


def test_what_few_images_leave_open_by_hand() -> None:
    # With 0 of 6 seen, a share s is refuted where (1 - s)^6 < 0.05: beyond 1 - 0.05^(1/6).
    assert greatest_share(0, 6) == pytest.approx(1 - 0.05 ** (1 / 6))
    assert greatest_share(6, 6) == 1
    assert greatest_share(0, 600) < greatest_share(0, 60) < greatest_share(1, 60)


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        [
            row("gear", "good", "PASS", 0.1),
            row("gear", "good", "FAIL", 0.7, predicted_px=10),
            row("bolt", "good", "REVIEW", 0.5),
            row("bolt", "good", "RETAKE", 0.2),
            row("gear", "crack", "FAIL", 0.9, overlap_px=5, true_px=10, predicted_px=5)
            | {"defects_hit": 1},
            row("gear", "hole", "PASS", 0.1, true_px=10),
            row("bolt", "hole", "FAIL", 0.8, overlap_px=20, true_px=20, predicted_px=20)
            | {"defects_hit": 1},
            row("bolt", "hole", "ERROR", np.nan, true_px=0) | {"defective": True},
        ]
    )


def test_figures_by_hand(frame: pd.DataFrame) -> None:
    overall = summarise(frame).overall.model
    assert (overall.good_images, overall.defective_images, overall.unreadable_images) == (4, 3, 1)
    # IoU 5/10, 0/10, 20/20; Dice 10/15, 0, 1.
    assert overall.iou_mean == pytest.approx(0.5)
    assert overall.iou_median == pytest.approx(0.5)
    assert overall.iou_worst == 0
    assert overall.dice_mean == pytest.approx((2 / 3 + 1) / 3)
    # 25 of 40 labelled and 35 answered pixels: the 10 on a good image count against it.
    assert overall.pixel_iou == pytest.approx(25 / 50)
    assert overall.pixel_dice == pytest.approx(50 / 75)
    assert (overall.defects_hit.count, overall.defects_hit.total) == (2, 3)
    # Pairs of defective and good score: 0.9 and 0.8 are above all four, 0.1 ties one: 8.5 of 12.
    assert overall.auroc == pytest.approx(8.5 / 12)
    # Falling score: 0.9 hit, 0.8 hit, 0.7, 0.5, 0.2, then 0.1 and 0.1 together: a third each of
    # precision 1/1, 2/2 and 3/7.
    assert overall.average_precision == pytest.approx((1 + 1 + 3 / 7) / 3)
    assert (overall.escape.count, overall.escape.total) == (1, 3)
    assert (overall.overkill.count, overall.overkill.total) == (1, 4)
    assert (overall.good_alarmed.count, overall.good_alarmed.total) == (2, 4)
    assert overall.good_outcomes == {"FAIL": 1, "PASS": 1, "RETAKE": 1, "REVIEW": 1}
    assert overall.defective_outcomes == {"FAIL": 2, "PASS": 1}


def test_figures_of_each_product_and_kind(frame: pd.DataFrame) -> None:
    evaluation = summarise(frame)
    assert {p: f.model.iou_mean for p, f in evaluation.products.items()} == {
        "bolt": pytest.approx(1.0),
        "gear": pytest.approx(0.25),
    }
    assert evaluation.products["bolt"].model.escape.total == 1
    crack, hole = (evaluation.kinds[kind].model for kind in ("crack", "hole"))
    # A crack is a gear's: against the two good gears. Holes are of both: against all four.
    assert (crack.good_images, crack.defective_images, crack.auroc) == (2, 1, 1.0)
    assert (hole.good_images, hole.defective_images) == (4, 2)
    assert hole.auroc == pytest.approx(4.5 / 8)


def test_the_empty_answer_is_not_flattered(frame: pd.DataFrame) -> None:
    empty = summarise(frame).overall.empty_answer
    assert (empty.iou_mean, empty.dice_mean, empty.pixel_iou) == (0, 0, 0)
    assert empty.auroc == 0.5
    assert empty.average_precision == pytest.approx(3 / 7)  # the share of defective images
    assert (empty.escape.share, empty.overkill.share) == (1, 0)
    assert empty.defects_hit.count == 0
    assert empty == summarise(answer_empty(frame)).overall.model


def test_each_product_and_kind_has_its_own_empty_answer(frame: pd.DataFrame) -> None:
    crack = summarise(frame).kinds["crack"].empty_answer
    # One crack against two good gears.
    assert (crack.auroc, crack.average_precision) == (0.5, pytest.approx(1 / 3))
    assert (crack.escape.count, crack.escape.total) == (1, 1)


def test_with_one_kind_only_there_is_no_ranking(frame: pd.DataFrame) -> None:
    good = summarise(frame[~frame["defective"]]).overall.model
    assert (good.auroc, good.average_precision, good.iou_mean, good.pixel_iou) == (None,) * 4
    assert good.escape == Rate(0, 0, None, None, None)
    defective = summarise(frame[frame["defective"]]).overall.model
    assert defective.auroc is None
    assert defective.iou_mean == pytest.approx(0.5)


def test_wilson_interval_by_hand() -> None:
    # z = 1.959964, z² = 3.841459. For 0 of 10: low 0, high z²/(n + z²) = 3.841459 / 13.841459.
    assert rate(0, 10) == Rate(0, 10, 0.0, 0.0, pytest.approx(3.841459 / 13.841459))
    # For 5 of 10: centre 0.5, half-width z/(n + z²)·√(n/4 + z²/4) = z/2 / √(n + z²).
    half = 1.959964 / 2 / np.sqrt(13.841459)
    assert rate(5, 10).low == pytest.approx(0.5 - half)
    assert rate(5, 10).high == pytest.approx(0.5 + half)


def test_auroc_is_that_of_the_library_on_many_images() -> None:
    rng = np.random.default_rng(0)
    rows = [
        row("p", "k", "PASS", float(rng.random()), true_px=int(rng.integers(2))) for _ in range(200)
    ]
    frame = pd.DataFrame(rows)
    expected = roc_auc_score(frame["defective"], frame["score"])
    assert summarise(frame).overall.model.auroc == pytest.approx(expected)
