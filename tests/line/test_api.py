"""The pages of a station, asked over loopback."""

import io
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from defectseg.image_io import decode_image
from defectseg.line.assembly import Setup
from defectseg.line.settings import LineSettings
from tests.line.conftest import Running, draw, draw_file, run_line
from tests.line.test_hostile import new_image
from tests.line.test_models import change_limits, make_blind


@pytest.fixture(scope="module")
def shared_station(
    bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("api")
    # A chart of sharpness after as few images as may be.
    drift = {"every_s": 0, "median_of": 1, "baseline_medians": 20}
    settings = LineSettings(drift=drift)
    bundle = shutil.copytree(bundle_folder, folder / "bundle", copy_function=os.link)
    # Whatever the small model says, a person decides.
    change_limits(make_blind(bundle), review=0.0, fail=1.0)
    with run_line(Setup(folder / "station", bundle=bundle, settings=settings)) as running:
        yield running


@pytest.fixture
def station(shared_station: Running) -> Running:
    return shared_station


def check_problem(answer: httpx.Response, status: int, text: str = "") -> None:
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"outcome", "reasons"}
    assert answer.json()["outcome"] == "ERROR"
    assert text in " ".join(answer.json()["reasons"])


def make_review(station: Running) -> int:
    """Have an image inspected that a person is to decide on; return its id."""
    for _ in range(50):
        verdict = station.inspect(new_image(), "review").json()
        if verdict["outcome"] == "REVIEW":
            return int(verdict["id"])
    raise AssertionError("no image is REVIEW")


# --- Inspections -------------------------------------------------------------------------------


def test_an_image_is_inspected_recorded_and_answered(start_line: Callable[..., Running]) -> None:
    station = start_line()
    answer = station.inspect(draw_file(1), "part 1", camera_id="left")
    assert answer.status_code == 200, answer.text
    verdict = answer.json()
    assert verdict["outcome"] in {"PASS", "FAIL", "REVIEW", "RETAKE"}
    assert (verdict["part_id"], verdict["camera_id"]) == ("part 1", "left")
    again = station.client.get(verdict["links"]["self"]).json()
    assert again == verdict
    for name in ("image", "mask", "overlay"):
        assert station.client.get(verdict["links"][name]).status_code == 200
    assert station.client.get(verdict["links"]["image"]).content == draw_file(1)


def test_the_list_is_filtered_and_paged(start_line: Callable[..., Running]) -> None:
    station = start_line()
    for number in range(5):
        station.inspect(draw_file(number), f"part {number}", camera_id=f"camera {number % 2}")

    def ids(**query: object) -> list[int]:
        found = station.client.get("/v1/inspections", params=query)  # type: ignore[arg-type]
        assert found.status_code == 200, found.text
        return [own["id"] for own in found.json()["inspections"]]

    assert ids() == [5, 4, 3, 2, 1]
    assert ids(limit=2) == [5, 4]
    assert ids(before=3) == [2, 1]
    assert ids(after=2) == [3, 4, 5]
    assert ids(after=0, limit=2) == [1, 2]
    assert ids(camera_id="camera 1") == [4, 2]
    assert ids(part_id="part 2", camera_id="camera 1") == []
    assert ids(part_id="part") == []
    outcomes = {
        own["id"]: own["outcome"]
        for own in station.client.get("/v1/inspections").json()["inspections"]
    }
    for outcome in ("PASS", "FAIL", "REVIEW", "RETAKE", "ERROR"):
        assert ids(outcome=outcome) == [i for i in ids() if outcomes[i] == outcome]
    assert ids(undecided=True) == [i for i in ids() if outcomes[i] == "REVIEW"]
    for query in (
        {"limit": 0},
        {"limit": 501},
        {"before": 0},
        {"after": -1},
        {"outcome": "pass"},
        {"limit": ""},
    ):
        check_problem(station.client.get("/v1/inspections", params=query), 422)


def test_what_is_not_there_is_404(station: Running) -> None:
    for path in ("", "/image", "/mask", "/overlay"):
        check_problem(station.client.get(f"/v1/inspections/999999{path}"), 404, "999999")
    decision = {"decision": "agree", "name": "Ada"}
    check_problem(
        station.client.post("/v1/inspections/999999/decision", json=decision), 404, "999999"
    )
    check_problem(station.client.get("/nothing"), 404)
    # Not sent on to the same with or without a slash, to a host of the client's choosing.
    check_problem(station.client.get("/v1/inspections/"), 404)


def test_every_answer_tells_browsers_to_be_careful(station: Running) -> None:
    for path in ("/", "/docs", "/v1/summary", "/nothing", "/openapi.json", "/login"):
        headers = station.client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in headers


def test_the_documentation_needs_nobody_else(station: Running) -> None:
    page = station.client.get("/docs").text
    assert "//" not in page.replace("http://www.w3.org", "")
    for path in ("/static-offline-docs/swagger-ui-bundle.js", "/openapi.json"):
        assert path in page
        assert station.client.get(path).status_code == 200


def test_the_document_tells_every_error_as_it_is(station: Running) -> None:
    document = station.client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        name = "Fault" if path.startswith("/v2") else "Problem"
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if status.startswith("4") and (path, status) != ("/v1/inspect", "422"):
                    schema = answer["content"]["application/json"]["schema"]
                    assert schema == {"$ref": f"#/components/schemas/{name}"}, (path, status)
    form = document["paths"]["/v1/inspect"]["post"]["requestBody"]["content"]
    assert form.keys() == {"multipart/form-data"}


# --- Decisions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decision", "outcome"), [("agree", "FAIL"), ("overrule", "PASS"), ("retake", "RETAKE")]
)
def test_a_person_decides_once(station: Running, decision: str, outcome: str) -> None:
    number = make_review(station)
    path = f"/v1/inspections/{number}/decision"
    own = {"decision": decision, "name": "Ada Löv", "note": "two\nlines"}
    answer = station.client.post(path, json=own)
    assert answer.status_code == 200, answer.text
    decided = answer.json()["decision"]
    assert (decided["outcome"], decided["name"], decided["note"]) == (
        outcome,
        "Ada Löv",
        "two\nlines",
    )
    # What was inspected stays what it was.
    assert answer.json()["outcome"] == "REVIEW"
    assert station.client.get(f"/v1/inspections/{number}").json() == answer.json()
    later = {"decision": "overrule", "name": "Bob"}
    check_problem(station.client.post(path, json=later), 409, "decided by Ada Löv")


def test_two_decisions_at_once_are_one(station: Running) -> None:
    path = f"/v1/inspections/{make_review(station)}/decision"
    answers: list[int] = []

    def decide(name: str) -> None:
        own = {"decision": "agree", "name": name}
        answers.append(httpx.post(f"{station.address}{path}", json=own).status_code)

    threads = [threading.Thread(target=decide, args=(f"name {i}",)) for i in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 409, 409, 409, 409]


def test_only_review_waits_for_a_decision(station: Running) -> None:
    verdict = station.inspect(b"no image", "not decided").json()
    answer = station.client.post(
        f"/v1/inspections/{verdict['id']}/decision", json={"decision": "overrule", "name": "Ada"}
    )
    check_problem(answer, 409, "only REVIEW waits")


# --- Pictures ----------------------------------------------------------------------------------


def encode(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def make_kinds() -> dict[str, tuple[bytes, str]]:
    """An image as files of several kinds, and the type that each is shown as."""
    gray = Image.fromarray(draw(11))
    wide = Image.fromarray(draw(12).astype(np.uint16) * 257)
    return {
        "png": (encode(gray, "PNG"), "image/png"),
        "png of 16 bits": (encode(wide, "PNG"), "image/png"),
        "png with a palette": (encode(gray.convert("P"), "PNG"), "image/png"),
        "png with alpha": (encode(gray.convert("RGBA"), "PNG"), "image/png"),
        "png of 1 bit": (encode(gray.convert("1"), "PNG"), "image/png"),
        "jpeg": (encode(gray.convert("RGB"), "JPEG"), "image/jpeg"),
        "jpeg in CMYK": (encode(gray.convert("CMYK"), "JPEG"), "image/jpeg"),
        "bmp": (encode(gray, "BMP"), "image/bmp"),
        "tiff": (encode(gray, "TIFF"), "image/tiff"),
        "tiff of 16 bits": (encode(wide, "TIFF"), "image/tiff"),
    }


@pytest.mark.parametrize("kind", make_kinds())
def test_pictures_are_shown_whole_and_in_small(station: Running, kind: str) -> None:
    data, media_type = make_kinds()[kind]
    links = station.inspect(data, kind).json()["links"]
    whole = station.client.get(links["image"])
    assert whole.content == data
    assert whole.headers["content-type"] == media_type
    for name in ("image", "mask", "overlay"):
        small = station.client.get(links[name], params={"width": 32})
        assert small.headers["content-type"] == "image/jpeg"
        picture = decode_image(small.content)
        assert picture.shape[:2] == (32, 32)
        if name == "image" and "1 bit" not in kind:
            # The mean of a picture is that of its small one, to what a JPEG loses.
            assert picture.mean() == pytest.approx(decode_image(data).mean(), abs=3)


def kept_folder(station: Running, number: int) -> Path:
    """Where the pictures of an inspection lie."""
    inspection = station.line.ledger.inspection(number)
    assert inspection is not None
    path = station.line.archive.path(inspection.pictures, "image")
    assert path is not None
    return path.parent


def test_pictures_that_are_kept_no_longer_are_404(station: Running) -> None:
    verdict = station.inspect(new_image(), "gone").json()
    shutil.rmtree(kept_folder(station, verdict["id"]))
    for name in ("image", "mask", "overlay"):
        for query in ({}, {"width": 100}):
            answer = station.client.get(verdict["links"][name], params=query)
            check_problem(answer, 404, "kept no longer")
    links = station.client.get(verdict["links"]["self"]).json()["links"]
    assert links == {"self": links["self"], "image": None, "mask": None, "overlay": None}


def test_pictures_that_are_damaged_are_404_in_small(station: Running) -> None:
    verdict = station.inspect(new_image(), "damaged").json()
    (kept_folder(station, verdict["id"]) / "mask.png").write_bytes(b"no picture")
    check_problem(station.client.get(verdict["links"]["mask"], params={"width": 100}), 404)
    whole = station.client.get(verdict["links"]["mask"])
    assert whole.headers["content-type"] == "application/octet-stream"


# --- Models ------------------------------------------------------------------------------------


@pytest.fixture
def bundles(bundle_folder: Path, tmp_path: Path) -> Path:
    """A folder of bundles: one, the same again, and what is none."""
    folder = tmp_path / "bundles"
    for own in (folder / "one", folder / "two", folder / "broken", tmp_path / "elsewhere"):
        shutil.copytree(bundle_folder, own, copy_function=os.link)  # they are large
    (folder / "empty").mkdir()
    (folder / "file").write_text("")
    (folder / "link").symlink_to("two")
    (folder / "away").symlink_to(tmp_path / "elsewhere")
    (folder / "circle").symlink_to("circle")
    (folder / "nowhere").symlink_to("missing")
    (folder / "broken" / "calibration.json").unlink()
    (folder / "broken" / "calibration.json").write_text("{}")
    return folder


def test_another_model_takes_over(start_line: Callable[..., Running], bundles: Path) -> None:
    station = start_line(bundle=bundles / "one")
    for number in range(3):
        station.inspect(draw_file(number), f"part {number}")
    models = station.client.get("/v1/models").json()
    assert models["current"] == "one"
    assert models["bundles"] == ["broken", "link", "one", "two"]
    changed = station.client.post("/v1/models", json={"bundle": "two"})
    assert changed.status_code == 200, changed.text
    assert changed.json()["model"] == "two"
    # The same network judges alike, of as many images as are looked at.
    assert changed.json()["recent_images"] == changed.json()["judged_alike"] == 3
    assert station.client.get("/v1/models").json()["current"] == "two"
    assert station.client.get("/v2/models/two/ready").status_code == 200
    assert station.client.get("/v2/models/one/ready").status_code == 404


@pytest.mark.parametrize(
    "name",
    ["..", ".", "missing", "empty", "file", "away", "circle", "nowhere", "broken", "one/../two",
     "/", "one/", "./one", "x" * 200, "~", "*", "one\\two"],
)  # fmt: skip
def test_what_is_no_bundle_beside_the_first_does_not_judge(
    start_line: Callable[..., Running], bundles: Path, name: str
) -> None:
    station = start_line(bundle=bundles / "one")
    for bundle in (name, str(bundles / name), str(bundles.parent / "elsewhere")):
        answer = station.client.post("/v1/models", json={"bundle": bundle})
        assert answer.status_code in {409, 422}, answer.text
        check_problem(answer, answer.status_code)
    assert station.client.get("/v1/models").json()["current"] == "one"
    assert station.inspect(new_image(), "part").status_code == 200


def test_models_that_are_looked_at_keep_nothing_else_waiting(station: Running) -> None:
    def change(_: int) -> int:
        return httpx.post(f"{station.address}/v1/models", json={"bundle": "bundle"}).status_code

    count = 60  # more than there are threads for pages
    with ThreadPoolExecutor(count) as pool:
        with station.line.models._changing:
            answers = [pool.submit(change, number) for number in range(count)]
            deadline = time.monotonic() + 10
            while sum(own.done() for own in answers) < count - 1 and time.monotonic() < deadline:
                time.sleep(0.02)
            assert station.inspect(new_image(), "meanwhile").status_code == 200
            assert station.client.get("/v2/health/ready").status_code == 200
            assert station.client.get("/v1/summary").status_code == 200
        assert sorted(own.result() for own in answers) == [200] + [409] * (count - 1)


# --- How the line is ---------------------------------------------------------------------------


def test_the_summary_tells_how_the_line_is(start_line: Callable[..., Running]) -> None:
    station = start_line()
    empty = station.client.get("/v1/summary").json()
    assert empty["yield"] is None
    assert empty["hours"] == []
    outcomes = [station.inspect(draw_file(i), f"{i}").json()["outcome"] for i in range(4)]
    outcomes.append(station.inspect(b"no image", "none").json()["outcome"])
    summary = station.client.get("/v1/summary").json()
    assert summary["problems"] == []
    assert summary["model"]["products"] == ["Class1", "Class5"]
    assert summary["totals"] == {own: outcomes.count(own) for own in summary["totals"]}
    inspected = sum(own in {"PASS", "FAIL", "REVIEW"} for own in outcomes)
    share = outcomes.count("PASS") / inspected if inspected else None
    assert summary["yield"] == share
    counted = sum(hour[own] for hour in summary["hours"] for own in summary["totals"])
    assert counted == len(outcomes)
    assert {"STARTED", "MODEL"} <= {event["kind"] for event in summary["events"]}


def test_cameras_have_their_charts(station: Running) -> None:
    for _ in range(22):
        station.inspect(new_image(), "chart", camera_id="chart")
    deadline = time.monotonic() + 10  # they are told after the answer
    own: dict[str, object] = {}
    while len(own.get("latest", ())) < 22 and time.monotonic() < deadline:  # type: ignore[arg-type]
        cameras = station.client.get("/v1/cameras").json()["cameras"]
        own = next((one for one in cameras if one["camera_id"] == "chart"), {})
    assert len(own["latest"]) == 22  # type: ignore[arg-type]
    assert own["product"] == "Class1"
    # Whatever is not a number is null.
    json.dumps(own, allow_nan=False)


def test_figures_for_prometheus_never_name_a_part(station: Running) -> None:
    for number in range(22):
        station.inspect(new_image(), f"secret part {number}", camera_id='left "1"\\')
    deadline = time.monotonic() + 10  # charts are looked at every few seconds
    text = ""
    while "defectseg_sharpness_ewma{" not in text and time.monotonic() < deadline:
        answer = station.client.get("/metrics")
        text = answer.text
        time.sleep(0.1)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    names = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if line[0] != "#"}
    assert names >= {
        "defectseg_images_total",
        "defectseg_sharpness_ratio",
        "defectseg_sharpness_ewma",
        "defectseg_queue_length",
        "defectseg_latency_seconds_bucket",
        "defectseg_ready",
    }
    assert "# TYPE defectseg_drift_events_total counter" in text or (
        "# TYPE defectseg_drift_events counter" in text
    )
    assert 'camera="left \\"1\\"\\\\"' in text
    assert "secret" not in text
    assert "part" not in text


# --- The stream of news ------------------------------------------------------------------------


def read_events(address: str, told: list[str], ready: threading.Event) -> None:
    with httpx.stream("GET", f"{address}/v1/stream", timeout=30) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        for line in answer.iter_lines():
            told.append(line)
            ready.set()


def test_the_stream_tells_what_is_new_and_ends_with_the_station(
    bundle_folder: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    ready = threading.Event()
    with run_line(Setup(tmp_path / "station", bundle=bundle_folder)) as station:
        listener = threading.Thread(target=read_events, args=(station.address, told, ready))
        listener.start()
        assert ready.wait(10)
        number = station.inspect(new_image(), "told").json()["id"]
        deadline = time.monotonic() + 10
        while f"data: {number}" not in told and time.monotonic() < deadline:
            time.sleep(0.02)
    listener.join(10)
    assert not listener.is_alive()
    assert told[0] == "retry: 2000"
    place = told.index(f"data: {number}")
    assert told[place - 1] == "event: inspection"


def test_a_listener_too_many_is_refused_and_one_who_left_makes_room(station: Running) -> None:
    with httpx.Client(base_url=station.address, timeout=30) as client:
        opened = [client.stream("GET", "/v1/stream") for _ in range(50)]
        for own in opened:
            assert own.__enter__().status_code == 200
        check_problem(station.client.get("/v1/stream"), 429, "Too many")
        opened[0].__exit__(None, None, None)
        deadline = time.monotonic() + 10
        status = 429
        while status == 429 and time.monotonic() < deadline:
            with station.client.stream("GET", "/v1/stream") as answer:
                status = answer.status_code
        assert status == 200
        for own in opened[1:]:
            own.__exit__(None, None, None)
