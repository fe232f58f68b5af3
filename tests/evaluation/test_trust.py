import numpy as np
import pandas as pd
import pytest

from defectseg.bundle import Gate
from defectseg.evaluation.trust import compute_trust, judge_rows, risk_area, risk_coverage
from defectseg.quality.gate import open_gates
from defectseg.quality.measures import MEASURES
from tests.gates import fixed_gate


def test_risk_and_coverage_by_hand() -> None:
    # The surest first: right, wrong, right, wrong.
    wrong = np.array([True, False, False, True])
    coverage, risk = risk_coverage(wrong, np.array([0.8, 0.9, 0.7, 0.1]))
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1]
    assert risk == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert risk_area(wrong, np.array([0.8, 0.9, 0.7, 0.1])) == pytest.approx((5 / 6 + 1 / 2) / 4)


def test_equal_belief_is_chance() -> None:
    wrong = np.array([True, False, False, True])
    assert risk_coverage(wrong, np.ones(4))[1].tolist() == [0.5] * 4


def test_a_belief_that_knows_is_better_than_chance_and_one_that_lies_worse() -> None:
    wrong = np.arange(100) < 30
    known, lied = risk_area(wrong, -1.0 * wrong), risk_area(wrong, 1.0 * wrong)
    assert known < 0.3 < lied


def swept(*rows: tuple[str, bool, str, float, float, float]) -> pd.DataFrame:
    """Image, defective, kind, score, IoU, sharpness; REVIEW from a score of 0.5 on."""
    table = pd.DataFrame(
        rows, columns=["image", "defective", "kind", "score", "iou", "mean_gradient"]
    )
    passed = table["score"] < 0.5
    rest = {name: 1.0 for name in MEASURES if name != "mean_gradient"}
    return table.assign(
        product="P",
        level=1.0,
        height=64,
        width=64,
        missed=table["defective"] & passed,
        alarmed=~table["defective"] & ~passed,
        **rest,
    )


def test_figures_by_hand() -> None:
    gate: Gate = fixed_gate(5, "P")
    rows = swept(
        ("bad", True, "untouched", 0.9, 0.8, 9),
        ("good", False, "untouched", 0.1, np.nan, 4),  # a false alarm
        ("bad", True, "noise", 0.1, 0.0, 9),  # missed and believed: a silent escape
        ("bad", True, "gaussian_blur", 0.1, 0.0, 1),  # missed and flagged
        ("bad", True, "jpeg", 0.9, 0.7, 9),  # right: 0.7 is 0.8 · 0.8 or more
        ("bad", True, "haze", 0.9, 0.1, 1),  # its verdict is right, its mask is not
        ("good", False, "noise", 0.1, np.nan, 9),
        ("good", False, "jpeg", 0.9, np.nan, 9),  # alarmed
    )
    judged = judge_rows(rows, open_gates(gate), min_iou_share=0.8)
    figures = compute_trust(judged, gate)
    assert list(judged["right"]) == [True, True, False, False, True, False, True, False]
    assert (figures.silent_escapes.count, figures.silent_escapes.total) == (1, 5)
    assert (figures.silent_escapes_without_gate.count) == 2
    # Right: both untouched, jpeg of the defective, noise of the good; one of them is flagged.
    assert (figures.kept_of_right.count, figures.kept_of_right.total) == (3, 4)
    # With the flooded one there are five, two of them flagged.
    assert (figures.kept_of_right_verdicts.count, figures.kept_of_right_verdicts.total) == (3, 5)
    # The promise is kept where untouched and, with 0.7 of 0.8, by jpeg: two of three are kept.
    assert (figures.kept_where_promised.count, figures.kept_where_promised.total) == (2, 3)
    assert (figures.false_alarms.count, figures.false_alarms.total) == (1, 2)
    assert figures.risk_area_without_gate == 0.5
    assert "set by hand" in judged["remarks"][1]
