"""A whole line: its parts together, and over a restart."""

import gc
import shutil
import sqlite3
import time
import weakref
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from defectseg.errors import ConfigError
from defectseg.image_io import encode_picture
from defectseg.line import assembly
from defectseg.line.assembly import Line, Setup
from defectseg.line.ledger import Ledger
from defectseg.line.records import Event
from defectseg.line.settings import LineSettings
from tests.line.conftest import Running, draw_file, run_line, wait_until
from tests.line.test_courier import let_nothing_be_written, web_server
from tests.line.test_ledger import row
from tests.line.test_models import change_limits, make_blind


def line_events(folder: Path) -> list[Event]:
    """The events of a station that has ended, the newest first."""
    ledger = Ledger(folder / "station")
    events = ledger.events(20)
    ledger.close()
    return events


QUICK_DRIFT = {"every_s": 0, "median_of": 2, "baseline_medians": 10}


def test_the_summary_tells_what_happened(start_line: Callable[..., Running]) -> None:
    station = start_line()
    before = station.line.summarise()
    assert (before["yield"], before["problems"], sum(before["totals"].values())) == (None, [], 0)
    for number in range(3):
        station.inspect(draw_file(number), f"p{number}")
    after = station.line.summarise()
    totals = after["totals"]
    assert sum(totals.values()) == 3
    inspected = totals["PASS"] + totals["FAIL"] + totals["REVIEW"]
    assert after["yield"] == (totals["PASS"] / inspected if inspected else None)
    assert sum(sum(v for k, v in own.items() if k != "hour") for own in after["hours"]) == 3
    assert after["model"]["products"] == ["Class1", "Class5"]
    assert [event["kind"] for event in after["events"]] == ["STARTED", "MODEL"]


def test_another_model_judges_also_after_the_next_start(
    bundle_folder: Path, tmp_path: Path
) -> None:
    first = shutil.copytree(bundle_folder, tmp_path / "first")
    second = shutil.copytree(bundle_folder, tmp_path / "second")
    setup = Setup(tmp_path / "station", first)
    with run_line(setup) as station:
        for number in range(3):
            station.inspect(draw_file(number), f"p{number}")
        answer = station.client.post("/v1/models", json={"bundle": "second"})
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert (told["recent_images"], told["judged_alike"]) == (3, 3)
        assert station.client.get("/v1/models").json()["current"] == "second"
    with run_line(setup) as station:
        assert station.client.get("/v1/models").json()["current"] == "second"
    with run_line(Setup(tmp_path / "station", second)) as station:
        assert station.line.models.current is not None
        assert station.line.models.current.name == "second"
    shutil.rmtree(second)
    with run_line(setup) as station:  # what took over is gone
        assert station.client.get("/v1/models").json()["current"] == "first"


def test_which_model_judges_in_place_of_another_is_told(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = shutil.copytree(bundle_folder, tmp_path / "first")
    second = shutil.copytree(bundle_folder, tmp_path / "second")
    monkeypatch.chdir(tmp_path)
    with run_line(Setup(tmp_path / "station", first)) as station:
        answer = station.client.post("/v1/models", json={"bundle": "second"})
        assert answer.json()["comparison"] == "no recent image was compared"
    # The same bundle, by another name.
    line = Line(Setup(tmp_path / "station", Path("first")))
    line.close()
    told = next(event for event in line_events(tmp_path) if event.kind == "MODEL")
    assert told.message.startswith("second (network ")
    assert told.message.endswith("It was chosen in place of first by POST /v1/models.")
    shutil.rmtree(second)
    with run_line(Setup(tmp_path / "station", first)) as station:
        assert station.line.alarms.active() == [("MODEL_LOST", "")]
        assert station.client.post("/v1/models", json={"bundle": "first"}).status_code == 200
        assert not station.line.alarms.active()
    told = [event for event in line_events(tmp_path) if event.kind == "MODEL"][1]
    assert told.message.startswith("first (network ")
    assert "second, chosen in its place by POST /v1/models, is not there" in told.message


def test_a_bundle_that_was_refused_does_not_judge_after_the_next_start(
    bundle_folder: Path, tmp_path: Path
) -> None:
    bundle = make_blind(shutil.copytree(bundle_folder, tmp_path / "bundle"))
    change_limits(bundle, review=0.0, fail=0.0)  # all that is believed is a FAIL
    setup = Setup(tmp_path / "station", bundle)
    with run_line(setup) as station:
        assert station.inspect(draw_file(1), "1").json()["outcome"] == "FAIL"
        make_blind(bundle)
        for _ in range(2):
            station.line.models.look()
        assert station.inspect(draw_file(2), "2").json()["outcome"] == "FAIL"
    with run_line(setup) as station:
        problem = station.client.get("/v1/models").json()["problem"]
        assert "2 FAIL → PASS" in problem
        assert station.inspect(draw_file(3), "3").status_code == 503
        refused = station.client.post("/v1/models", json={"bundle": "bundle"})
        assert refused.status_code == 409
        assert '{"bundle": "bundle", "insist": true}' in refused.json()["reasons"][0]
        answer = station.client.post("/v1/models", json={"bundle": "bundle", "insist": True})
        assert answer.status_code == 200
        assert answer.json()["differing"][1] == {"id": 1, "before": "FAIL", "now": "PASS"}
    with run_line(setup) as station:
        assert station.inspect(draw_file(3), "3").json()["outcome"] == "PASS"


def test_old_defects_are_compared_where_new_ones_are_rare(
    bundle_folder: Path, tmp_path: Path
) -> None:
    seeing = make_blind(shutil.copytree(bundle_folder, tmp_path / "seeing"))
    change_limits(seeing, review=0.0, fail=0.0)
    make_blind(shutil.copytree(bundle_folder, tmp_path / "blind"))
    settings = LineSettings.model_validate({"swap": {"recent_images": 1, "least_agreement": 0.0}})
    with run_line(Setup(tmp_path / "station", seeing, settings=settings)) as station:
        station.inspect(draw_file(1), "1")
        station.client.post("/v1/models", json={"bundle": "blind", "insist": True})
        for number in range(2, 8):
            assert station.inspect(draw_file(number), "x").json()["outcome"] == "PASS"
        refused = station.client.post("/v1/models", json={"bundle": "blind"})
        assert refused.status_code == 409
        assert "0 of 1 recent images are judged alike (1 FAIL → PASS)" in refused.text


def test_a_camera_that_is_too_poor_raises_an_alarm_and_an_event(
    start_line: Callable[..., Running],
) -> None:
    settings = LineSettings.model_validate(
        {"alarms": {"retake_images": 4, "retake_share": 0.5}, "drift": QUICK_DRIFT}
    )
    station = start_line(settings=settings)
    for number in range(4):
        # Of another size than any that is known: never believed.
        image = np.random.default_rng(number).integers(0, 256, (64, 64), np.uint8)
        verdict = station.inspect(encode_picture(image, ".png"), f"p{number}").json()
        assert verdict["outcome"] == "RETAKE"
    deadline = time.monotonic() + 10
    while (event := station.line.ledger.events(1)[0]).kind != "ALARM":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert "4 of the last 4" in event.message
    assert station.line.alarms.active() == [("RETAKE_RATE", "camera")]


@pytest.fixture
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "_LOOK_S", 0.05)


@pytest.mark.usefixtures("look_often")
@pytest.mark.parametrize("unwritable", ["pictures", "ledger"])
def test_that_nothing_can_be_written_is_told(
    start_line: Callable[..., Running], tmp_path: Path, unwritable: str
) -> None:
    if unwritable == "pictures":
        (tmp_path / "station").mkdir()
        (tmp_path / "station" / "pictures").write_text("a file, where a folder is to be")
    with web_server() as (port, got):
        webhooks = [f"http://127.0.0.1:{port}/"]
        settings = LineSettings.model_validate({"alarms": {"webhooks": webhooks}})
        station = start_line(settings=settings)
        if unwritable == "ledger":
            station.line.ledger.store.write(let_nothing_be_written).result()
        assert station.inspect(draw_file(1), "1").status_code == 503
        wait_until(lambda: bool(got), 5)
    assert [own["kind"] for own in got] == ["NOT_READY"]
    assert "Nothing can be recorded" in got[0]["message"]


@pytest.mark.usefixtures("look_often")
def test_what_fails_every_few_seconds_keeps_nothing_else_from_being_done(
    start_line: Callable[..., Running], tmp_path: Path
) -> None:
    def rename(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE undecided RENAME TO away")

    pictures = tmp_path / "station" / "pictures"
    pictures.parent.mkdir()
    pictures.write_text("a file, where a folder is to be")
    line = start_line().line
    line.ledger.store.write(rename).result()  # how many wait for a person cannot be read
    line.station.problem = "pictures cannot be written"
    wait_until(lambda: ("NOT_READY", "") in line.alarms.active(), 5)
    pictures.unlink()
    wait_until(lambda: not line.station.problem, 5)


@pytest.mark.usefixtures("look_often")
def test_a_camera_that_is_low_is_an_alarm_until_it_is_not(
    start_line: Callable[..., Running],
) -> None:
    line = start_line(settings=LineSettings.model_validate({"drift": QUICK_DRIFT})).line

    def look_at(sharpness: float, images: int) -> None:
        for _ in range(images):
            line.cameras.add(row(sharpness=sharpness, sharpness_limit=6.0))

    look_at(5, 2)
    wait_until(lambda: line.alarms.active() == [("LOW", "c")], 5)
    look_at(10, 16)
    wait_until(lambda: line.alarms.active() == [], 5)
    line.ledger.store.write(lambda connection: None).result()  # all before it is on disk
    told = [own.message for own in line.ledger.events(9) if own.kind == "ALARM"]
    assert told == ["c (Class1): the last median is 5.00, the limit 6.00"]


def test_a_station_does_not_watch_its_own_pictures(tmp_path: Path, bundle_folder: Path) -> None:
    with pytest.raises(ConfigError, match="lies within"):
        Line(Setup(tmp_path / "inbox" / "station", bundle_folder, inbox=tmp_path / "inbox"))


def test_what_is_wrong_at_the_start_leaves_nothing_open(
    tmp_path: Path, bundle_folder: Path
) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "Class1.yaml").write_text("least_area: 1")
    with pytest.raises(ConfigError):
        Line(Setup(tmp_path / "station", bundle_folder, rules=tmp_path / "rules"))
    line = Line(Setup(tmp_path / "station", bundle_folder))
    line.close()
    line.close()


def test_starts_and_stops_are_events(tmp_path: Path, bundle_folder: Path) -> None:
    setup = Setup(tmp_path / "station", bundle_folder)
    for _ in range(2):
        Line(setup).close()
    line = Line(setup)
    kinds = [event.kind for event in line.ledger.events(9)][::-1]
    times = [datetime.fromisoformat(event.time) for event in line.ledger.events(9)][::-1]
    line.close()
    assert kinds[:6] == ["MODEL", "STARTED", "STOPPED"] * 2
    assert times == sorted(times)


def test_an_ended_line_lets_go_of_its_networks(tmp_path: Path, bundle_folder: Path) -> None:
    # FastAPI keeps the pages of a station, and by them the line, as long as the process lives.
    with run_line(Setup(tmp_path / "station", bundle_folder)) as station:
        assert station.inspect(draw_file(1), "1").status_code == 200
        model = station.line.models.current
        assert model is not None
        networks = [weakref.ref(own.engine) for own in (model.predictor, model.alone)]
        del model
    gc.collect()
    assert [network() for network in networks] == [None, None]
    assert "has ended" in station.line.models.problem
