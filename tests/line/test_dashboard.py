"""The station's page, in a real browser."""

import functools
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest
from playwright.sync_api import Browser, Page, expect

from defectseg.image_io import encode_picture
from defectseg.line.assembly import Line, Setup
from defectseg.line.dashboard.status import tell_status
from defectseg.line.records import Inspection
from defectseg.line.settings import Drift, LineSettings
from defectseg.line.store import StoreError
from tests.line import conftest
from tests.line.conftest import Running, draw_file, run_line

TOKEN = "a token of the tests"
HOSTILE = '<img src=x onerror="window.harmed = true">'

Image = npt.NDArray[np.uint8]
Start = Callable[..., Running]
Open = Callable[..., Page]


@contextmanager
def look(
    browser: Browser, address: str, *, but: str | None = None, **context: Any
) -> Iterator[Page]:
    """Open a page that asks nobody but its station, and has no fault but those that are named."""
    options = {"locale": "en-GB", "timezone_id": "Europe/Berlin", **context}
    with browser.new_context(**options) as own:
        page = own.new_page()
        page.set_default_timeout(10_000)
        page.clock.install()  # it goes on as ever, but tests need not wait for it
        asked: list[str] = []
        faults: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: said.type == "error" and faults.append(said.text))
        page.goto(address)
        yield page
        strangers = {url for url in asked if urlsplit(url).scheme != "data"}
        assert {urlsplit(url).netloc for url in strangers} == {urlsplit(address).netloc}
        assert [fault for fault in faults if but is None or but not in fault] == []


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Look at a station, until the test is over."""
    with ExitStack() as opened:

        def open_(station: Running | str, **options: Any) -> Page:
            address = station if isinstance(station, str) else station.address
            return opened.enter_context(look(browser, address, **options))

        yield open_


def make_row(part_id: str = "part 1", outcome: str = "REVIEW", **fields: Any) -> Inspection:
    """A row as the station would record it."""
    score = {"PASS": 0.08, "FAIL": 0.93, "REVIEW": 0.52, "RETAKE": 0.31}.get(outcome)
    row = Inspection(
        received_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        part_id=part_id,
        camera_id="left",
        product="Class1",
        source="http",
        outcome=outcome,
        final=True,
        image_sha256=8 * f"{zlib.crc32(part_id.encode()):08x}",
        recipe="1" * 64,
        model_sha256="14d9a26702f8" + 52 * "0",
        calibration_sha256="2" * 64,
        engine="openvino",
        precision="int8",
        score=score,
        review_from=0.42,
        fail_from=0.61,
        sharpness=None if score is None else 18.4,
        sharpness_limit=None if score is None else 10.7,
        queue_ms=1.4,
        inspect_ms=46.2,
        total_ms=47.6,
    )
    return replace(row, **fields)


def draw_part(row: Inspection, size: int) -> tuple[Image, Image]:
    """Draw a turned disc with holes, some with a dent, and where the dent is."""
    rng = np.random.default_rng(zlib.crc32(row.part_id.encode()))
    y, x = (np.mgrid[:size, :size] - size / 2) / (size / 2)
    radius, angle = np.hypot(x, y), np.arctan2(y, x) + rng.uniform(0, 7)
    holes = {"Class1": 5, "Class5": 6, "Class6": 8}[row.product]
    groove = np.abs(radius - 0.76) < 0.012
    shine = 150 + 26 * np.cos(2 * angle) - 12 * groove
    turn = (angle * holes / (2 * np.pi)) % 1 - 0.5
    is_hole = np.hypot(radius - 0.55, turn * 2 * np.pi / holes * 0.55) < 0.11
    image = np.where((radius > 0.86) | (radius < 0.2) | is_hole, 38.0, shine)
    mask = np.zeros((size, size), np.uint8)
    if row.outcome in {"FAIL", "REVIEW"}:
        depth = 70 if row.outcome == "FAIL" else 34
        place = rng.uniform(0, 7)
        dx, dy = x - 0.76 * np.cos(place), y - 0.76 * np.sin(place)
        dent = np.exp(-((dx / 0.07) ** 2 + (dy / 0.045) ** 2))
        image -= depth * dent
        mask = (dent > 0.4).astype(np.uint8)
    if row.outcome == "RETAKE":
        image = cv2.GaussianBlur(image, (0, 0), size / 40)
    return image.clip(0, 255).astype(np.uint8), mask


def record(line: Line, row: Inspection, size: int = 128) -> int:
    """Record a row and, if it was inspected, pictures; return its id."""
    if row.score is not None:
        image, mask = draw_part(row, size)
        pictures = line.archive.keep(encode_picture(image, ".png"), image, mask, row)
        rows, columns = np.nonzero(mask)
        regions: tuple[dict[str, Any], ...] = ()
        if mask.any():
            left, top = int(columns.min()), int(rows.min())
            box = [left, top, int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1]
            regions = (
                {
                    "area_px": int(mask.sum()),
                    "bbox_xywh": box,
                    "centroid_xy": [float(columns.mean()), float(rows.mean())],
                    "semi_major": None,
                    "semi_minor": None,
                    "angle": None,
                    "score": row.score,
                },
            )
        row = replace(row, pictures=pictures, width=size, height=size, regions=regions)
    recorded, _ = line.ledger.record(row).result()
    line.news.tell("inspection", recorded.id)
    return recorded.id


def text_of(page: Page, selector: str) -> str:
    return page.locator(selector).inner_text()


# ---- how the station is


def test_an_empty_station_says_so(start_line: Start, open_page: Open, tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    station = start_line(inbox=tmp_path / "inbox")
    html = station.client.get("/").text
    assert "The station is ready." in html
    assert "No image has come yet." in html
    page = open_page(station)
    expect(page.locator("#headline")).to_have_text("The station is ready.")
    expect(page.locator("#no-images")).to_have_text("No image has come yet.")
    expect(page.locator("#nothing-waits")).to_be_visible()
    expect(page.locator("#no-cameras")).to_be_visible()
    expect(page.locator("#facts")).to_contain_text("bundle")
    expect(page.locator("#events")).to_contain_text("started")


def test_a_broken_model_is_told_before_anything_else(
    start_line: Start, open_page: Open, tmp_path: Path
) -> None:
    station = start_line(bundle=tmp_path / "nothing")
    html = station.client.get("/").text
    assert "The station is not inspecting." in html
    assert "There is no model" in html
    page = open_page(station)
    expect(page.locator("#status")).to_have_class("bad")
    expect(page.locator("#details")).to_contain_text("no part passes")
    expect(page.locator("#facts")).to_contain_text("none")


def test_a_ledger_that_cannot_be_read_is_told(
    start_line: Start, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = start_line(bundle=None)

    def fail(*args: object) -> None:
        raise StoreError("the disk is gone")

    monkeypatch.setattr(station.line.ledger.store, "read", fail)
    answer = station.client.get("/")
    assert answer.status_code == 200
    assert "The station cannot read its ledger." in answer.text
    page = open_page(station, but="503")
    expect(page.locator("#lost")).to_contain_text("the disk is gone")


SUMMARY = {
    "time": "2026-01-31T12:00:00.000+00:00",
    "problems": [],
    "alarms": [],
    "waiting": 0,
    "watched_folder": None,
}


def test_a_station_at_work_says_so() -> None:
    last = make_row(received_at="2026-01-31T11:59:00.000+00:00")
    status = tell_status(SUMMARY, last)
    assert (status.tone, status.headline) == ("good", "The station is inspecting.")


def test_a_station_without_images_for_long_says_since_when() -> None:
    last = make_row(received_at="2026-01-31T09:30:00.000+00:00")
    status = tell_status(SUMMARY, last)
    assert (status.tone, status.headline) == ("idle", "The station is ready.")
    assert status.details == ("No image has come for 2 hours.",)


def test_alarms_are_told_in_words() -> None:
    alarms = [{"kind": "DEGRADING", "camera_id": "left"}, {"kind": "NEW", "camera_id": ""}]
    last = make_row(received_at="2026-01-31T11:59:00.000+00:00")
    status = tell_status({**SUMMARY, "alarms": alarms}, last)
    assert (status.tone, status.headline) == (
        "warn",
        "The station is inspecting, but needs attention.",
    )
    assert status.details == ("Alarm: camera left is losing sharpness.", "Alarm: NEW.")


def test_a_problem_is_more_than_an_alarm() -> None:
    alarms = [{"kind": "NOT_READY", "camera_id": ""}]
    summary = {**SUMMARY, "problems": ["There is no model."], "alarms": alarms}
    status = tell_status(summary, make_row())
    assert status.tone == "bad"
    assert status.details[0] == "There is no model."


# ---- images


def test_images_appear_as_they_are_inspected(start_line: Start, open_page: Open) -> None:
    station = start_line()
    page = open_page(station)
    expect(page.locator("#no-images")).to_be_visible()
    page.evaluate("window.mark = 'not loaded anew'")
    answers = [
        station.inspect(draw_file(number), f"part {number}", camera_id=f"camera {number}").json()
        for number in (1, 2)
    ]
    expect(page.locator(".card")).to_have_count(2)
    newest = page.locator(".card").first
    expect(newest.locator(".part")).to_have_text("part 2")
    expect(newest.locator(".badge")).to_have_text(answers[1]["outcome"])
    expect(page.locator("#headline")).to_have_text("The station is inspecting.")
    expect(page.locator("#last")).to_contain_text("part 2, camera camera 2")
    for outcome in {own["outcome"] for own in answers}:
        count = sum(own["outcome"] == outcome for own in answers)
        expect(page.locator(f"#total-{outcome}")).to_have_text(str(count))
    assert page.evaluate("window.mark") == "not loaded anew"


def test_images_are_chosen_by_outcome_camera_and_part(start_line: Start, open_page: Open) -> None:
    station = start_line(bundle=None)
    for part, outcome, camera in (
        ("a", "PASS", "left"),
        ("b", "FAIL", "left"),
        ("c", "FAIL", "right"),
    ):
        record(station.line, make_row(part, outcome, camera_id=camera))
    page = open_page(station)
    parts = page.locator("#images .part")
    expect(parts).to_have_text(["c", "b", "a"])
    page.locator("[name=outcome]").select_option("FAIL")
    expect(parts).to_have_text(["c", "b"])
    page.locator("[name=camera_id]").select_option("left")
    expect(parts).to_have_text(["b"])
    page.get_by_label("Part").fill("c")
    page.get_by_label("Part").press("Enter")
    expect(page.locator("#no-images")).to_have_text("There is no such image.")


def test_one_image_is_told_in_detail(start_line: Start, open_page: Open) -> None:
    station = start_line(bundle=None)
    record(station.line, make_row("wheel 7", "FAIL", reasons=("defect found",)))
    page = open_page(station)
    page.locator(".card").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("wheel 7")
    for words in (
        "defect found",
        "score 0.930; REVIEW from 0.42, FAIL from 0.61",
        "18.4; the limit is 10.7",
        "network 14d9a26702f8, int8 by openvino",
        "1 region",
    ):
        expect(dialog).to_contain_text(words)
    image = dialog.locator(".picture img")
    for choice in ("Image", "Mask", "Overlay"):
        dialog.locator(".views").get_by_text(choice, exact=True).click()
        expect(image).to_have_attribute("src", re.compile(f"/{choice.lower()}\\?"))
        expect(image).to_have_js_property("naturalWidth", 128)
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()


def test_pictures_that_are_not_there_are_told(start_line: Start, open_page: Open) -> None:
    station = start_line()
    station.inspect(b"no image", "unreadable")
    number = record(station.line, make_row("old", "PASS"))
    folder = station.line.ledger.inspection(number)
    assert folder is not None
    shutil.rmtree(tmp := station.line.setup.folder / "pictures" / folder.pictures)
    assert not tmp.exists()
    page = open_page(station)
    expect(page.locator(".card").first).to_contain_text("its time was over")
    expect(page.locator(".card").last).to_contain_text("could not be read")
    page.locator(".card").last.click()
    expect(page.get_by_role("dialog")).to_contain_text("No picture")


# ---- reviews


def test_nobody_agrees_or_overrules_without_having_seen_the_part(
    start_line: Start, open_page: Open
) -> None:
    station = start_line(bundle=None)
    for part in ("gone", "broken"):
        number = record(station.line, make_row(part))
    gone = station.line.ledger.inspection(1)
    assert gone is not None
    shutil.rmtree(station.line.setup.folder / "pictures" / gone.pictures)
    page = open_page(station, but="500", viewport={"width": 390, "height": 600})
    page.get_by_label("Your name").fill("Ann")
    agree, overrule, retake = page.locator(".decisions button").all()
    expect(page.locator("#unseen-part")).to_contain_text("only Retake is possible")
    page.clock.fast_forward(700)
    expect(retake).to_be_enabled()
    overrule.click(force=True)
    agree.click(force=True)
    expect(page.locator("#review-part")).to_have_text("Part gone")
    page.route("**/overlay?*", lambda route: route.fulfill(status=500))
    retake.click()
    expect(page.locator("#review-part")).to_have_text("Part broken")
    expect(page.locator("#review-picture")).to_be_in_viewport(ratio=0.5)
    expect(page.locator("#unseen-part")).to_be_visible()
    expect(page.locator("#review-picture")).to_have_text("It cannot be shown.")
    page.locator("#review-view").get_by_text("Mask").click()
    expect(page.locator("#review-picture img")).to_have_js_property("naturalWidth", 128)
    page.clock.fast_forward(5000)
    expect(page.locator("#said")).to_contain_text("Recorded: part gone")
    expect(retake).to_be_enabled()
    expect(overrule).to_be_disabled()  # the mask does not show the part
    page.locator("#review-view").get_by_text("Image").click()
    expect(overrule).to_be_enabled()
    expect(page.locator("#unseen-part")).to_be_hidden()
    # What could not be recorded waits again.
    answer = {"reasons": ["The disk is full."]}
    page.route("**/decision", lambda route: route.fulfill(status=500, json=answer))
    overrule.click()
    page.clock.fast_forward(5000)
    expect(page.locator("#said")).to_contain_text("decide again on part broken")
    expect(page.locator("#said")).to_contain_text("The disk is full.")
    expect(page.locator("#review-part")).to_have_text("Part broken")
    expect(overrule).to_be_visible()
    assert station.line.ledger.decision(number) is None


def test_a_person_decides(start_line: Start, open_page: Open) -> None:
    station = start_line(bundle=None)
    first, second = (record(station.line, make_row(part)) for part in ("first", "second"))
    page = open_page(station)
    expect(page.locator("#review-part")).to_have_text("Part first")  # the oldest
    expect(page.locator("#reviews-title")).to_have_text("2 images wait for a person")
    page.get_by_role("button", name="Overrule: good").click()
    expect(page.locator("#said")).to_contain_text("Write your name first")
    page.get_by_label("Your name").fill("Ann")
    page.get_by_label("Note").fill("only dust")
    page.get_by_role("button", name="Agree: defect").click()
    expect(page.locator("#review-part")).to_have_text("Part second")
    page.clock.fast_forward(4000)
    page.get_by_role("button", name="Undo: part first").click()
    expect(page.locator("#review-part")).to_have_text("Part first")
    expect(page.locator("#undo")).to_be_hidden()
    page.clock.fast_forward(5000)
    expect(page.get_by_label("Note")).to_have_value("only dust")
    page.get_by_role("button", name="Overrule: good").click()
    expect(page.locator("#said")).to_contain_text("Part first is good: recorded in 5 seconds")
    # A click that comes at once was meant for the image before.
    agree = page.get_by_role("button", name="Agree: defect")
    agree.click(force=True)
    expect(page.locator("#review-part")).to_have_text("Part second")
    assert station.line.ledger.decision(first) is None
    page.clock.fast_forward(5000)
    expect(page.locator("#said")).to_have_text("Recorded: part first is good.")
    decision = station.line.ledger.decision(first)
    assert decision is not None
    assert (decision.decision, decision.outcome) == ("overrule", "PASS")
    assert (decision.name, decision.note) == ("Ann", "only dust")
    expect(page.get_by_label("Note")).to_have_value("")
    expect(agree).to_be_enabled()
    # Keys decide nothing before they are switched on.
    page.locator("#review-part").focus()
    page.keyboard.press("a")
    page.clock.fast_forward(500)
    expect(page.locator("#review-part")).to_have_text("Part second")
    page.get_by_label("decide").check()
    page.clock.fast_forward(500)
    page.keyboard.press("a")
    expect(page.locator("#review")).to_be_hidden()
    expect(page.locator("#nothing-waits")).to_be_hidden()  # it can still be undone
    page.clock.fast_forward(5000)
    expect(page.locator("#nothing-waits")).to_be_visible()
    expect(page.locator("#said")).to_have_text("Recorded: part second is a defect.")
    decision = station.line.ledger.decision(second)
    assert decision is not None
    assert decision.outcome == "FAIL"
    page.reload()
    record(station.line, make_row("third"))
    expect(page.get_by_label("Your name")).to_have_value("Ann")
    expect(page.get_by_label("decide")).to_be_checked()


def test_what_somebody_else_decided_leaves_the_queue(start_line: Start, open_page: Open) -> None:
    station = start_line(bundle=None)
    first, second = (record(station.line, make_row(part)) for part in ("first", "second"))
    page = open_page(station, but="409")
    page.get_by_label("Your name").fill("Ann")
    expect(page.get_by_role("button", name="Agree: defect")).to_be_enabled()
    # The page does not know yet.
    known = station.client.get("/v1/inspections?undecided=true").text
    page.route("**/v1/inspections?undecided*", lambda route: route.fulfill(body=known))
    station.line.ledger.decide(first, "retake", "Bob", "").result()
    page.get_by_role("button", name="Agree: defect").click()
    page.clock.fast_forward(5000)
    expect(page.locator("#said")).to_contain_text("decided by Bob")
    expect(page.locator("#review-part")).to_have_text("Part second")
    page.unroute_all()
    # And if it is told.
    body = {"decision": "retake", "name": "Bob"}
    station.client.post(f"/v1/inspections/{second}/decision", json=body)
    expect(page.locator("#said")).to_contain_text("Part second was decided meanwhile, by Bob")
    expect(page.locator("#nothing-waits")).to_be_visible()


def test_a_scanner_and_somebody_who_types_decide_nothing(
    start_line: Start, open_page: Open
) -> None:
    station = start_line(bundle=None)
    record(station.line, make_row("first"))
    page = open_page(station)
    page.get_by_label("Your name").fill("Ann")
    page.get_by_label("decide").check()
    expect(page.get_by_role("button", name="Agree: defect")).to_be_enabled()
    see = "() => document.getElementById('reviews').scrollIntoView()"
    page.evaluate(see)  # what is not in sight is not decided by any key
    page.get_by_label("Note").press("a")
    page.clock.fast_forward(500)
    page.locator("#review-part").focus()
    page.keyboard.type("ROAR")
    page.clock.fast_forward(500)
    page.keyboard.press("Control+a")
    page.clock.fast_forward(500)
    page.set_viewport_size({"width": 390, "height": 844})  # there the switch is not shown
    page.evaluate(see)
    page.wait_for_timeout(200)
    page.keyboard.press("a")
    page.clock.fast_forward(500)
    expect(page.locator("#said")).to_be_empty()
    expect(page.locator("#review-part")).to_be_visible()


def test_the_one_that_is_looked_at_stays_whatever_comes(start_line: Start, open_page: Open) -> None:
    station = start_line(bundle=None)
    record(station.line, make_row("first"))
    page = open_page(station)
    expect(page.locator("#review-part")).to_have_text("Part first")
    page.get_by_label("Note").fill("thinking")
    record(station.line, make_row("second"))
    for number in range(3, 106):
        waits = station.line.ledger.record(make_row(f"part {number}"))
    waits.result()
    record(station.line, make_row("last", "PASS"))
    expect(page.locator("#reviews-title")).to_have_text(
        "105 images wait for a person; the oldest 100 are shown"
    )
    queue = page.locator("#queue button")
    expect(queue).to_have_count(100)
    expect(page.locator("#review-part")).to_have_text("Part first")
    expect(page.get_by_label("Note")).to_have_value("thinking")
    expect(page.locator("#said")).to_be_empty()
    page.get_by_role("button", name="Show more").click()
    expect(queue).to_have_count(105)
    expect(page.locator("#reviews-title")).to_have_text("105 images wait for a person")
    queue.last.click()
    expect(page.locator("#review-part")).to_have_text("Part part 105")


# ---- charts


def test_hours_are_drawn_in_local_time(start_line: Start, open_page: Open) -> None:
    station = start_line(bundle=None)
    time = datetime.now(UTC) - timedelta(hours=3)
    for number in range(3):
        row = make_row(f"part {number}", "ERROR", received_at=time.isoformat())
        record(station.line, row)
    page = open_page(station, timezone_id="Asia/Tokyo")  # UTC+9, all year
    start = f"{(time.hour + 9) % 24:02d}:00"
    title = page.locator("#hours title", has_text="3 ERROR")
    expect(title).to_have_text(re.compile(f", {start} to .*: 3 ERROR$"))
    page.locator("#figures summary").click()
    expect(page.locator("#hours-table tr")).to_have_count(2)
    expect(page.locator("#yield")).to_have_text("–")  # nothing was inspected
    expect(page.locator("#hours .share")).to_have_count(0)
    for part, hours, outcome in (
        ("a", 5, "PASS"),
        ("b", 3, "PASS"),
        ("c", 3, "PASS"),
        ("d", 3, "PASS"),
        ("e", 3, "FAIL"),
        ("f", 3, "RETAKE"),
    ):
        own = time + timedelta(hours=3 - hours)
        record(station.line, make_row(part, outcome, received_at=own.isoformat()))
    shares = page.locator("#hours-table td:last-child")
    expect(shares).to_have_text(["100.0 %", "75.0 %"])  # 3 of 4: a RETAKE is not inspected
    expect(title).to_have_text(re.compile("; yield 75.0 %$"))
    expect(page.locator("#hours .share")).to_have_count(2)
    line = page.locator("#hours .average").get_attribute("d") or ""
    assert (line.count("M"), line.count("L")) == (2, 0)  # no line leads over the hour between


def test_a_camera_that_loses_sharpness_is_shown(start_line: Start, open_page: Open) -> None:
    station = start_line(settings=WATCHFUL)
    watch_cameras(station.line)
    page = open_page(station)
    worst = page.locator(".camera").first
    expect(worst.locator("h3")).to_have_text("right Class5")
    expect(worst.locator(".badge")).to_have_text("losing sharpness")
    expect(worst).to_contain_text("days to its limit")
    expect(worst.locator(".event")).not_to_have_count(0)
    expect(worst.locator(".chart .limit")).to_have_count(1)
    expect(worst.locator(".chart .ring").nth(10)).to_be_attached()
    worst.locator("summary").click()
    values, medians = worst.locator("table").all()
    expect(values.locator("tr")).to_have_count(13)  # its head, and the last 12
    expect(medians.locator("tr")).to_have_count(13)
    width = worst.locator("svg").get_attribute("width")
    assert width is not None
    page.set_viewport_size({"width": 640, "height": 700})  # all is drawn anew
    expect(worst.locator("svg")).not_to_have_attribute("width", width)
    expect(values).to_be_visible()
    expect(page.locator("#status")).to_have_class("warn")
    expect(page.locator("#details")).to_contain_text("camera right is losing sharpness")


# ---- safety


def test_names_from_clients_are_only_text(start_line: Start, open_page: Open) -> None:
    station = start_line(bundle=None)
    hostile = {"camera_id": HOSTILE, "reasons": (HOSTILE,)}
    record(station.line, make_row(HOSTILE, **hostile))
    station.line.cameras.add(make_row(HOSTILE, **hostile))
    station.line.ledger.report("ALARM", HOSTILE).result()
    assert "<img src=x" not in station.client.get("/").text
    page = open_page(station)
    expect(page.locator(".card .part")).to_have_text(HOSTILE)
    expect(page.locator("#review-part")).to_have_text(f"Part {HOSTILE}")
    expect(page.locator(".camera h3")).to_contain_text(HOSTILE)
    expect(page.locator("#events")).to_contain_text(HOSTILE)
    page.locator(".card").click()
    expect(page.locator("#detail-title")).to_contain_text(HOSTILE)
    assert page.locator("img[src=x]").count() == 0
    assert page.evaluate("window.harmed") is None


def test_a_token_is_asked_for(start_line: Start, open_page: Open) -> None:
    station = start_line(TOKEN, bundle=None)
    page = open_page(station, but="401")
    expect(page).to_have_url(f"{station.address}/login")
    page.get_by_label("Token").fill("another")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("This is not the station's token.")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#headline")).to_have_text("The station is not inspecting.")
    record(station.line, make_row("first"))
    expect(page.locator(".card")).to_have_count(1)
    page.context.clear_cookies()
    page.clock.fast_forward(10_000)  # it asks again
    expect(page).to_have_url(f"{station.address}/login")


def test_without_a_token_there_is_no_login(start_line: Start) -> None:
    answer = start_line(bundle=None).client.get("/login")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_a_station_that_stops_is_told_and_found_again(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = Setup(tmp_path / "station")
    with run_line(setup) as first:
        port = urlsplit(first.address).port
        viewer = look(browser, first.address, but="ERR_")
        page = viewer.__enter__()
        record(first.line, make_row("before"))
        expect(page.locator(".card")).to_have_count(1)
        expect(page.locator("#lost")).to_be_hidden()
    expect(page.locator("#lost")).to_have_text(
        re.compile(r"^Connection lost\. Last seen at \d\d:\d\d:\d\d\.")
    )
    expect(page.locator("#status")).to_have_class("unknown")
    again = functools.partial(conftest.make_server)

    def serve_there(line: Line, **options: Any) -> Any:
        return again(line, **{**options, "port": port})

    monkeypatch.setattr(conftest, "make_server", serve_there)
    with run_line(setup) as second:
        expect(page.locator("#lost")).to_be_hidden()
        record(second.line, make_row("after"))
        expect(page.locator(".card .part")).to_have_text(["after", "before"])
        viewer.__exit__(None, None, None)


# ---- looks

WATCHFUL = LineSettings(drift=Drift(every_s=0, median_of=5, baseline_medians=12))


def watch_cameras(line: Line) -> None:
    """Show the line months of three cameras: one is steady, one gathers dust, one is new."""
    rng = np.random.default_rng(4)
    now = datetime.now(UTC)
    for camera, product, images, fall in (
        ("left", "Class1", 290, 0.0),
        ("right", "Class5", 290, 5.2),
        ("top", "Class6", 30, 0.0),
    ):
        for number in range(images):
            time = now - timedelta(hours=4 * (images - number))
            dust = fall * max(0.0, number / images - 0.45) / 0.55
            value = 18.4 - dust + rng.normal(0, 0.5)
            row = make_row(received_at=time.isoformat(), camera_id=camera, product=product)
            line.cameras.add(replace(row, sharpness=round(value, 3)))


def fill(line: Line) -> None:
    """A day of a line with three cameras, and its last images with pictures."""
    watch_cameras(line)
    rng = np.random.default_rng(1)
    now = datetime.now(UTC)
    for hours in range(23, 0, -1):
        busy = 4 if 8 < hours < 14 else 14
        for number in range(int(busy + rng.integers(0, 5))):
            outcome = rng.choice(["PASS", "FAIL", "RETAKE", "ERROR"], p=[0.9, 0.06, 0.03, 0.01])
            time = (now - timedelta(hours=hours, seconds=number)).isoformat()
            row = make_row(f"early {hours} {number}", str(outcome), received_at=time)
            line.ledger.record(replace(row, image_sha256=f"{hours}-{number}"))
    outcomes = [
        "PASS",
        "PASS",
        "FAIL",
        "PASS",
        "REVIEW",
        "PASS",
        "PASS",
        "RETAKE",
        "PASS",
        "PASS",
        "REVIEW",
        "PASS",
        "FAIL",
        "PASS",
        "PASS",
        "PASS",
        "REVIEW",
        "PASS",
        "ERROR",
        "PASS",
        "PASS",
        "FAIL",
        "PASS",
        "PASS",
    ]
    cameras = (("left", "Class1"), ("right", "Class5"), ("top", "Class6"))
    reasons = {
        "FAIL": ("a defect was found",),
        "REVIEW": ("the score lies between the two thresholds",),
        "RETAKE": ("low contrast: haze or light",),
        "ERROR": ("could not be inspected",),
    }
    for number, outcome in enumerate(outcomes):
        camera, product = cameras[number % 3]
        row = make_row(
            f"WH-20417-{number + 380}",
            outcome,
            camera_id=camera,
            product=product,
            reasons=reasons.get(outcome, ()),
            received_at=(now - timedelta(seconds=7 * (24 - number))).isoformat(),
        )
        if row.score is not None:
            score = round(row.score + rng.uniform(-0.06, 0.06), 6)
            row = replace(row, score=score, belief=0.97)
        record(line, row, size=512)


_TOP_PX = 1790  # the page's end is seen on it, not in a document


def make_small(path: Path, folder: Path) -> None:
    """Write the top of a screenshot, with no more colours than are seen."""
    with PIL.Image.open(path) as picture:
        top = picture.crop((0, 0, picture.width, min(picture.height, _TOP_PX)))
        levels = (np.asarray(top.convert("RGB")).astype(int) + 2) // 5 * 5
    small = PIL.Image.fromarray(levels.clip(0, 255).astype(np.uint8))
    small = small.quantize(128, kmeans=3, dither=PIL.Image.Dither.NONE)
    small.save(folder / path.name, optimize=True)


def is_wider_than_the_screen(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


def test_how_it_looks(
    start_line: Start, open_page: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = os.environ.get("DEFECTSEG_SCREENSHOTS")
    shown = Path(wanted).resolve() if wanted else None
    monkeypatch.chdir(tmp_path)
    station = start_line(folder=Path("runs/line"), settings=WATCHFUL)
    fill(station.line)
    desktop = {"width": 1280, "height": 900}
    light = open_page(station, viewport=desktop, color_scheme="light")
    dark = open_page(station, viewport=desktop, color_scheme="dark")
    phone = open_page(
        station, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    colours = [
        page.evaluate("getComputedStyle(document.body).backgroundColor") for page in (light, dark)
    ]
    assert colours[0] != colours[1]
    for page, name in ((light, "line"), (dark, "line-dark"), (phone, "line-phone")):
        expect(page.locator(".card")).to_have_count(12 if page is phone else 24)
        expect(page.locator(".camera")).to_have_count(3)
        expect(page.locator("#review-picture img")).to_be_visible()
        assert not is_wider_than_the_screen(page)
        page.evaluate("for (const own of document.images) own.loading = 'eager'")
        page.evaluate("() => Promise.all([...document.images].map((own) => own.decode()))")
        page.screenshot(path=tmp_path / f"{name}.png", full_page=True)
        if shown and page is not dark:
            make_small(tmp_path / f"{name}.png", shown)
    for button in phone.locator("#decide button, nav a").all():
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= 44


def test_long_names_do_not_widen_a_phone(start_line: Start, open_page: Open) -> None:
    station = start_line(bundle=None)
    long = 190 * "W"
    record(station.line, make_row(long, camera_id=long))
    station.line.cameras.add(make_row(long, camera_id=long))
    page = open_page(station, viewport={"width": 360, "height": 740}, is_mobile=True)
    expect(page.locator(".card")).to_have_count(1)
    expect(page.locator(".camera")).to_have_count(1)
    assert not is_wider_than_the_screen(page)
    page.locator(".card").click()
    expect(page.get_by_role("dialog")).to_contain_text(long)
    assert not is_wider_than_the_screen(page)
