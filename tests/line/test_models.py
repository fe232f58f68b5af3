"""The model in use, and how another takes its place: real bundles, changed on purpose."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from defectseg.atomic import write_atomically
from defectseg.bundle import CALIBRATION, BundleError, finish_bundle
from defectseg.errors import ConfigError, DefectsegError
from defectseg.line.comparison import Recent
from defectseg.line.models import ModelSlot, SwapRefusedError, open_model
from defectseg.line.rules import Rule, Rules, load_rules
from tests.line.conftest import draw, draw_file

NO_RULES = load_rules(None)


@pytest.fixture
def copy(bundle_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(bundle_folder, tmp_path / "copy")


def change_limits(bundle: Path, **thresholds: float) -> Path:
    """Set a bundle's thresholds by hand, and finish it anew."""
    path = bundle / CALIBRATION
    calibration = json.loads(path.read_bytes())
    calibration["thresholds"] |= thresholds
    write_atomically(path, json.dumps(calibration))  # it may be a link to another bundle's
    finish_bundle(bundle)
    return bundle


def make_blind(bundle: Path) -> Path:
    """Have a bundle believe every image of the right size, and find nothing on any."""
    path = bundle / CALIBRATION
    calibration = json.loads(path.read_bytes())
    calibration["gate"]["fixed_sharpness"] = 1e-6
    write_atomically(path, json.dumps(calibration))
    return change_limits(bundle, review=1.0, fail=1.0)


def make_slot(
    recent: list[Recent], told: list[tuple[str, str]], remembered: list[str] | None = None
) -> ModelSlot:
    remembered = [] if remembered is None else remembered
    return ModelSlot(
        NO_RULES, lambda: recent, 0.9, lambda *news: told.append(news), remembered.append
    )


@pytest.fixture
def recent(bundle_folder: Path, tmp_path: Path) -> list[Recent]:
    """Images as the bundle judges them."""
    model = open_model(bundle_folder, NO_RULES)
    found = []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        path.write_bytes(draw_file(number, defective=number % 2 == 0))
        outcome = model.inspect(draw(number, defective=number % 2 == 0), "Class1").verdict.outcome
        found.append(Recent(path, "Class1", outcome.value, number + 1))
    return found


def test_recipes_tell_apart_all_that_judges(bundle_folder: Path, copy: Path) -> None:
    model = open_model(bundle_folder, NO_RULES)
    assert set(model.recipes) == {"Class1", "Class5"}
    ruled = open_model(bundle_folder, Rules({"Class1": Rule(least_area_px=2)}, "other"))
    limits = open_model(change_limits(copy, fail=0.999), NO_RULES)
    same = open_model(bundle_folder, NO_RULES)
    recipes = [own.recipes["Class1"] for own in (model, ruled, limits)]
    recipes.append(model.recipes["Class5"])
    assert len(set(recipes)) == 4
    assert same.recipes == model.recipes


def test_a_rule_of_a_product_that_the_bundle_does_not_know_is_an_error(bundle_folder: Path) -> None:
    with pytest.raises(ConfigError, match="Class9"):
        open_model(bundle_folder, Rules({"Class9": Rule()}, ""))


def test_another_bundle_takes_over_and_the_news_say_so(
    bundle_folder: Path, copy: Path, recent: list[Recent]
) -> None:
    told: list[tuple[str, str]] = []
    slot = make_slot(recent, told)
    slot.start(bundle_folder)
    before = slot.current
    found = slot.change(copy)
    assert (found.images, found.same, found.differing) == (6, 6, ())
    assert slot.current is not before
    assert slot.folder == copy
    assert [kind for kind, _ in told] == ["MODEL", "MODEL"]
    assert "6 of 6 recent images are judged alike" in told[1][1]


def test_one_that_judges_otherwise_is_refused_unless_insisted(
    bundle_folder: Path, copy: Path, recent: list[Recent]
) -> None:
    told: list[tuple[str, str]] = []
    # No image reaches a score of 1: what was FAIL or REVIEW would PASS.
    change_limits(copy, review=1.0, fail=1.0)
    believed = [own for own in recent if own.outcome in ("FAIL", "REVIEW")]
    assert believed, "the small bundle finds a defect in one of three"
    slot = make_slot(believed, told)
    slot.start(bundle_folder)
    before = slot.current
    with pytest.raises(SwapRefusedError, match=f"{len(believed)} that were FAIL or REVIEW would"):
        slot.change(copy)
    assert slot.current is before
    assert told[-1][0] == "MODEL_REFUSED"
    found = slot.change(copy, insist=True)
    assert found.same == 0
    assert slot.current is not before
    assert "REVIEW → PASS" in told[-1][1] or "FAIL → PASS" in told[-1][1]
    assert told[-1][1].endswith("which was insisted on")


def test_a_model_that_misses_one_defect_of_twenty_images_is_refused(
    bundle_folder: Path, copy: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(draw_file(1))
    recent = [Recent(path, "Class1", "PASS", number) for number in range(1, 20)]
    slot = make_slot([*recent, Recent(path, "Class1", "FAIL", 20)], [])
    slot.start(bundle_folder, accepted=open_model(bundle_folder, NO_RULES).bundle_sha256)
    make_blind(copy)
    with pytest.raises(
        SwapRefusedError, match=r"19 of 20 .* POST {\"bundle\": \"copy\", \"insist\": t"
    ):
        slot.change(copy)


def test_a_bundle_that_was_changed_while_nothing_judged_is_compared_at_the_start(
    copy: Path, recent: list[Recent]
) -> None:
    told: list[tuple[str, str]] = []
    remembered: list[str] = []
    first = make_slot(recent, told, remembered)
    first.start(copy)
    assert "6 of 6 recent images are judged alike" in told[-1][1]
    make_blind(copy)
    second = make_slot(recent, told, remembered)
    second.start(copy, accepted=remembered[-1])
    assert second.current is None
    assert told[-1] == ("MODEL_REFUSED", second.problem)
    for part in ("of 6 recent images", "→ PASS", 'POST {"bundle": "copy", "insist": true}'):
        assert part in second.problem
    assert len(remembered) == 1
    # Whoever insists is believed, also after the next start.
    assert second.change(copy, insist=True).images == 6
    assert (second.current is not None, second.problem) == (True, "")
    third = make_slot(recent, told, remembered)
    third.start(copy, accepted=remembered[-1])
    assert third.current is not None
    assert told[-1][1].endswith("judges from now on; as before")


def test_a_bundle_that_is_as_it_was_again_needs_no_insisting(
    bundle_folder: Path, copy: Path, recent: list[Recent]
) -> None:
    # What the images were judged by is long gone: by none of the two are they judged alike.
    recent[:] = [Recent(own.path, "Class1", "ERROR", own.id) for own in recent]
    accepted = open_model(copy, NO_RULES).bundle_sha256
    make_blind(copy)
    slot = make_slot(recent, [])
    slot.start(copy, accepted=accepted)
    assert slot.current is None
    shutil.copytree(bundle_folder, copy, dirs_exist_ok=True)
    slot.look()
    slot.look()
    assert slot.current is not None


def test_that_nothing_was_compared_is_told(bundle_folder: Path, copy: Path) -> None:
    told: list[tuple[str, str]] = []
    slot = make_slot([], told)
    slot.start(bundle_folder)
    slot.change(make_blind(copy))
    assert [text.endswith("; no recent image was compared") for _, text in told] == [True, True]


def test_any_part_of_a_bundle_makes_it_another(bundle_folder: Path, copy: Path) -> None:
    same = open_model(copy, NO_RULES).bundle_sha256
    assert same == open_model(bundle_folder, NO_RULES).bundle_sha256
    (copy / "metrics.json").write_bytes((copy / "metrics.json").read_bytes() + b"\n")
    finish_bundle(copy)
    assert open_model(copy, NO_RULES).bundle_sha256 != same


def test_a_broken_bundle_leaves_the_one_in_use(bundle_folder: Path, copy: Path) -> None:
    slot = make_slot([], [])
    slot.start(bundle_folder)
    before = slot.current
    (copy / "engine" / "float32.bin").write_bytes(b"broken")
    with pytest.raises(BundleError):
        slot.change(copy)
    assert slot.current is before
    assert slot.problem == ""


def test_a_first_bundle_that_is_broken_is_a_problem_in_words(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    slot = make_slot([], told)
    assert slot.problem
    slot.start(tmp_path / "none")
    assert slot.current is None
    assert "is not a folder" in slot.problem
    assert told[0][0] == "MODEL_REFUSED"


def test_a_changed_folder_is_taken_once_it_is_whole(bundle_folder: Path, copy: Path) -> None:
    slot = make_slot([], [])
    slot.start(copy)
    first: Any = slot.current
    slot.look()
    slot.look()
    assert slot.current is first
    (copy / "engine" / "float32.bin").write_bytes(b"half of it")
    for _ in range(3):
        slot.look()
    assert slot.current is first  # it goes on with what is in memory
    shutil.copytree(bundle_folder, copy, dirs_exist_ok=True)
    change_limits(copy, fail=0.999)
    slot.look()
    assert slot.current is first  # it may still be being written
    slot.look()
    assert slot.current is not first
    assert slot.current is not None
    assert slot.current.bundle.calibration.thresholds.fail == 0.999


def test_a_bundle_that_comes_late_is_taken(bundle_folder: Path, tmp_path: Path) -> None:
    slot = make_slot([], [])
    slot.start(tmp_path / "late")
    slot.look()
    assert slot.current is None
    shutil.copytree(bundle_folder, tmp_path / "late")
    slot.look()
    slot.look()
    assert slot.current is not None
    assert slot.problem == ""


def test_a_model_that_does_not_know_what_came_in_lately_is_refused_unless_insisted(
    bundle_folder: Path, copy: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(draw_file(1))
    recent: list[Recent] = []
    slot = make_slot(recent, [])
    slot.start(bundle_folder)
    recent.append(Recent(path, "Class9", "PASS", 1))
    with pytest.raises(SwapRefusedError, match="knows no product 'Class9'"):
        slot.change(copy)
    assert slot.change(copy, insist=True).differing == ((1, "PASS", "ERROR"),)


def test_every_refusal_is_an_error_a_client_can_read(bundle_folder: Path, tmp_path: Path) -> None:
    slot = make_slot([], [])
    slot.start(bundle_folder)
    with pytest.raises(DefectsegError, match="not a folder"):
        slot.change(tmp_path / "none")
