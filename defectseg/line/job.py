"""An image on its way through a station, and the row that tells what became of it."""

import math
import threading
import time
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from defectseg import __version__
from defectseg.inference.predictor import Inspection as Inspected
from defectseg.inference.verdict import Outcome
from defectseg.line.models import Model
from defectseg.line.records import Inspection, now


@dataclass(frozen=True)
class Source:
    """Where an image comes from.

    Attributes
    ----------
    part_id, camera_id : str
    product : str or None
        None: it cannot be told, which is an ERROR.
    kind : str
        ``"http"`` or ``"folder"``.
    name : str
        Of the file.
    """

    part_id: str
    camera_id: str
    product: str | None
    kind: str
    name: str = ""


@dataclass(frozen=True)
class Recorded:
    """What a station answers: the recorded inspection, and whether it was so before."""

    inspection: Inspection
    repeated: bool


@dataclass(eq=False)
class Job:
    """An image on its way through the station."""

    source: Source
    data: bytes
    sha256: str
    model: Model
    deadline: float  # by time.monotonic()
    pixels: int = 0
    received_at: str = field(default_factory=now)
    begun: float = field(default_factory=time.monotonic)
    started: float = 0.0
    answered: bool = False  # by the network
    verdict: "Future[Recorded]" = field(default_factory=lambda: _running_future())
    _claim: threading.Lock = field(default_factory=threading.Lock)

    @property
    def key(self) -> tuple[str, str]:
        """The image and what judges it."""
        return self.sha256, self.model.recipes.get(self.source.product or "", "")

    def claim(self) -> bool:
        """Return whether the caller is the first, who alone may record what became of it."""
        return self._claim.acquire(blocking=False)


def describe_job(
    job: Job,
    image: npt.NDArray[np.uint8] | None = None,
    inspected: Inspected | None = None,
    *,
    final: bool = False,
    error: str = "",
    reasons: tuple[str, ...] = (),
) -> Inspection:
    """Return the row of a job: that of an inspection or, without one, an ERROR."""
    model, ended = job.model, time.monotonic()
    started = job.started or ended
    row = Inspection(
        received_at=job.received_at,
        part_id=job.source.part_id,
        camera_id=job.source.camera_id,
        product=job.source.product or "",
        source=job.source.kind,
        name=job.source.name,
        image_sha256=job.sha256,
        recipe=job.key[1],
        model_sha256=model.sha256,
        calibration_sha256=model.calibration_sha256,
        rules_sha256=model.rules.sha256,
        engine=model.predictor.engine.name,
        precision=model.predictor.engine.precision,
        version=__version__,
        outcome=Outcome.ERROR.value,
        final=final,
        reasons=reasons,
        error=" ".join(error.split()),
        width=None if image is None else image.shape[1],
        height=None if image is None else image.shape[0],
        queue_ms=_milliseconds(started - job.begun),
        inspect_ms=_milliseconds(ended - started),
        total_ms=_milliseconds(ended - job.begun),
    )
    if inspected is None:
        return row
    thresholds, quality = model.bundle.calibration.thresholds, inspected.quality
    return replace(
        row,
        outcome=inspected.verdict.outcome.value,
        final=True,
        reasons=inspected.verdict.reasons,
        score=finite(inspected.score),
        review_from=thresholds.review,
        fail_from=thresholds.fail,
        regions=tuple(_rounded(asdict(region)) for region in inspected.regions),
        defect_area_px=int(inspected.mask.sum(dtype=np.int64)),
        sharpness=finite(quality.sharpness),
        sharpness_limit=finite(quality.sharpness_limit),
        gate_p_value=finite(quality.gate_p_value),
        belief=finite(quality.belief),
        noise_sigma=finite(quality.noise_sigma),
        mean_luma=finite(quality.mean_luma),
    )


def finite(value: float) -> float | None:
    """Return a number as it is recorded and answered: rounded; None if it is none."""
    return round(float(value), 6) if math.isfinite(value) else None


def _rounded(region: dict[str, Any]) -> dict[str, Any]:
    return {
        name: finite(value)
        if isinstance(value, float)
        else [round(own, 2) for own in value]
        if isinstance(value, tuple)
        else value
        for name, value in region.items()
    }


def _milliseconds(seconds: float) -> float:
    return round(1000 * max(0.0, seconds), 2)


def _running_future() -> "Future[Recorded]":
    """Return a future that those who wait for it cannot cancel."""
    future: Future[Recorded] = Future()
    future.set_running_or_notify_cancel()
    return future
