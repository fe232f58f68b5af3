"""The ellipse, and the check of its five numbers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from defectseg.errors import Problem

ELLIPSE_FIELDS = ("semi_major", "semi_minor", "angle", "x", "y")

# Far beyond any image, and safe from overflow when pixels are counted in integers.
LARGEST_PX = 1_000_000

# What is added to a coordinate that counts from the corner of the upper left pixel, as those of
# all drawing tools do, to have it count from 1 at this pixel's centre.
FROM_CORNER = 0.5


@dataclass(frozen=True)
class Ellipse:
    """An ellipse in the convention of DAGM 2007.

    Attributes
    ----------
    semi_major, semi_minor : float
        Semi-axes in pixels, greater than 0. The first lies along `angle`; it may be the shorter.
    angle : float
        Radians, growing from +x (right) towards +y (down): clockwise on the screen. Any finite
        value; not normalised.
    x, y : float
        Centre: column and row, in pixels, **1-based**. In array indices it is ``(y - 1, x - 1)``.
    source : str
        Where it was read, as ``labels.txt:12``, for messages. Not part of the ellipse's identity.
    labels : tuple of str
        What kinds of defect it is, where that is told. Not part of its identity either.
    """

    semi_major: float
    semi_minor: float
    angle: float
    x: float
    y: float
    source: str = field(default="", compare=False)
    labels: tuple[str, ...] = field(default=(), compare=False)


def parse_ellipse(fields: Mapping[str, str], source: str) -> Ellipse | list[Problem]:
    """Turn five texts into an ellipse, or say what is wrong with each of them.

    Parameters
    ----------
    fields : mapping of str to str
        The texts of `ELLIPSE_FIELDS`.
    source : str
        Where they stand, as ``labels.txt:12``.

    Returns
    -------
    Ellipse or list of Problem
    """
    numbers: dict[str, float] = {}
    problems: list[Problem] = []
    for name in ELLIPSE_FIELDS:
        text = fields[name].strip()
        try:
            number = math.nan if "_" in text else float(text)  # 5_0 is Python's alone
        except ValueError:
            number = math.nan
        if name == "angle":
            sound, expected = math.isfinite(number), "a finite number of radians"
        elif name.startswith("semi"):
            sound = 0 < number <= LARGEST_PX
            expected = f"a number of pixels greater than 0, at most {LARGEST_PX:,}"
        else:
            sound = abs(number) <= LARGEST_PX
            expected = f"a number of pixels, at most {LARGEST_PX:,}"
        if not sound:  # what is no number became NaN, which fails each of the comparisons
            fix = "Correct or remove the row."
            problems.append(Problem(source, f"{name} = {text!r}", expected, fix))
        numbers[name] = number
    if problems:
        return problems
    semi_major, semi_minor, angle, x, y = (numbers[name] for name in ELLIPSE_FIELDS)
    return Ellipse(semi_major, semi_minor, angle, x, y, source)
