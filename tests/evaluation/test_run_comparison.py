from dataclasses import replace

import pytest

from defectseg.evaluation.run_comparison import (
    compare_with_first,
    differing_settings,
    group_by_test_images,
    seed_groups,
)
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
    (own,) = compare_with_first([make_run("a", FIRST), make_run("b", BETTER)])
    assert (own.first, own.other, own.confidence, own.iou_images) == ("a", "b", 0.95, 3)
    # Every image is better by the same third, though the images differ much.
    assert own.iou_mean == pytest.approx(1 / 3)
    assert own.iou_low == pytest.approx(1 / 3)
    assert (own.escapes.only_first, own.escapes.only_other) == (1, 0)
    assert (own.overkill.only_first, own.overkill.only_other) == (1, 0)
    # Of one image that only one gets wrong, nothing follows.
    assert own.escapes.p_value == 1
    findings = write_findings([make_run("a", FIRST), make_run("b", BETTER)])
    assert "IoU is higher by +0.333 (+0.333 to +0.333) over 3 defective images" in findings[0]
    assert "no difference of escapes is shown: 0 only here, 1 only there (p = 1)" in findings[0]


def test_nothing_is_claimed_where_chance_may_have_done_it() -> None:
    mixed = [FIRST[0], answer("d2", "FAIL", 80), *FIRST[2:]]
    # Differences 0, 1/3, 0: mean 1/9, deviation 0.19245, t 4.3027: the interval holds 0.
    (own,) = compare_with_first([make_run("a", FIRST), make_run("b", mixed)])
    half = 4.3027 * 0.19245 / 3**0.5
    assert own.iou_low == pytest.approx(1 / 9 - half, abs=1e-4)
    text = write_findings([make_run("a", FIRST), make_run("b", mixed)])[0]
    assert "no difference of IoU is shown, +0.111 (-0.367 to +0.589)" in text
    assert "the same escapes; the same overkill" in text


def test_many_runs_beside_the_first_need_more_to_be_told_from_it() -> None:
    good = [answer(f"g{place}", "PASS") for place in range(7)]
    bad = [answer(f"g{place}", "FAIL") for place in range(7)]
    defective = FIRST[:3]
    first, other = make_run("a", defective + good), make_run("b", defective + bad)
    # 7 against 0: p = 2 / 2^7 = 0.0156.
    (own,) = compare_with_first([first, other])
    assert own.overkill.p_value == pytest.approx(2 / 2**7)
    assert "more overkill: 7 only here, 0 only there" in write_findings([first, other])[0]
    assert "fewer overkill: 0 only here" in write_findings([other, first])[0]
    others = [replace(other, name=name) for name in "bcde"]
    many = compare_with_first([first, *others])
    # Four together at 95 %: each must have p < 0.0125.
    assert [own.confidence for own in many] == [pytest.approx(1 - 0.05 / 4)] * 4
    assert "no difference of overkill is shown" in write_findings([first, *others])[0]


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
    groups = group_by_test_images(runs)
    assert [[run.name for run in group] for group in groups] == [["a", "c"], ["b"]]
    (warning,) = write_warnings(runs)
    assert "not comparable: a, c; against b" in warning
    # Other training images, but the same test images.
    same = [make_run("a", FIRST), make_run("b", BETTER)]
    assert len(group_by_test_images(same)) == 1
    assert write_warnings(same) == []


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
