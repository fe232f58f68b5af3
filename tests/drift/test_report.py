import csv
import io
from dataclasses import replace
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from defectseg.drift.monitor import watch
from defectseg.drift.records import DaysLeft, Drift, Event, Kind, Settings, Status
from defectseg.drift.report import describe_drift, draw_chart, sort_worst_first, write_drift
from defectseg.image_io import read_image

SETTINGS = Settings(median_of=1, baseline_medians=20)


def camera(*levels: float) -> Drift:
    """Twenty values a level, one a day."""
    level = np.repeat(levels, 20)
    values = level * (1 + np.random.default_rng(0).normal(0, 0.01, len(level)))
    times = np.datetime64("2024-01-01", "us") + np.arange(len(values)) * np.timedelta64(1, "D")
    return watch(times, values, SETTINGS)


@pytest.fixture(scope="module")
def drifts() -> dict[str, Drift]:
    return {
        "steady": camera(1.4, 1.4, 1.4),
        "cleaned": camera(0.8, 0.8, 1.4, 1.4, 1.4),
        "<b>$x$</b>": camera(1.4, 1.4, 1.3, 0.9),
        "few": camera(1.4),
        "none": camera(),
    }


@pytest.fixture(scope="module")
def written(drifts: dict[str, Drift], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drift") / "new"
    unreadable = [("a/<broken>.png", "the file is empty")]
    write_drift(folder, drifts, source="a & b", unreadable=unreadable, by_file_time=1234)
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(), newline="")))


def test_everything_is_there(written: Path) -> None:
    names = sorted(path.name for path in written.iterdir())
    assert names == ["drift.html", "drift.png", "events.csv", "medians.csv"]
    height, width, _ = read_image(written / "drift.png").shape
    assert (height, width) == (110 * (4 * 3 + 1), 110 * 10)


def test_each_event_has_its_row(written: Path, drifts: dict[str, Drift]) -> None:
    events = rows(written / "events.csv")
    assert list(events[0]) == ["camera", "time", "event", "value", "message"]
    expected = [(name, e.kind, e.message) for name, own in drifts.items() for e in own.events]
    assert [(row["camera"], row["event"], row["message"]) for row in events] == expected
    assert {row["event"] for row in events} >= {"DEGRADING", "LOW", "CLEANED", "BASELINE_STALE"}
    assert events[0]["time"] == drifts["cleaned"].events[0].time.isoformat()


def test_each_median_has_its_row(written: Path, drifts: dict[str, Drift]) -> None:
    medians = rows(written / "medians.csv")
    assert len(medians) == sum(len(drift.points) for drift in drifts.values())
    first, judged = medians[0], medians[20]
    assert float(first["median"]) == drifts["steady"].points[0].median
    assert first["ewma"] == first["cusum"] == first["limit"] == ""  # still learning
    assert float(judged["ewma_low"]) < float(judged["ewma"]) < float(judged["ewma_high"])
    assert "nan" not in (written / "medians.csv").read_text()


def test_the_page_stands_alone_and_shows_all(written: Path, drifts: dict[str, Drift]) -> None:
    page = (written / "drift.html").read_text()
    assert "://" not in page
    assert page.count("data:image/png;base64,") == 2  # for light and dark
    assert "prefers-color-scheme: dark" in page
    assert "a &amp; b" in page
    assert "&lt;b&gt;$x$&lt;/b&gt;" in page
    assert "<b>$x$" not in page
    assert "a/&lt;broken&gt;.png: the file is empty" in page
    assert "1,234 images do not hold the time" in page
    for drift in drifts.values():
        assert drift.reason in page
        for event in drift.events:
            assert event.message in page


def test_the_page_is_well_formed(written: Path) -> None:
    open_tags: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in {"meta", "img", "source"}:
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Checker().feed((written / "drift.html").read_text())
    assert open_tags == []


def test_the_worst_camera_comes_first(drifts: dict[str, Drift]) -> None:
    order = sort_worst_first(drifts)
    assert order[0] == "<b>$x$</b>"
    assert order[1:] == ["few", "none", "cleaned", "steady"]
    steady = drifts["steady"]
    soon, late, unknown = (
        replace(steady, status=Status.DEGRADING, days_left=left)
        for left in (DaysLeft(2, 1, 3), DaysLeft(20, 10, 30), None)
    )
    assert sort_worst_first({"a": unknown, "b": late, "c": soon}) == ["c", "b", "a"]


def test_a_line_for_the_terminal(drifts: dict[str, Drift]) -> None:
    assert describe_drift("few", drifts["few"]) == (
        "few: TOO_FEW: 20 images; the first verdict takes 21, or 1 with a given baseline "
        "(events: none)"
    )
    assert "1 CLEANED, 1 BASELINE_STALE" in describe_drift("c", drifts["cleaned"])
    assert describe_drift("\udc80", drifts["few"]).startswith("\\udc80: ")


def test_no_camera_at_all(tmp_path: Path) -> None:
    write_drift(tmp_path, {}, source="nothing", unreadable=[("a.png", "empty")])
    assert "Sharpness of 0 cameras" in (tmp_path / "drift.html").read_text()
    assert rows(tmp_path / "events.csv") == []


def test_names_that_are_no_unicode_or_not_in_the_font(
    drifts: dict[str, Drift], tmp_path: Path
) -> None:
    write_drift(tmp_path, {"\udc80": drifts["few"], "相機": drifts["few"]}, source="\udc80")
    assert "\\udc80" in (tmp_path / "drift.html").read_text()
    assert "\\udc80" in (tmp_path / "medians.csv").read_text()


def test_more_cameras_than_panels_are_all_in_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("defectseg.drift.report.MAX_PANELS", 2)
    write_drift(tmp_path, {name: camera(1.4) for name in "abcd"}, source="many")
    page = (tmp_path / "drift.html").read_text()
    assert "2 more cameras have no chart" in page
    assert "<th>d</th>" in page
    assert {row["camera"] for row in rows(tmp_path / "medians.csv")} == set("abcd")


def test_a_panel_a_camera_with_its_events_marked(drifts: dict[str, Drift]) -> None:
    cleaned = drifts["cleaned"]
    (axes,) = draw_chart({"cleaned": cleaned}).axes
    assert axes.get_title(loc="left") == "cleaned: STEADY"
    assert [text.get_text() for text in axes.texts] == [
        event.kind.replace("_", " ") for event in cleaned.events
    ]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["median", "baseline ± 3 sd", "moving average", "its limits", "limit"]


def test_names_of_events_that_are_close_stand_in_different_rows(drifts: dict[str, Drift]) -> None:
    start = datetime(2024, 1, 30)
    events = tuple(Event(Kind.LOW, start + timedelta(hours=n), 1.0, "low") for n in range(3))
    (axes,) = draw_chart({"a": replace(drifts["steady"], events=events)}).axes
    assert len({text.get_position()[1] for text in axes.texts}) == 3


def test_one_median_can_be_drawn() -> None:
    one = watch(np.array(["2024-01-01"], "datetime64[us]"), np.ones(1), SETTINGS)
    assert len(draw_chart({"one": one}, dark=True).axes) == 1
