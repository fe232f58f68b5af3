from pathlib import Path

from defectseg.annotations.ellipse import Ellipse
from defectseg.annotations.labels import LabelledImage, LabelSet, UnusableShape
from defectseg.errors import Problem

DEEP_DENT = Ellipse(3, 2, 0, 5, 5, labels=("dent", "deep"))
SCRATCH = Ellipse(4, 1, 0, 9, 9, labels=("scratch",))
NAMELESS = Ellipse(1, 1, 0, 2, 2)
WRONG = Problem("labels:1", "a box", "an ellipse", "Draw one.")
BOX = UnusableShape(("part", "left"), (WRONG,))


def make() -> LabelSet:
    drawn = LabelledImage(Path("1.png"), "gear", (DEEP_DENT, SCRATCH, NAMELESS))
    boxed = LabelledImage(Path("2.png"), "gear", (SCRATCH,), unusable=(BOX,))
    return LabelSet((drawn, boxed), unusable=(BOX,))


def test_each_label_of_a_shape_is_a_name_of_its_own() -> None:
    assert make().names() == {"dent", "deep", "scratch", "part", "left"}


def test_a_shape_is_chosen_by_any_of_its_labels() -> None:
    for name in ("dent", "deep"):
        first, second = make().choose([name]).images
        assert (first.shapes, second.shapes) == ((DEEP_DENT,), ())
    first, _ = make().choose(["deep", "scratch"]).images
    assert first.shapes == (DEEP_DENT, SCRATCH)


def test_an_unusable_shape_is_a_problem_by_any_of_its_labels() -> None:
    for names in (["part"], ["left", "dent"], []):
        chosen = make().choose(names)
        assert chosen.problems == (WRONG,)
        assert [image.image.name for image in chosen.images] == ["1.png"]
    assert make().choose(["scratch"]).problems == ()


def test_labels_are_no_part_of_a_shapes_identity() -> None:
    assert Ellipse(4, 1, 0, 9, 9) == SCRATCH
