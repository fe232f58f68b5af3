"""Alarms: once, not again until it was over, not too often."""

from defectseg.line.alarms import Alarm, Alarms
from defectseg.line.settings import Alarms as Settings
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
