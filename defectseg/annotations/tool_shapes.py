"""Shapes as drawing tools write them, with pixels counted from the corner of the image.

Browsers and Qt put (0, 0) into the upper left corner of the first pixel, whose centre is then
(0.5, 0.5). In `Ellipse` and `Polygon` it is (1, 1).
"""

from collections.abc import Mapping

from defectseg.annotations.ellipse import FROM_CORNER, LARGEST_PX, Ellipse
from defectseg.annotations.json_files import check_px, is_number, shorten
from defectseg.annotations.outline import Polygon
from defectseg.errors import Problem


def make_ellipse(
    numbers: Mapping[str, object], where: str, labels: tuple[str, ...] = (), *, unit: float = 1.0
) -> Ellipse | list[Problem]:
    """Turn what a tool wrote into an ellipse, or say what is wrong with each of its numbers.

    Parameters
    ----------
    numbers : mapping of str to object
        Centre across and down, the radius along the angle and the other one, in pixels, and the
        angle, clockwise on the screen; by the names that the tool gives them, in this order.
    where, labels
        As `Ellipse.source` and `Ellipse.labels`.
    unit : float
        The angle's, in radians.
    """
    *sizes, turn = numbers
    problems = check_px({name: numbers[name] for name in sizes}, where, positive=sizes[2:])
    angle = numbers[turn]
    if not is_number(angle) or abs(angle) > LARGEST_PX:
        found = f"{turn} = {shorten(angle)}"
        expected = f"a number of {'radians' if unit == 1 else 'degrees'}"
        problems.append(Problem(where, found, expected, "Correct or remove it."))
    if problems:
        return problems
    x, y, along, across, angle = map(float, numbers.values())  # type: ignore[arg-type]
    return Ellipse(along, across, angle * unit, x + FROM_CORNER, y + FROM_CORNER, where, labels)


def make_circle(
    numbers: Mapping[str, object], where: str, labels: tuple[str, ...] = ()
) -> Ellipse | list[Problem]:
    """Turn centre and radius into an ellipse, as `make_ellipse`."""
    *_, radius = numbers
    problems = check_px(numbers, where, positive=[radius])
    if problems:
        return problems
    x, y, size = map(float, numbers.values())  # type: ignore[arg-type]
    return Ellipse(size, size, 0.0, x + FROM_CORNER, y + FROM_CORNER, where, labels)


def make_polygon(
    points: object, where: str, labels: tuple[str, ...] = ()
) -> Polygon | list[Problem]:
    """Turn the pairs of numbers that a tool wrote into a polygon, or say what is wrong with them.

    Parameters
    ----------
    points : object
        Out of JSON: a list of ``[x, y]`` in pixels, at least 3.
    where, labels
        As `Polygon.source` and `Polygon.labels`.
    """
    if not isinstance(points, list) or len(points) < 3:
        count = f"{len(points)} corner(s)" if isinstance(points, list) else shorten(points)
        return [Problem(where, count, "a polygon of at least 3 corners", "Draw it anew.")]
    problems: list[Problem] = []
    for place, point in enumerate(points):
        if not isinstance(point, list) or len(point) != 2:
            found = f"corner {place + 1} = {shorten(point)}"
            problems.append(Problem(where, found, "two numbers, x and y", "Draw it anew."))
            continue
        names = (f"x of corner {place + 1}", f"y of corner {place + 1}")
        problems += check_px(dict(zip(names, point, strict=True)), where)
    if problems:
        return problems
    corners = tuple((float(x) + FROM_CORNER, float(y) + FROM_CORNER) for x, y in points)
    return Polygon(corners, where, labels)
