import pytest

from defectseg.evaluation.figures import Rate
from defectseg.evaluation.tables import show


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (0.12345, "0.123"),
        (7, "7"),
        (Rate(1, 4, 0.25, 0.046, 0.699), "1 of 4: 25.0 % (4.6–69.9)"),
        (Rate(0, 0, None, None, None), "—"),
        ({"FAIL": 2, "PASS": 1}, "FAIL 2, PASS 1"),
        ({}, "—"),
    ],
)
def test_figures_for_people(value: object, text: str) -> None:
    assert show(value) == text
