"""When somebody is told: once as it begins, not again until it was over, and not too often."""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from defectseg.drift.records import Drift, Kind
from defectseg.inference.verdict import Outcome
from defectseg.line.cameras import Camera
from defectseg.line.records import MOST_CAMERAS, Inspection, now
from defectseg.line.settings import Alarms as AlarmSettings

_LOOK_S = 60.0  # cameras are watched more often than this


@dataclass
class _State:
    active: bool = False  # it is so now
    raised: bool = False  # and was sent
    told: float = float("-inf")  # when, by the clock


@dataclass(frozen=True)
class Alarm:
    """What is sent.

    Attributes
    ----------
    kind : str
        Such as ``"RETAKE_RATE"``.
    camera_id : str
        Empty if it is of no camera.
    message, time : str
    """

    kind: str
    camera_id: str
    message: str
    time: str


class Alarms:
    """Decides what is worth an alarm; any thread may say what is wrong.

    Parameters
    ----------
    settings : Alarms
    send : callable
        Given each alarm.
    clock : callable
        Seconds, only growing.
    """

    def __init__(
        self,
        settings: AlarmSettings,
        send: Callable[[Alarm], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._send = send
        self._clock = clock
        self._lock = threading.Lock()
        self._states: dict[tuple[str, str], _State] = defaultdict(_State)
        self._last: dict[str, deque[bool]] = {}

    def raise_(self, kind: str, message: str, camera_id: str = "") -> None:
        """Say that something is wrong; it is sent unless it was, and is not over yet.

        Within the hold-off it waits: it is sent by the first call after that.
        """
        with self._lock:
            state = self._states[kind, camera_id]
            state.active = True
            if state.raised or self._clock() - state.told < self._settings.hold_off_s:
                return
            state.raised, state.told = True, self._clock()
        self._send(Alarm(kind, camera_id, message, now()))

    def rearm(self, kind: str, camera_id: str = "") -> None:
        """Say that it is over."""
        with self._lock:
            state = self._states[kind, camera_id]
            state.active = state.raised = False

    def active(self) -> list[tuple[str, str]]:
        """Return kind and camera of what is wrong now."""
        with self._lock:
            return sorted(key for key, state in self._states.items() if state.active)

    def add(self, inspection: Inspection) -> None:
        """Look at the share of RETAKE among a camera's last inspections."""
        settings, camera_id = self._settings, inspection.camera_id
        if camera_id not in self._last and len(self._last) >= MOST_CAMERAS:
            return
        last = self._last.setdefault(camera_id, deque(maxlen=settings.retake_images))
        last.append(inspection.outcome == Outcome.RETAKE)
        share = sum(last) / len(last)
        if len(last) == settings.retake_images and share >= settings.retake_share:
            self.raise_(
                "RETAKE_RATE",
                f"{sum(last)} of the last {len(last)} images of {camera_id} are too poor to be "
                "believed",
                camera_id,
            )
        elif share <= settings.retake_rearm_share:
            self.rearm("RETAKE_RATE", camera_id)

    def watch(self, kind: str, message: str, camera_id: str = "") -> None:
        """Raise an alarm while there is a message, and re-arm it when there is none."""
        if message:
            self.raise_(kind, message, camera_id)
        else:
            self.rearm(kind, camera_id)

    def watch_cameras(self, cameras: Iterable[Camera]) -> None:
        """Raise and re-arm what their sharpness tells; to be called again and again.

        A baseline that was given up counts as wrong for as long as the hold-off, so that it is
        told even if another was told just before.
        """
        found: dict[tuple[Kind, str], list[str]] = defaultdict(list)
        for camera in cameras:
            if camera.last is None:  # since the start: the model's limit is not known yet
                continue
            for kind in (Kind.LOW, Kind.DEGRADING, Kind.BASELINE_STALE):
                told = found[kind, camera.camera_id]  # of all products that it looks at
                if message := self._describe(camera.drift, kind):
                    told.append(f"{camera.camera_id} ({camera.product}): {message}")
        for (kind, camera_id), told in found.items():
            self.watch(kind.value, "; ".join(told), camera_id)

    def _describe(self, drift: Drift, kind: Kind) -> str:
        """Return what is to be told if it is so now."""
        if kind is not Kind.BASELINE_STALE:
            return drift.reason if drift.status.value == kind.value else ""
        news = timedelta(seconds=self._settings.hold_off_s + _LOOK_S)
        since = datetime.now(UTC).replace(tzinfo=None) - news
        told = [own for own in drift.events if own.kind is kind and own.time > since]
        return told[-1].message if told else ""
