"""A product's rules: what does not count, and what does all the same."""

from pathlib import Path

import numpy as np
import pytest

from defectseg.bundle import Gate, Thresholds, load_bundle
from defectseg.errors import ConfigError
from defectseg.inference.predictor import Inspection
from defectseg.inference.regions import Region
from defectseg.inference.verdict import decide
from defectseg.line.models import open_model
from defectseg.line.rules import Rule, Rules, apply_rule, blank_ignored, check_rules, load_rules
from defectseg.quality.gate import ImageQuality
from tests.line.conftest import draw

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


@pytest.fixture
def gate(bundle_folder: Path) -> Gate:
    """Of images that are all 128 px high and wide."""
    return load_bundle(bundle_folder).calibration.gate


def ignoring(*rectangles: tuple[int, int, int, int], product: str = "Class1") -> Rules:
    return Rules({product: Rule(ignore=rectangles)}, "")


def test_a_verdict_tells_what_was_not_looked_at(bundle_folder: Path) -> None:
    # 64 × 32 of 128 × 128 pixels, and 64 × 16 more: 3 / 16 = 18.75 %.
    ruled = open_model(bundle_folder, ignoring((0, 0, 64, 32), (0, 16, 64, 32)))
    plain = open_model(bundle_folder, Rules({}, ""))
    reason = "18.8 % of the image is ignored by the product's rule"
    image = draw(1)
    assert ruled.inspect(image, "Class1").verdict.reasons[-1] == reason
    assert ruled.inspect(image, "Class5").verdict == plain.inspect(image, "Class5").verdict


@pytest.mark.parametrize("regions", [(), ((2, 0.5),), ((2, 0.9),), ((2, float("nan")),)])
def test_every_outcome_tells_what_is_not_looked_at(regions: tuple[tuple[int, float], ...]) -> None:
    for quality in (GOOD, POOR):
        own = inspection(*regions, quality=quality)
        ruled = apply_rule(own, Rule(ignore=((0, 0, 2, 1),)), LIMITS)
        assert ruled.verdict.outcome == own.verdict.outcome
        told = "12.5 % of the image is ignored by the product's rule"
        assert ruled.verdict.reasons == (*own.verdict.reasons, told)


def test_a_rule_that_leaves_less_than_half_of_an_image_passes_nothing() -> None:
    half, more = Rule(ignore=((0, 0, 4, 2),)), Rule(ignore=((0, 0, 4, 2), (3, 3, 9, 9)))
    assert outcome(half, inspection()) == "PASS"
    assert outcome(more, inspection()) == "RETAKE"
    assert outcome(more, inspection((1, 0.9))) == "FAIL"


@pytest.mark.parametrize(
    ("rectangles", "message"),
    [
        ([(0, 0, 100000, 100000)], r"\[\[0, 0, 100000, 100000\]\] reaches beyond .* 128 px high"),
        ([(100, 0, 29, 1)], "reaches beyond"),
        ([(0, 128, 1, 1)], "reaches beyond"),
        ([(0, 0, 128, 65)], "covers 50.8 % of an image that is 128 px high and 128 wide"),
        ([(0, 0, 128, 33), (0, 60, 128, 33)], "covers 51.6 %"),
    ],
)
def test_rectangles_must_fit_the_images(
    gate: Gate, rectangles: list[tuple[int, int, int, int]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_rules(ignoring(*rectangles), gate)


def test_rectangles_that_fit_are_taken(gate: Gate) -> None:
    check_rules(ignoring((0, 0, 128, 64)), gate)
    check_rules(ignoring((0, 0, 100, 60), (0, 0, 100, 60), (100, 100, 28, 28)), gate)


def test_the_smallest_of_the_known_images_is_what_must_be_seen(gate: Gate) -> None:
    own = gate.products["Class1"].model_copy(update={"heights_px": (64, 128)})
    gate = gate.model_copy(update={"products": {"Class1": own}})
    with pytest.raises(ConfigError, match="covers 100 % of an image that is 64 px high"):
        check_rules(ignoring((0, 0, 128, 64)), gate)
    check_rules(ignoring((0, 64, 128, 64)), gate)


def test_all_that_is_wrong_with_rules_is_told_at_once(bundle_folder: Path) -> None:
    rules = {
        "Class1": Rule(ignore=((0, 0, 129, 1), (5, 5, 1, 1), (0, 0, 1, 129))),
        "Class5": Rule(ignore=((0, 0, 128, 100),)),
        "Class9": Rule(),
    }
    with pytest.raises(ConfigError) as told:
        open_model(bundle_folder, Rules(rules, ""))
    for part in ("rules for Class9", "[[0, 0, 129, 1], [0, 0, 1, 129]]", "Class5.yaml: ignore cov"):
        assert part in str(told.value)


def test_rules_are_read_a_file_a_product(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "Class1.yaml").write_text("ignore: [[0, 0, 10, 5]]\nleast_area_px: 3\n")
    rules = load_rules(tmp_path)
    assert rules.products["Class1"] == Rule(ignore=((0, 0, 10, 5),), least_area_px=3)
    check_rules(rules, gate)
    gate.products["Class2"] = gate.products.pop("Class1")
    with pytest.raises(ConfigError, match=r"rules for Class1; the bundle was trained on Class5, C"):
        check_rules(rules, gate)


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
