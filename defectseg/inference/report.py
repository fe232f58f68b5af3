"""``report.html``: one self-contained page, the worst images first."""

import base64
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from defectseg.atomic import write_atomically
from defectseg.errors import ImageReadError
from defectseg.image_io import encode_picture, read_thumbnail
from defectseg.inference.results import Row
from defectseg.inference.verdict import Outcome
from defectseg.page import render

# Above it the page would become too heavy to open; the tables have every row.
MAX_CARDS = 300
_THUMBNAIL_PX = 260
_MEANING = {
    Outcome.FAIL: "a defect was found",
    Outcome.REVIEW: "in doubt: a person decides",
    Outcome.RETAKE: "too poor to be believed: not inspected",
    Outcome.ERROR: "could not be read",
    Outcome.PASS: "no defect was found",
}


class WorstFirst:
    """Counts rows, and keeps those that the page shows: FAIL first and PASS last, by score."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self._kept: list[Row] = []

    def add(self, row: Row) -> None:
        """Take a row of ``predictions.csv``."""
        self.count[row["outcome"]] += 1
        self._kept.append(row)
        if len(self._kept) > 2 * MAX_CARDS:
            self._kept = self.rows()

    def rows(self) -> list[Row]:
        """Return the worst, by outcome and then by falling defect score."""
        order = {outcome.value: place for place, outcome in enumerate(_MEANING)}
        return sorted(
            self._kept,
            key=lambda row: (order[row["outcome"]], -(row["defect_score"] or 0), row["image"]),
        )[:MAX_CARDS]


def write_report(
    path: Path, worst: WorstFirst, overlay_path: Callable[[str], Path], *, bundle: str
) -> None:
    """Write the page.

    Parameters
    ----------
    path : Path
    worst : WorstFirst
        That has taken all rows.
    overlay_path : callable
        Gives the overlay of an image; thumbnails are made from it.
    bundle : str
        The name of the model's folder.
    """
    cards = [_card(row, overlay_path(row["image"]), path.parent) for row in worst.rows()]
    total = worst.count.total()
    page = render(
        "report.html.jinja",
        bundle=bundle,
        total=total,
        outcomes=[(o.value, worst.count[o.value], meaning) for o, meaning in _MEANING.items()],
        cards=cards,
        left_out=total - len(cards),
    )
    write_atomically(path, page)


def _card(row: Row, overlay: Path, folder: Path) -> dict[str, Any]:
    card: dict[str, Any] = {"row": row, "thumbnail": "", "link": ""}
    try:
        small = read_thumbnail(overlay, _THUMBNAIL_PX)
    except ImageReadError:  # no overlay of an image that could not be read
        return card
    card["thumbnail"] = base64.b64encode(encode_picture(small)).decode()
    card["link"] = quote(overlay.relative_to(folder).as_posix(), errors="surrogateescape")
    return card
