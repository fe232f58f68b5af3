import pytest

from defectseg.annotations.ellipse import ELLIPSE_FIELDS, Ellipse, parse_ellipse


def parse(text: str) -> object:
    return parse_ellipse(dict(zip(ELLIPSE_FIELDS, text.split(), strict=True)), "labels.txt:3")


def test_five_texts_become_the_record() -> None:
    assert parse("60.24 37.55 0.65 69.04 87.60") == Ellipse(60.24, 37.55, 0.65, 69.04, 87.6)


def test_source_is_kept_but_is_no_part_of_the_identity() -> None:
    ellipse = parse("5 3 0 1 1")
    assert isinstance(ellipse, Ellipse)
    assert ellipse.source == "labels.txt:3"
    assert ellipse == Ellipse(5, 3, 0, 1, 1, source="elsewhere")


@pytest.mark.parametrize(
    "text",
    [
        "3 5 0 1 1",  # the first axis may be the shorter
        "5 3 -3.12 1 1",  # angles are not normalised
        "5 3 4.71 1 1",
        "5 3 0 -2 0",  # centres beyond the border occur
    ],
)
def test_what_real_labels_hold_is_accepted(text: str) -> None:
    assert parse(text) == Ellipse(*map(float, text.split()))


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("five 3 0 1 1", "semi_major = 'five'", "greater than 0"),
        ("0 3 0 1 1", "semi_major = '0'", "greater than 0"),
        ("5 -3 0 1 1", "semi_minor = '-3'", "greater than 0"),
        ("5 nan 0 1 1", "semi_minor = 'nan'", "greater than 0"),
        ("5 1e7 0 1 1", "semi_minor = '1e7'", "at most 1,000,000"),
        ("5 3 NaN 1 1", "angle = 'NaN'", "finite number of radians"),
        ("5 3 -inf 1 1", "angle = '-inf'", "finite number of radians"),
        ("5 3 0 1,5 1", "x = '1,5'", "a number of pixels"),
        ("5 3 0 1 1e300", "y = '1e300'", "at most 1,000,000"),
    ],
)
def test_a_wrong_number_is_named(text: str, found: str, expected: str) -> None:
    problems = parse(text)
    assert isinstance(problems, list)
    (problem,) = problems
    assert (problem.where, problem.found) == ("labels.txt:3", found)
    assert expected in problem.expected


def test_all_wrong_numbers_of_a_row_are_named() -> None:
    problems = parse("a -1 b c d")
    assert isinstance(problems, list)
    assert [problem.found.split()[0] for problem in problems] == list(ELLIPSE_FIELDS)
