from defectseg.errors import DataError, Problem


def test_of_many_problems_of_a_kind_the_first_are_listed_and_the_others_counted() -> None:
    boxes = [
        Problem(f"a.xml:{n}", "a box", f"a mask of {n} pixels", "Draw one.") for n in range(23)
    ]
    rows = [Problem(f"b.csv:{n}", "x = -1", "a length", "Correct it.") for n in range(20)]
    error = DataError("No.", [*boxes, *rows])
    assert error.problems == (*boxes, *rows)
    lines = str(error).splitlines()
    assert lines == [
        "No.",
        *(f"  - {problem}" for problem in boxes[:20]),
        "    and 3 more of this kind",
        *(f"  - {problem}" for problem in rows),
    ]
