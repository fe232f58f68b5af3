import html
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from defectseg.image_io import write_picture
from defectseg.inference import report
from defectseg.inference.report import WorstFirst, write_report
from defectseg.inference.results import PREDICTION_COLUMNS, Row, make_error_row


def row(image: str, outcome: str, score: float) -> Row:
    known = {
        "image": image,
        "outcome": outcome,
        "reasons": f"why {outcome}",
        "defect_score": score,
        "sharpness": 3.0,
        "sharpness_limit": 2.0,
    }
    return {column: known.get(column, "") for column in PREDICTION_COLUMNS}


ROWS = [
    row("pass.png", "PASS", 0.1),
    make_error_row("broken.png", "cannot be decoded <here>", 1),
    row("weak fail.png", "FAIL", 0.8),
    row("sub/100% größer.png", "FAIL", 0.9),
    row("retake.png", "RETAKE", 0.99),
    row("review.png", "REVIEW", 0.5),
    row("<b>&.png", "PASS", 0.2),
    row("caf\udce9.png", "PASS", 0.0),
]


class Page(HTMLParser):
    """Collects the tags of a page, and every address in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.links: list[str] = []
        self.sources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        named = dict(attributes)
        self.links += [named["href"] or ""] if "href" in named else []
        self.sources += [named["src"] or ""] if "src" in named else []


def taken(rows: list[Row]) -> WorstFirst:
    worst = WorstFirst()
    for one in rows:
        worst.add(one)
    return worst


def written(folder: Path, rows: list[Row]) -> str:
    def overlay(image: str) -> Path:
        return folder / "overlays" / image

    for one in rows:
        if one["outcome"] != "ERROR":
            write_picture(overlay(one["image"]), np.full((40, 50, 3), 99, np.uint8))
    write_report(folder / "report.html", taken(rows), overlay, bundle="the bundle")
    return (folder / "report.html").read_text("utf-8")


def test_worst_first() -> None:
    names = [one["image"] for one in taken(ROWS).rows()]
    assert names == [
        "sub/100% größer.png",
        "weak fail.png",
        "review.png",
        "retake.png",
        "broken.png",
        "<b>&.png",
        "pass.png",
        "caf\udce9.png",
    ]


def test_only_what_is_shown_is_kept_and_all_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "MAX_CARDS", 3)
    worst = taken([row(f"{i:03}.png", "FAIL", i / 100) for i in range(100)] + ROWS)
    assert [one["defect_score"] for one in worst.rows()] == [0.99, 0.98, 0.97]
    assert worst.count == {"FAIL": 102, "PASS": 3, "REVIEW": 1, "RETAKE": 1, "ERROR": 1}
    assert len(worst._kept) <= 6  # so that memory does not grow with the folder


def test_page_has_its_heading_counts_and_a_card_an_image(tmp_path: Path) -> None:
    text = written(tmp_path, ROWS)
    page = Page(text)
    assert "<h1>8 images, judged by the bundle</h1>" in text
    counts = re.findall(r"<b>(\w+)</b>\s*<strong>(\d+)</strong>", text)
    assert counts == [
        ("FAIL", "2"),
        ("REVIEW", "1"),
        ("RETAKE", "1"),
        ("ERROR", "1"),
        ("PASS", "3"),
    ]
    assert page.tags["figure"] == 8
    assert page.tags["img"] == 7  # none of the image that could not be read
    assert "more images" not in text


def test_names_and_messages_are_shown_as_they_are(tmp_path: Path) -> None:
    text = written(tmp_path, ROWS)
    assert html.escape("<b>&.png") in text
    assert "<b>&.png" not in text
    assert html.escape("cannot be decoded <here>") in text
    assert "score 0.900" in text
    assert "sharpness 3.00 (limit for blur 2.00)" in text
    assert "why REVIEW" in text
    assert "caf\\udce9.png" in text  # a name that is not Unicode, escaped


def test_page_is_self_contained_but_for_links_to_its_overlays(tmp_path: Path) -> None:
    text = written(tmp_path, ROWS)
    page = Page(text)
    assert len(page.sources) == 7
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert not re.search(r"https?://|@import|url\(|<link", text)
    assert len(page.links) == 7
    for link in page.links:
        assert (tmp_path / unquote(link, errors="surrogateescape")).is_file()


def test_long_run_shows_the_worst_and_says_how_many_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MAX_CARDS", 3)
    text = written(tmp_path, ROWS)
    assert Page(text).tags["figure"] == 3
    assert "5 more images" in text
    assert "weak fail.png" in text
    assert "broken.png" not in text


def test_one_image_is_not_called_images(tmp_path: Path) -> None:
    assert "<h1>1 image, judged by the bundle</h1>" in written(tmp_path, ROWS[:1])
