"""What all readers of labels in JSON share: the file, and numbers of pixels in it."""

import json
import math
import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

from defectseg.annotations.ellipse import LARGEST_PX
from defectseg.errors import Problem
from defectseg.image_io import MAX_PIXELS

_KEY = re.compile(rb'"([A-Za-z_]{1,40})"\s*:')
_SAVE_AGAIN = "Export the labels anew."


def find_json(root: Path, *keys: str) -> list[Path]:
    """Return the JSON files below a folder that hold all the keys, anywhere.

    Their text is searched, not parsed: a file that is damaged behind its keys still shows of which
    tool it is. One that is cut off before them, empty or in UTF-16 does not.
    """
    return [path for path in all_json(root) if keys_of(path) >= {*keys}]


def all_json(root: Path) -> list[Path]:
    """Return the JSON files below a folder, of whatever tool."""
    files = (path for path in root.rglob("*") if path.suffix.lower() == ".json")
    return sorted(path for path in files if path.is_file())


@lru_cache(maxsize=100_000)
def keys_of(path: Path) -> frozenset[str]:
    """Return the keys in a file; it is read once, until ``keys_of.cache_clear()``.

    Every reader asks for the same files, which may hold whole images.
    """
    return frozenset(key.decode() for key in _KEY.findall(path.read_bytes()))


def read_json(path: Path) -> dict[str, Any] | list[Any] | Problem:
    """Read a JSON file that holds an object or a list, or say what is wrong with it.

    Numbers in it are finite.
    """
    text = read_utf8(path)
    return text if isinstance(text, Problem) else parse_json(text, str(path))


def read_utf8(path: Path) -> str | Problem:
    """Read a file as a tool wrote it, or say why it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        found = f"a file that cannot be opened: {error.strerror or error}"
        return Problem(str(path), found, "a file of labels", "Make it readable.")
    except UnicodeDecodeError as error:
        found = f"bytes that are no UTF-8, from byte {error.start} on"
        return Problem(str(path), found, "labels in UTF-8", _SAVE_AGAIN)


def parse_json(text: str, where: str) -> dict[str, Any] | list[Any] | Problem:
    """Read JSON that stands in a file, or in a cell of a table, as `read_json`."""
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_parse_float)
    except json.JSONDecodeError as error:
        where = f"{where}:{error.lineno}"
        return Problem(where, f"no JSON: {error.msg}", "JSON in UTF-8", _SAVE_AGAIN)
    except RecursionError:
        return Problem(where, "too many levels of brackets", "labels", _SAVE_AGAIN)
    except ValueError as error:  # of the two below; and Python's own of thousands of digits
        return Problem(where, f"{error}", "finite numbers", "Correct or remove it.")
    if not isinstance(value, dict | list):
        found = f"{shorten(value)} alone"
        return Problem(where, found, "a JSON object or list", _SAVE_AGAIN)
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"the number {constant}")


def _parse_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:60]}")
    return number


def is_number(value: object) -> TypeGuard[int | float]:
    """Tell whether a value out of JSON is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_px(
    values: Mapping[str, object], where: str, *, positive: Collection[str] = ()
) -> list[Problem]:
    """Check that values out of JSON are numbers of pixels that an image may have.

    Parameters
    ----------
    values : mapping of str to object
        By what they are called, as ``{"cx": 12.5}``.
    where : str
        File and place, as ``instances.json: annotations[12] (id 7)``.
    positive : collection of str
        Which of them must be greater than 0, as half-axes.

    Returns
    -------
    list of Problem
        One for each that is wrong.
    """
    problems: list[Problem] = []
    for name, value in values.items():
        if is_number(value) and abs(value) <= LARGEST_PX and (value > 0 or name not in positive):
            continue
        above = " greater than 0," if name in positive else ""
        expected = f"a number of pixels,{above} at most {LARGEST_PX:,}"
        found = f"{name} = {shorten(value)}"
        problems.append(Problem(where, found, expected, "Correct or remove it."))
    return problems


def parse_shape_hw(height: object, width: object, where: str) -> tuple[int, int] | Problem:
    """Return the size of the image that labels were drawn on, or say what is wrong with it."""
    sizes = [
        int(value)
        for value in (height, width)
        if is_number(value) and 1 <= value <= MAX_PIXELS and not value % 1
    ]
    if len(sizes) == 2 and sizes[0] * sizes[1] <= MAX_PIXELS:
        return sizes[0], sizes[1]
    found = f"width = {shorten(width)}, height = {shorten(height)}"
    expected = f"whole numbers of pixels, together at most {MAX_PIXELS:,}"
    return Problem(where, found, expected, "Correct the image's size.")


def shorten(value: object) -> str:
    """Return how a value looks, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
