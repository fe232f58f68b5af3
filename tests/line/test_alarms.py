"""Alarms: once, not again until it was over, not too often."""

import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from defectseg.drift.records import Event, Kind, Status
from defectseg.line.alarms import Alarm, Alarms
from defectseg.line.cameras import SCHEMA, Camera, Cameras
from defectseg.line.settings import Alarms as Settings
from defectseg.line.settings import Drift
from defectseg.line.store import Store
from tests.line.test_ledger import row


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def make(**settings: object) -> tuple[Alarms, list[Alarm], Clock]:
    sent: list[Alarm] = []
    clock = Clock()
    return Alarms(Settings.model_validate(settings), sent.append, clock), sent, clock


def test_an_alarm_is_sent_once_until_it_is_over() -> None:
    alarms, sent, clock = make(hold_off_s=0)
    for _ in range(3):
        alarms.raise_("LOW", "too low", "left")
    assert [(own.kind, own.camera_id, own.message) for own in sent] == [("LOW", "left", "too low")]
    assert alarms.active() == [("LOW", "left")]
    alarms.rearm("LOW", "left")
    assert alarms.active() == []
    clock.now = 1
    alarms.raise_("LOW", "again", "left")
    assert len(sent) == 2


def test_cameras_and_kinds_have_alarms_of_their_own() -> None:
    alarms, sent, _ = make()
    alarms.raise_("LOW", "m", "left")
    alarms.raise_("LOW", "m", "right")
    alarms.raise_("DEGRADING", "m", "left")
    assert len(sent) == 3


def test_within_the_hold_off_it_waits_and_then_comes() -> None:
    alarms, sent, clock = make(hold_off_s=100)
    alarms.raise_("LOW", "first")
    alarms.rearm("LOW")
    clock.now = 99
    alarms.raise_("LOW", "too soon")
    assert len(sent) == 1
    assert alarms.active() == [("LOW", "")]  # it is so, though nobody is told yet
    clock.now = 101
    alarms.raise_("LOW", "still so")
    assert [own.message for own in sent] == ["first", "still so"]


def test_the_share_of_retakes_has_a_level_to_fall_to() -> None:
    alarms, sent, clock = make(
        retake_images=10, retake_share=0.3, retake_rearm_share=0.1, hold_off_s=0
    )
    outcomes = ["PASS"] * 8 + ["RETAKE"] * 2
    for outcome in outcomes:
        alarms.add(row(outcome=outcome))
    assert sent == []  # 2 of 10
    alarms.add(row(outcome="RETAKE"))
    assert "3 of the last 10 images of c" in sent[0].message
    for _ in range(8):  # the share falls to 2 of 10: not over yet
        alarms.add(row(outcome="PASS"))
        clock.now += 1
    assert alarms.active() == [("RETAKE_RATE", "c")]
    alarms.add(row(outcome="PASS"))  # 1 of 10
    assert alarms.active() == []


def test_few_images_are_no_share() -> None:
    alarms, sent, _ = make(retake_images=10)
    for _ in range(9):
        alarms.add(row(outcome="RETAKE"))
    assert sent == []


def test_clients_cannot_fill_the_memory_with_names() -> None:
    alarms, sent, _ = make(retake_images=2)
    for number in range(300):
        for _ in range(2):
            alarms.add(row(outcome="RETAKE", camera_id=f"camera {number}"))
    assert len(sent) == 200


def test_what_is_watched_is_raised_and_over_by_its_message() -> None:
    alarms, sent, _ = make()
    alarms.watch("NOT_READY", "")
    alarms.watch("NOT_READY", "no model")
    alarms.watch("NOT_READY", "no model")
    assert len(sent) == 1
    alarms.watch("NOT_READY", "")
    assert alarms.active() == []


def test_two_threads_do_not_send_the_same_alarm_twice() -> None:
    sent: list[Alarm] = []
    both = threading.Barrier(2)

    def clock() -> float:
        with suppress(threading.BrokenBarrierError):
            both.wait(0.1)  # for the other thread, if it may come so far
        return 0

    alarms = Alarms(Settings(), sent.append, clock)
    threads = [threading.Thread(target=alarms.raise_, args=("QUEUE_FULL", "m")) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sent) == 1


def test_what_is_wrong_can_be_asked_for_while_more_gets_wrong() -> None:
    alarms, _, _ = make()
    failed: list[Exception] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            try:
                alarms.active()
            except RuntimeError as error:
                failed.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        thread = threading.Thread(target=ask)
        thread.start()
        for number in range(2000):
            alarms.rearm("RETAKE_RATE", f"camera {number}")
        ended.set()
        thread.join()
    finally:
        sys.setswitchinterval(before)
    assert failed == []


@pytest.fixture
def cameras(tmp_path: Path) -> Iterator[Cameras]:
    """Cameras, of which every fifth image makes a median; nobody is told of their events."""
    store = Store(tmp_path, SCHEMA)
    settings = Drift(every_s=0, median_of=5, baseline_medians=10)
    yield Cameras(store, settings, lambda camera, event: None)
    store.close()


def look_at(cameras: Cameras, sharpness: float, images: int, product: str = "Class1") -> Camera:
    """Add images of a camera with a limit of 6; return it."""
    for _ in range(images):
        cameras.add(row(sharpness=sharpness, sharpness_limit=6.0, product=product))
    return next(own for own in cameras.list() if own.product == product)


def test_a_camera_that_is_low_again_within_the_hold_off_is_told_after_it(cameras: Cameras) -> None:
    alarms, sent, clock = make(hold_off_s=900)
    for status, sharpness, images in (
        (Status.LOW, 5, 5),
        (Status.TOO_FEW, 10, 40),  # 8 medians above the limit
        (Status.LOW, 5, 5),
    ):
        assert look_at(cameras, sharpness, images).drift.status is status
        alarms.watch_cameras(cameras.list())
        assert alarms.active() == ([("LOW", "c")] if status is Status.LOW else [])
        clock.now += 300
    assert len(sent) == 1
    alarms.watch_cameras(cameras.list())
    for _ in range(2):
        clock.now += 1
        alarms.watch_cameras(cameras.list())
    assert [(own.kind, own.camera_id, own.message) for own in sent] == [
        ("LOW", "c", "c (Class1): the last median is 5.00, the limit 6.00")
    ] * 2
    look_at(cameras, 10, 40)
    alarms.watch_cameras(cameras.list())
    assert alarms.active() == []


def test_one_product_that_is_well_seen_ends_no_alarm_of_another(cameras: Cameras) -> None:
    alarms, sent, _ = make(hold_off_s=0)
    for product, sharpness in (("Class1", 10), ("Class2", 5), ("Class3", 10)):
        look_at(cameras, sharpness, 5, product)
    for _ in range(2):
        alarms.watch_cameras(cameras.list())
    assert alarms.active() == [("LOW", "c")]
    assert [own.message for own in sent] == ["c (Class2): the last median is 5.00, the limit 6.00"]


def test_after_a_start_no_camera_is_judged_without_the_limit_of_its_model(
    cameras: Cameras,
) -> None:
    alarms, sent, _ = make()
    camera = look_at(cameras, 5, 5)
    assert camera.drift.status is Status.LOW
    alarms.watch_cameras([replace(camera, last=None)])
    assert sent == []


def test_a_baseline_that_was_given_up_is_told_after_another_and_is_over_then(
    cameras: Cameras,
) -> None:
    alarms, sent, clock = make(hold_off_s=900)
    camera = look_at(cameras, 10, 5)
    now = datetime.now(UTC).replace(tzinfo=None)

    def watch(seconds_ago: float) -> None:
        time = now - timedelta(seconds=seconds_ago)
        event = Event(Kind.BASELINE_STALE, time, 9.0, f"settled {seconds_ago} s ago")
        camera.drift = replace(camera.drift, events=(event,))
        alarms.watch_cameras([camera])

    watch(0)
    watch(1000)
    assert alarms.active() == []
    clock.now = 100
    watch(0)
    assert len(sent) == 1
    clock.now = 905
    watch(805)
    assert [own.message for own in sent] == [
        "c (Class1): settled 0 s ago",
        "c (Class1): settled 805 s ago",
    ]
    watch(1000)
    assert alarms.active() == []
