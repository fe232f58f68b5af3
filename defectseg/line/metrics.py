"""The figures of a station for Prometheus; never with a part's name as a label."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from defectseg.inference.verdict import Outcome
from defectseg.line.cameras import Camera
from defectseg.line.records import MOST_CAMERAS, Inspection

_OTHER = "other"
_BUCKETS = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10)


class Metrics:
    """Counts and gauges.

    Parameters
    ----------
    queue_length : callable
        Returns how many images wait.
    reviews : callable
        Returns how many images wait for a person.
    ready : callable
        Returns whether images can be inspected.
    """

    def __init__(
        self,
        queue_length: Callable[[], float],
        reviews: Callable[[], float],
        ready: Callable[[], float],
    ) -> None:
        self._registry = registry = CollectorRegistry()
        self._known: set[str] = set()
        self._images = Counter(
            "defectseg_images", "Images by outcome", ["camera", "outcome"], registry=registry
        )
        self._ratio = Gauge(
            "defectseg_sharpness_ratio",
            "Sharpness of the last image over the limit below which the model is not believed",
            ["camera"],
            registry=registry,
        )
        self._ewma = Gauge(
            "defectseg_sharpness_ewma",
            "Moving average of the medians of sharpness",
            ["camera"],
            registry=registry,
        )
        self._drift = Counter(
            "defectseg_drift_events", "Events of cameras", ["camera", "kind"], registry=registry
        )
        self._latency = Histogram(
            "defectseg_latency_seconds",
            "From receipt of an image to its verdict, which is recorded after that",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._refused = Counter(
            "defectseg_refused", "Images that were not inspected", ["reason"], registry=registry
        )
        for name, text, value in (
            ("queue_length", "Images that wait", queue_length),
            ("reviews_waiting", "Images that wait for a person", reviews),
            ("ready", "Whether images can be inspected", ready),
        ):
            Gauge(f"defectseg_{name}", text, registry=registry).set_function(value)

    def add(self, inspection: Inspection) -> None:
        """Count an inspection."""
        camera = self._label(inspection.camera_id)
        self._images.labels(camera, inspection.outcome).inc()
        if inspection.outcome != Outcome.ERROR:
            self._latency.observe(inspection.total_ms / 1000)
        if inspection.sharpness is not None and inspection.sharpness_limit:
            self._ratio.labels(camera).set(inspection.sharpness / inspection.sharpness_limit)

    def add_camera(self, camera: Camera) -> None:
        """Take in the chart of a camera."""
        points = camera.drift.points
        if points and points[-1].ewma is not None:
            self._ewma.labels(self._label(camera.camera_id)).set(points[-1].ewma)

    def add_drift(self, camera_id: str, kind: str) -> None:
        """Count an event of a camera."""
        self._drift.labels(self._label(camera_id), kind).inc()

    def refuse(self, reason: str) -> None:
        """Count an image that was refused; `reason` is one of few words."""
        self._refused.labels(reason).inc()

    def render(self) -> bytes:
        """Return all of them in Prometheus' text format."""
        return generate_latest(self._registry)

    def _label(self, camera_id: str) -> str:
        if camera_id not in self._known:
            if len(self._known) >= MOST_CAMERAS:
                return _OTHER
            self._known.add(camera_id)
        return camera_id
