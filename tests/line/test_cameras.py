"""The sharpness of cameras over time, in a station's database."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from defectseg.drift.records import Event, Kind, Status
from defectseg.line.cameras import SCHEMA, Camera, Cameras
from defectseg.line.settings import Drift
from defectseg.line.store import Store
from tests.line.test_ledger import row

START = datetime(2026, 1, 1, tzinfo=UTC)
QUICK = Drift(every_s=0, median_of=5, baseline_medians=10)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    own = Store(tmp_path, SCHEMA)
    yield own
    own.close()


class Watched:
    """Cameras, and what they report."""

    def __init__(self, store: Store, settings: Drift = QUICK) -> None:
        self.events: list[tuple[str, Event]] = []
        self.cameras = Cameras(store, settings, self._note)

    def _note(self, camera: Camera, event: Event) -> None:
        self.events.append((camera.camera_id, event))

    def add(
        self, day: float, sharpness: float | None, camera: str = "left", limit: float = 0.0
    ) -> None:
        time = (START + timedelta(days=day)).isoformat(timespec="milliseconds")
        inspection = row(
            received_at=time, camera_id=camera, sharpness=sharpness, sharpness_limit=limit
        )
        self.cameras.add(inspection)


def levels(count: int, level: float) -> list[float]:
    """Sharpness of a camera at a level, with 2 % of noise."""
    rng = np.random.default_rng(1)
    return [float(own) for own in level * (1 + 0.02 * rng.standard_normal(count))]


def test_dust_below_the_models_limit_is_reported(store: Store) -> None:
    own = Watched(store)
    falling = np.linspace(0, 0.6, 300)
    for number, (value, dust) in enumerate(
        zip(levels(400, 10), [0.0] * 100 + list(falling), strict=True)
    ):
        own.add(number / 20, value * (1 - dust), limit=6)
    kinds = [event.kind for _, event in own.events]
    assert kinds.index(Kind.DEGRADING) < kinds.index(Kind.LOW)
    (camera,) = own.cameras.list()
    assert camera.drift.status is Status.LOW
    assert camera.drift.limit == 6
    assert camera.drift.days_left is not None
    assert camera.drift.days_left.days == 0


def test_cameras_and_products_are_watched_apart(store: Store) -> None:
    own = Watched(store)
    for number in range(30):
        own.add(number, 10, "left")
        own.add(number, 1, "right")
    assert [camera.camera_id for camera in own.cameras.list()] == ["left", "right"]
    assert own.events == []


def test_one_image_in_so_many_seconds_is_looked_at(store: Store) -> None:
    own = Watched(store, Drift(every_s=60))
    for second in range(0, 181, 10):
        own.add(second / 86_400, 5)
    (camera,) = own.cameras.list()
    assert len(camera.latest) == 4  # at 0, 60, 120 and 180 s


def test_a_start_goes_on_where_the_last_one_ended(store: Store) -> None:
    first = Watched(store)
    for number, value in enumerate(levels(120, 10)):
        first.add(number / 20, value, limit=4)
    store.write(lambda connection: None).result()  # all before it are on disk
    again = Watched(store)
    again.cameras.load()
    assert again.events == []
    (before,), (after,) = first.cameras.list(), again.cameras.list()
    assert after.latest == before.latest
    again.add(7, 10, limit=4)  # with the limit that a new image tells
    (after,) = again.cameras.list()
    assert after.drift.points == before.drift.points
    assert after.drift.limit == 4


def test_a_limit_that_another_model_brings_is_the_new_one(store: Store) -> None:
    own = Watched(store)
    for number, value in enumerate(levels(100, 10)):
        own.add(number / 20, value, limit=4)
    for number, value in enumerate(levels(10, 10)):
        own.add(6 + number / 20, value, limit=12)
    (camera,) = own.cameras.list()
    assert camera.limit == 12
    assert camera.drift.status is Status.LOW


def test_until_the_first_median_it_is_told_how_many_images_there_are(store: Store) -> None:
    own = Watched(store)
    for number in range(4):
        own.add(number, 5)
    assert own.cameras.list()[0].drift.reason.startswith("4 images; the first verdict takes")


def test_images_without_sharpness_are_no_values(store: Store) -> None:
    own = Watched(store)
    own.add(0, None)
    assert own.cameras.list() == []


def test_clients_cannot_make_cameras_without_end(store: Store) -> None:
    own = Watched(store)
    for number in range(250):
        own.add(number, 5, f"camera {number}")
    assert len(own.cameras.list()) == 200
