"""A product's rules: what does not count, and what does all the same."""

from pathlib import Path

import numpy as np
import pytest

from defectseg.bundle import Thresholds
from defectseg.errors import ConfigError
from defectseg.inference.predictor import Inspection
from defectseg.inference.regions import Region
from defectseg.inference.verdict import decide
from defectseg.line.rules import Rule, apply_rule, blank_ignored, check_products, load_rules
from defectseg.quality.gate import ImageQuality

LIMITS = Thresholds(pixel=0.5, review=0.4, fail=0.8, score_area_px={"Class1": 10})
GOOD = ImageQuality(1, 0.5, 1, 1, 100, 1, trusted=True)
POOR = ImageQuality(0.1, 0.5, 1, 1, 100, 0, trusted=False, remarks=("defocus",))


def inspection(*regions: tuple[int, float], quality: ImageQuality = GOOD) -> Inspection:
    """An image with regions of an area and a score each."""
    found = tuple(Region(area, (0, 0, 1, 1), (0, 0), 1, 1, 0, score) for area, score in regions)
    score = max((own.score for own in found), default=0.0)
    mask = np.zeros((4, 4), np.uint8)
    return Inspection(score, mask, found, quality, decide(score, quality, LIMITS))


def outcome(rule: Rule, own: Inspection) -> str:
    return apply_rule(own, rule, LIMITS).verdict.outcome.value


def test_without_a_rule_nothing_changes() -> None:
    own = inspection((20, 0.9))
    assert apply_rule(own, None, LIMITS) is own
    assert apply_rule(own, Rule(), LIMITS) is own


def test_small_regions_do_not_count() -> None:
    rule = Rule(least_area_px=30)
    own = apply_rule(inspection((29, 0.9)), rule, LIMITS)
    assert own.verdict.outcome == "PASS"
    assert "1 of less than 30 px" in own.verdict.reasons[0]
    assert own.score == 0.9  # as it was seen
    assert outcome(rule, inspection((30, 0.9))) == "FAIL"


def test_the_strongest_region_that_counts_decides() -> None:
    # 0.9 is small and does not count; 0.5 lies between the thresholds of 0.4 and 0.8.
    assert outcome(Rule(least_area_px=30), inspection((5, 0.9), (50, 0.5))) == "REVIEW"
    assert outcome(Rule(least_area_px=30), inspection((5, 0.9), (50, 0.85))) == "FAIL"


def test_few_and_small_regions_are_allowed_and_no_others() -> None:
    rule = Rule(most_regions=2, largest_area_px=40)
    assert outcome(rule, inspection((40, 0.9), (10, 0.9))) == "PASS"
    assert outcome(rule, inspection((41, 0.9))) == "FAIL"
    assert outcome(rule, inspection((9, 0.9), (9, 0.9), (9, 0.5))) == "FAIL"


def test_an_image_that_is_not_believed_stays_so() -> None:
    rule = Rule(least_area_px=1000)
    assert outcome(rule, inspection((5, 0.9), quality=POOR)) == "RETAKE"


def test_a_score_that_is_no_number_stays_for_review() -> None:
    for regions in ((), inspection((5, 0.9)).regions):
        mask = np.zeros((4, 4), np.uint8)
        verdict = decide(float("nan"), GOOD, LIMITS)
        own = Inspection(float("nan"), mask, regions, GOOD, verdict)
        assert outcome(Rule(least_area_px=1000), own) == "REVIEW"


def test_ignored_rectangles_are_blank_and_the_answer_itself_stays() -> None:
    answer = np.ones((4, 6), np.float32)
    seen = blank_ignored(answer, Rule(ignore=((1, 2, 3, 9),)))
    # Columns 1 to 3, rows 2 and 3: what lies beyond the border is cut off.
    assert seen.sum() == 4 * 6 - 3 * 2
    assert seen[2:, 1:4].max() == 0
    assert answer.min() == 1
    assert blank_ignored(answer, None) is answer


def test_rules_are_read_a_file_a_product(tmp_path: Path) -> None:
    (tmp_path / "Class1.yaml").write_text("ignore: [[0, 0, 10, 5]]\nleast_area_px: 3\n")
    rules = load_rules(tmp_path)
    assert rules.products["Class1"] == Rule(ignore=((0, 0, 10, 5),), least_area_px=3)
    check_products(rules, ["Class1", "Class2"])
    with pytest.raises(ConfigError, match=r"rules for Class1; the bundle was trained on Class2"):
        check_products(rules, ["Class2"])


def test_another_rule_is_another_way_of_judging(tmp_path: Path) -> None:
    hashes = {load_rules(None).sha256}
    for text in ("least_area_px: 3", "least_area_px: 4", "most_regions: 0"):
        (tmp_path / "Class1.yaml").write_text(text)
        hashes.add(load_rules(tmp_path).sha256)
    assert len(hashes) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("most_regions: 2", "largest_area_px, too"),
        ("ignore: [[0, 0, 0, 5]]", "width and height of at least 1"),
        ("ignore: [[-1, 0, 3, 5]]", "left and top of at least 0"),
        ("least_area: 2", "did you mean 'least_area_px'"),
        ("least_area_px: -1", "greater than or equal to 0"),
        ("[1, 2]", "holds no settings"),
    ],
)
def test_a_wrong_rule_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "Class1.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_rules(tmp_path)


def test_the_example_is_valid() -> None:
    rules = load_rules(Path(__file__).parents[2] / "configs" / "line" / "rules")
    assert list(rules.products) == ["Class1"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a folder"):
        load_rules(tmp_path / "none")
