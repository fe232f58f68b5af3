"""The records that every label reader returns, and the check of an ellipse's five numbers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from defectseg.errors import Problem

ELLIPSE_FIELDS = ("semi_major", "semi_minor", "angle", "x", "y")

# Far beyond any image, and safe from overflow when pixels are counted in integers.
LARGEST_PX = 1_000_000


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
    """

    semi_major: float
    semi_minor: float
    angle: float
    x: float
    y: float
    source: str = field(default="", compare=False)


@dataclass(frozen=True)
class LabelledImage:
    """An image, and what is known of its defects.

    Attributes
    ----------
    image : Path
        The image file.
    product : str
        What is seen: images of one product share a texture, a camera and a quality limit.
    ellipses : tuple of Ellipse
        The defects, where the label is ellipses. Several may lie on one image.
    mask : Path or None
        The label, where it is a picture of the same size as the image.
    split : str or None
        ``"train"`` or ``"test"`` where the data set's authors have already divided it.
    source : str
        Where a row calls it defective, as ``Labels.txt:12``; its mask may then not be empty.

    An image without ellipses and without mask is defect-free.
    """

    image: Path
    product: str
    ellipses: tuple[Ellipse, ...] = ()
    mask: Path | None = None
    split: str | None = None
    source: str = ""


@dataclass(frozen=True)
class LabelSet:
    """What a reader found in a folder.

    Attributes
    ----------
    images : tuple of LabelledImage
        Every image whose label is known, in the order of the folders and names.
    problems : tuple of Problem
        Rows and files that are wrong.
    rows_without_image, images_without_row : tuple of (str, Problem)
        Labels and images that found no partner, each with its product.
    """

    images: tuple[LabelledImage, ...]
    problems: tuple[Problem, ...] = ()
    rows_without_image: tuple[tuple[str, Problem], ...] = ()
    images_without_row: tuple[tuple[str, Problem], ...] = ()


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
    return problems or Ellipse(**numbers, source=source)
