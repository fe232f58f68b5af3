"""The sharpness of each camera over time: control charts, with the model's own limit."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from defectseg.drift.monitor import Watcher
from defectseg.drift.records import Drift, Event
from defectseg.drift.records import Settings as WatchSettings
from defectseg.line.records import MOST_CAMERAS, Inspection
from defectseg.line.settings import Drift as DriftSettings
from defectseg.line.store import Store

# The values that were looked at, so that a start goes on where the last one ended.
SCHEMA = """
CREATE TABLE IF NOT EXISTS sharpness (
    id INTEGER PRIMARY KEY, camera_id TEXT, product TEXT, time TEXT, value REAL);
"""
_LATEST = 300  # values that are shown one by one


@dataclass
class Camera:
    """What is known of one camera, looking at one product.

    Attributes
    ----------
    camera_id, product : str
    drift : Drift
        After the last median.
    limit : float or None
        Sharpness below which the model is not believed, as blur alone breaks its promise.
    latest : list of (str, float)
        Times and values of the last images that were looked at.
    last : Inspection or None
        Since the start.
    """

    camera_id: str
    product: str
    drift: Drift
    limit: float | None
    latest: list[tuple[str, float]] = field(default_factory=list)
    last: Inspection | None = None
    _watcher: Watcher = field(init=False)
    _group: list[tuple[str, float]] = field(default_factory=list)
    _images: int = 0

    def restart(self, settings: DriftSettings) -> None:
        """Begin to watch, by the limit."""
        self._watcher = Watcher(settings.watching(self.limit))
        self._group, self._images, self.latest = [], 0, []
        self.drift = self._watcher.finish(0)

    def add(self, time: str, value: float) -> tuple[Event, ...]:
        """Take the next value; return what is new to report."""
        self.latest = [*self.latest[1 - _LATEST :], (time, value)]
        self._group.append((time, value))
        self._images += 1
        if len(self._group) < self._watcher.settings.median_of:
            if not self.drift.points:
                self.drift = self._watcher.finish(self._images)  # how many are missing
            return ()
        times = np.array([_naive(own) for own, _ in self._group], "datetime64[us]")
        self._watcher.add(times, np.array([own for _, own in self._group]))
        self._group = []
        known = len(self.drift.events)
        self.drift = self._watcher.finish(self._images)
        return self.drift.events[known:]


class Cameras:
    """Watches the cameras of a station.

    Parameters
    ----------
    store : Store
        With the tables of `SCHEMA`.
    settings : Drift
    report : callable
        Told of each event, with the camera and what it is.
    """

    def __init__(
        self,
        store: Store,
        settings: DriftSettings,
        report: Callable[[Camera, Event], None],
    ) -> None:
        self._store = store
        self._settings = settings
        self._report = report
        self._cameras: dict[tuple[str, str], Camera] = {}

    def add(self, inspection: Inspection) -> None:
        """Take in an inspection."""
        if inspection.sharpness is None:
            return
        # A limit of 0: blur alone breaks no promise, and what counts is the camera's own baseline.
        camera = self._find(inspection, inspection.sharpness_limit or None)
        if camera is None:
            return
        camera.last = inspection
        if camera.latest:
            since = _naive(inspection.received_at) - _naive(camera.latest[-1][0])
            if since.total_seconds() < self._settings.every_s:
                return
        row = (camera.camera_id, camera.product, inspection.received_at, inspection.sharpness)
        self._store.write(lambda connection: _insert(connection, row))
        for event in camera.add(inspection.received_at, inspection.sharpness):
            self._report(camera, event)

    def list(self) -> list[Camera]:
        """Return the cameras, by name."""
        cameras = dict(self._cameras)  # another thread adds to it
        return [cameras[key] for key in sorted(cameras)]

    def load(self) -> None:
        """Go on where the station ended; what was reported then is not reported again."""
        rows = self._store.read("SELECT DISTINCT camera_id, product FROM sharpness")
        for row in rows[:MOST_CAMERAS]:
            self._open(row["camera_id"], row["product"], None)

    def _find(self, inspection: Inspection, limit: float | None) -> Camera | None:
        key = inspection.camera_id, inspection.product
        camera = self._cameras.get(key)
        if camera is not None and camera.limit == limit:
            return camera
        if camera is None and len(self._cameras) >= MOST_CAMERAS:
            return None
        return self._open(*key, limit)

    def _open(self, camera_id: str, product: str, limit: float | None) -> Camera:
        """Watch a camera from its first value on, as if the limit had always been this one."""
        empty = Watcher(WatchSettings()).finish(0)
        camera = Camera(camera_id, product, empty, limit)
        camera.restart(self._settings)
        for row in self._store.read(
            "SELECT time, value FROM sharpness WHERE camera_id = ? AND product = ? ORDER BY id",
            (camera_id, product),
        ):
            camera.add(row["time"], row["value"])
        self._cameras[camera_id, product] = camera
        return camera


def _insert(connection: sqlite3.Connection, row: tuple[str, str, str, float]) -> None:
    connection.execute(
        "INSERT INTO sharpness (camera_id, product, time, value) VALUES (?, ?, ?, ?)", row
    )


def _naive(time: str) -> datetime:
    return datetime.fromisoformat(time).replace(tzinfo=None)
