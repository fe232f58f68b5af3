from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from defectseg.evaluation.run_comparison import (
    compare_with_first,
    differing_settings,
    group_by_images,
    seed_groups,
)
from defectseg.evaluation.run_records import RunRecord
from defectseg.evaluation.run_statements import write_findings, write_warnings
from tests.evaluation.runs import answer, make_run

# IoU of an answer of 100 pixels to a label of 100: overlap / (200 - overlap).
FIRST = [
    answer("d1", "FAIL", 80),  # 80 / 120
    answer("d2", "FAIL", 50),  # 50 / 150
    answer("d3", "PASS", 0),
    answer("g1", "PASS"),
    answer("g2", "FAIL"),
]
BETTER = [
    answer("d1", "FAIL", 100),  # 1: by 1/3 higher
    answer("d2", "FAIL", 80),  # 2/3: by 1/3 higher
    answer("d3", "FAIL", 50),  # 1/3: by 1/3 higher
    answer("g2", "PASS"),  # in another order
    answer("g1", "PASS"),
]
# With these there are as many defective images as an interval needs.
EQUAL = [answer("d4", "FAIL", 80), answer("d5", "FAIL", 80)]
HIGHER = [answer(f"d{place}", "FAIL", 100) for place in (4, 5)]  # by 1/3


def test_only_the_settings_that_differ_are_named() -> None:
    runs = [
        make_run("a", data="here"),
        make_run("b", data="there", train_seed=1),
        make_run("c", train_new=[1, 2]),
        replace(make_run("d"), settings={}),
    ]
    assert differing_settings(runs) == {
        "train.seed": [0, 1, 0, None],
        "train.new": [None, None, [1, 2], None],
    }


def test_the_difference_is_taken_image_by_image() -> None:
    runs = [make_run("a", FIRST + EQUAL), make_run("b", BETTER + HIGHER)]
    (own,) = compare_with_first(runs)
    assert (own.first, own.other, own.iou_images) == ("a", "b", 5)
    # Every image is better by the same third, though the images differ much.
    assert own.iou_mean == pytest.approx(1 / 3)
    assert own.iou_low == pytest.approx(1 / 3)
    assert (own.escapes.only_first, own.escapes.only_other) == (1, 0)
    assert (own.overkill.only_first, own.overkill.only_other) == (1, 0)
    # Of one image that only one gets wrong, nothing follows.
    assert own.escapes.p_value == 1
    findings = write_findings(runs)
    assert "IoU is higher by +0.333 (+0.333 to +0.333) over 5 defective images" in findings[0]
    expected = "no difference of escapes is shown: 0 only by b, 1 only by a (p = 1)"
    assert expected in findings[0]


def test_nothing_is_claimed_where_chance_may_have_done_it() -> None:
    mixed = [FIRST[0], answer("d2", "FAIL", 80), *FIRST[2:], *EQUAL]
    # Differences 0, 1/3, 0, 0, 0: mean 1/15, deviation 0.14907. Four statements: 0.05 / 4 = 0.0125
    # may lie outside, half of it above; of four degrees of freedom that is t = 4.3147.
    runs = [make_run("a", FIRST + EQUAL), make_run("b", mixed)]
    (own,) = compare_with_first(runs)
    half = 4.3147 * 0.14907 / 5**0.5
    assert own.iou_low == pytest.approx(1 / 15 - half, abs=1e-4)
    text = write_findings(runs)[0]
    assert "no difference of IoU is shown, +0.067 (-0.221 to +0.354)" in text
    assert "the same escapes; the same overkill; the same stops by the gate." in text


def test_of_four_defective_images_no_difference_of_iou_is_claimed() -> None:
    # All better by the same, so that Student's t has no doubt.
    runs = [make_run("a", FIRST + EQUAL[:1]), make_run("b", BETTER + HIGHER[:1])]
    (own,) = compare_with_first(runs)
    assert (own.iou_images, own.iou_low, own.iou_high) == (4, None, None)
    assert "too few defective images for a difference of IoU (4)" in write_findings(runs)[0]


def test_many_runs_beside_the_first_need_more_to_be_told_from_it() -> None:
    good = [answer(f"g{place}", "PASS") for place in range(9)]
    bad = [answer(f"g{place}", "FAIL") for place in range(9)]
    defective = FIRST[:3]
    first, other = make_run("a", defective + good), make_run("b", defective + bad)
    # 9 against 0: p = 2 / 2^9 = 0.0039, below 0.05 / 4.
    (own,) = compare_with_first([first, other])
    assert own.overkill.p_value == pytest.approx(2 / 2**9)
    assert "more overkill: 9 only by b, 0 only by a" in write_findings([first, other])[0]
    assert "fewer overkill: 0 only by a" in write_findings([other, first])[0]
    others = [replace(other, name=name) for name in "bcde"]
    many = compare_with_first([first, *others])
    # Four runs, four statements of each, together at 95 %: each must have p < 0.0031.
    assert [own.confidence for own in many] == [pytest.approx(1 - 0.05 / 16)] * 4
    findings = write_findings([first, *others])
    assert "no difference of overkill is shown" in findings[0]
    assert findings[0].count(";") + 1 == 4


def test_something_is_claimed_of_equal_runs_in_5_percent_of_cases_at_most() -> None:
    rng = np.random.default_rng(5)
    runs = [make_run(name, draw_answers(rng)) for name in "ab"]
    claims, times = 0, 120
    for _ in range(times):
        drawn = [replace(run, answers=pd.DataFrame(draw_answers(rng))) for run in runs]
        text = write_findings(drawn)[0]
        claims += any(word in text for word in ("higher by", "lower by", "more ", "fewer "))
    # Of 5 % more than 9 % in 120 times would be chance in 3 % of cases; 3 statements that are each
    # at 5 % make such a claim in some 13 %.
    assert claims <= 0.09 * times


def draw_answers(rng: np.random.Generator) -> list[dict[str, object]]:
    """What a run answers whose errors are all chance, half of them."""
    outcomes = {"d": ["PASS", "FAIL", "RETAKE"], "g": ["FAIL", "PASS", "RETAKE"]}
    return [
        answer(
            f"{kind}{place}",
            str(rng.choice(outcomes[kind], p=[0.4, 0.4, 0.2])),
            int(100 * rng.random()) if kind == "d" else 0,
        )
        for kind in "dg"
        for place in range(60)
    ]


def test_a_gate_that_stops_everything_does_not_read_as_the_better_one() -> None:
    stopping = [own | {"outcome": "RETAKE"} for own in wrong_everywhere()]
    runs = [make_run("a", wrong_everywhere()), make_run("b", stopping)]
    text = write_findings(runs)[0]
    # 2 / 2^10 and 2 / 2^20.
    assert "fewer escapes: 0 only by b, 10 only by a (p = 0.002)" in text
    assert "more stops by the gate: 20 only by b, 0 only by a (p = 1.9e-06)" in text


def wrong_everywhere() -> list[dict[str, object]]:
    places = range(10)
    defective = [answer(f"d{place}", "PASS") for place in places]
    return defective + [answer(f"g{place}", "FAIL") for place in places]


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (replace(make_run("a", FIRST), answers=None), "kept no answers image by image"),
        (replace(make_run("a"), state="unfinished"), "is not finished"),
        (replace(make_run("a"), state="damaged"), "is damaged"),
    ],
)
def test_another_reference_than_the_first_is_named_with_its_reason(
    first: RunRecord, reason: str
) -> None:
    findings = write_findings([first, make_run("b", FIRST), make_run("c", BETTER)])
    assert findings[0] == (
        "The others are compared with b, the first that kept its answers: a " + reason + "."
    )
    assert findings[1].startswith("c beside b")


def test_images_that_one_could_not_read_are_in_no_difference() -> None:
    broken = [answer("d1", "ERROR", 0, true_px=0, predicted_px=0), *BETTER[1:]]
    (own,) = compare_with_first([make_run("a", FIRST), make_run("b", broken)])
    assert own.iou_images == 2
    assert own.iou_mean == pytest.approx(1 / 3)


OTHER_IMAGES = [answer("d9", "FAIL", 80), *FIRST[1:]]
OTHER_LABELS = [answer("d1", "FAIL", 80, true_px=99), *FIRST[1:]]


@pytest.mark.parametrize("answers", [OTHER_IMAGES, OTHER_LABELS], ids=["images", "labels"])
def test_figures_of_other_test_images_are_not_compared(
    answers: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {"a": "1", "b": "2", "c": "1"}
    monkeypatch.setattr(
        "defectseg.evaluation.run_records.RunRecord.measured_on",
        property(lambda run: places[run.name]),
    )
    runs = [make_run("a", FIRST), make_run("b", answers), make_run("c", FIRST)]
    assert compare_with_first(runs[:2]) == []
    groups = group_by_images(runs, "test")
    assert [[run.name for run in group] for group in groups] == [["a", "c"], ["b"]]
    (warning,) = write_warnings(runs)
    assert "not comparable: a, c; against b" in warning
    # Each group has a reference of its own, and all that is said is of two pairs.
    places |= {"d": "2"}
    both = compare_with_first([*runs, make_run("d", answers)])
    assert [(own.first, own.other) for own in both] == [("a", "c"), ("b", "d")]
    assert [own.confidence for own in both] == [pytest.approx(1 - 0.05 / 8)] * 2
    findings = write_findings([runs[1], runs[0], runs[2]])
    assert findings[0].startswith("c beside a, on the same test images")
    # Other training images, but the same test images.
    same = [make_run("a", FIRST), make_run("b", BETTER)]
    assert len(group_by_images(same, "test")) == 1
    assert write_warnings(same) == []


def test_runs_are_compared_though_what_joins_them_kept_no_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Of the first only the data are known, which are those of the last; the answers of the last
    # are to the same images as those of the second, whose data are named otherwise.
    places = {"a": "1", "b": "2", "c": "1"}
    monkeypatch.setattr(RunRecord, "measured_on", property(lambda run: places[run.name]))
    runs = [make_run("a"), make_run("b", FIRST), make_run("c", FIRST)]
    runs[0] = replace(runs[0], figures=runs[1].figures)
    (own,) = compare_with_first(runs)
    assert (own.first, own.other) == ("b", "c")
    assert len(group_by_images(runs, "test")) == 1
    assert not [text for text in write_warnings(runs) if "not comparable" in text]


def test_validation_images_that_one_left_out_are_a_warning() -> None:
    def run(name: str, left_out: list[str], images: str) -> RunRecord:
        rows = [own | {"split": "val"} for own in FIRST if str(own["image"])[:2] in images]
        own = make_run(name, rows, train_leave_out=left_out)
        return replace(own, figures={"val": own.figures["test"]})

    runs = [run("a", [], "d1 d2 g1"), run("b", ["dust"], "d1 g1")]
    expected = "not measured on the same validation images"
    assert any(expected in text and "a; against b" in text for text in write_warnings(runs))
    # Left out, but not to be missed: the images are the same.
    runs[1] = run("b", ["dust"], "d1 d2 g1")
    assert not any(expected in text for text in write_warnings(runs))


def test_the_spread_of_seeds_is_told() -> None:
    runs = [
        make_run("a", FIRST),
        make_run("b", BETTER, train_seed=7, run="elsewhere"),
        make_run("c", FIRST, train_seed=8, train_epochs=3),
    ]
    assert [[run.name for run in group] for group in seed_groups(runs)] == [["a", "b"]]
    # Mean IoU (2/3 + 1/3 + 0) / 3 and (1 + 2/3 + 1/3) / 3. By score the first ranks d1 and d2
    # above g1 and beside g2, d3 beside g1 and below g2: (2 × 1.5 + 0.5) / 6 of the pairs.
    assert write_findings(runs)[-1] == (
        "a, b differ in nothing but the seed (0, 7); on the test images: IoU 0.333 to 0.667, "
        "AUROC 0.583 to 1.000, escapes 0 to 1 of 3, overkill 0 to 1 of 2."
    )


def test_what_is_not_whole_or_not_known_is_a_warning() -> None:
    runs = [
        make_run("a", FIRST),
        replace(make_run("b", FIRST), trained_on="other data"),
        replace(make_run("c"), state="damaged", remark="history.csv is cut", trained_on=None),
    ]
    assert write_warnings(runs) == [
        "c is damaged: history.csv is cut",
        "They were not trained on the same data: a; against b.",
        "On which data c was trained is not known: no checkpoints are left.",
    ]


def test_without_answers_it_is_said_that_nothing_can_be_said() -> None:
    silent = replace(make_run("b", BETTER), answers=None)
    (finding,) = write_findings([make_run("a", FIRST), replace(silent, trained_on="other")])
    assert finding.startswith("b kept no answers image by image")
