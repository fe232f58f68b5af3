"""Recent images, judged by another model: what is chosen, and what is held against it."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from defectseg.image_io import encode_picture
from defectseg.inference.verdict import Outcome
from defectseg.line.comparison import Comparison, Recent, choose_recent, compare_on_recent


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    path.write_bytes(encode_picture(np.zeros((8, 8), np.uint8), ".png"))
    return path


def judged(path: Path, *outcomes: str) -> list[Recent]:
    """Images with ids from 1 on."""
    return [Recent(path, "Class1", own, number) for number, own in enumerate(outcomes, 1)]


def see_nothing(image: npt.NDArray[np.uint8], product: str) -> Outcome:
    return Outcome.PASS


def fail(image: npt.NDArray[np.uint8], product: str) -> Outcome:
    raise RuntimeError(f"no memory for {product} of {image.shape}")


def test_half_of_the_images_are_those_with_a_defect_however_old() -> None:
    images = judged(Path(), "FAIL", "REVIEW", "FAIL", *["PASS"] * 50, "RETAKE")
    chosen = choose_recent(images, 4)
    assert [own.id for own in chosen] == [3, 2, 54, 53]
    assert [own.id for own in choose_recent(images[::-1], 4)] == [3, 2, 54, 53]
    assert [own.id for own in choose_recent(images, 8)] == [3, 2, 1, 54, 53, 52, 51, 50]
    assert [own.id for own in choose_recent(images, 1)] == [3]
    assert choose_recent(images, 0) == []


def test_where_all_have_a_defect_the_newest_are_chosen() -> None:
    assert [own.id for own in choose_recent(judged(Path(), *["FAIL"] * 9), 5)] == [9, 8, 7, 6, 5]


@pytest.mark.parametrize("seen", ["FAIL", "REVIEW"])
def test_no_share_of_agreement_makes_up_for_a_defect_that_would_pass(
    picture: Path, seen: str
) -> None:
    found = compare_on_recent(see_nothing, judged(picture, *["PASS"] * 19, seen))
    assert (found.images, found.same, found.suspects) == (20, 19, 1)
    assert found.find_objections(0.9) == ["1 that were FAIL or REVIEW would PASS"]
    assert found.find_objections(0.0)
    assert found.describe() == f"19 of 20 recent images are judged alike (1 {seen} → PASS)"
    assert found.show() == f"inspection 20 ({seen} → PASS)"


def test_a_gate_that_believes_more_counts_in_the_share(picture: Path) -> None:
    found = compare_on_recent(see_nothing, judged(picture, *["PASS"] * 8, "RETAKE", "RETAKE"))
    assert found.find_objections(0.8) == []
    assert found.find_objections(0.9) == ["expected 90 % alike"]
    assert "2 RETAKE → PASS" in found.describe()


def test_that_nothing_with_a_defect_was_compared_is_told(picture: Path) -> None:
    found = compare_on_recent(see_nothing, judged(picture, "PASS", "PASS"))
    assert found.describe().endswith(
        "2 recent images are judged alike, none of which was FAIL or REVIEW"
    )


def test_an_image_that_cannot_be_judged_is_held_against_the_model(picture: Path) -> None:
    def fail_late(image: npt.NDArray[np.uint8], product: str) -> Outcome:
        return fail(image, product) if next(calls) == 19 else Outcome.PASS

    calls = iter(range(20))
    found = compare_on_recent(fail_late, judged(picture, *["PASS"] * 20))
    assert found.differing == ((20, "PASS", "ERROR"),)
    assert found.find_objections(0.9) == ["1 cannot be judged (no memory for Class1 of (8, 8))"]


def test_pictures_that_are_gone_are_passed_over(picture: Path) -> None:
    found = compare_on_recent(see_nothing, judged(picture.parent / "gone.png", "FAIL"))
    assert found == Comparison()
    assert found.find_objections(1.0) == []
    assert found.describe() == "no recent image was compared"


def test_what_would_pass_is_shown_first() -> None:
    differing = ((9, "PASS", "FAIL"), (8, "PASS", "FAIL"), (7, "PASS", "FAIL"), (6, "FAIL", "PASS"))
    assert Comparison(4, 1, differing).show().startswith("inspection 6 (FAIL → PASS), inspection 9")
